"""Review in a real browser: keys alone, undo, reloads, a case that changed, a server that is gone, the blind test.

What is pressed counts once and for the case in sight, and nothing that was decided is lost or sent to the wrong file.
"""

import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_folders import write_case, write_synthetic

from syndiff.inference.serve.app import make_app
from syndiff.inference.serve.collections import Collection
from syndiff.inference.serve.decoding import Decoder
from syndiff.inference.serve.models import Models
from syndiff.inference.serve.reviewing import Reviewing
from syndiff.inference.serve.security import Access
from syndiff.reviews.events import Event
from syndiff.reviews.store import ReviewStore

uvicorn = pytest.importorskip("uvicorn", reason="the extra serve is not installed")
pytestmark = pytest.mark.slow


class Server:
    """A server in a thread of this process, which can end and come back at the same address."""

    def __init__(self, root: Path, decoder: Decoder) -> None:
        self.root, self.decoder, self.port = root, decoder, 0
        self.data, self.synthetic = root / "data", root / "synthetic"
        for number in range(6):
            write_case(self.data, f"c{number}", size=(48, 40), colour=90 + number)
        write_synthetic(self.synthetic)
        self.start()

    def start(self, reviews: str = "reviews.db") -> None:
        self.store = ReviewStore(self.root / reviews)
        folders = [Collection(self.data, None), Collection(self.synthetic, None)]
        self.reviewing = Reviewing(self.store, folders, self.decoder)
        app = make_app(Models(()), None, Access(), folders, self.reviewing)
        self.listening = socket.create_server(("127.0.0.1", self.port))
        self.port = self.listening.getsockname()[1]
        config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listening]})
        self.thread.start()

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.listening.close()
        self.store.close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def said(self, reviewer: str) -> list[Event]:
        return [event for event in self.store.events() if event.reviewer == reviewer]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, decoder: Decoder) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("reviewed"), decoder)
    yield made
    made.stop()


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    """The page, which may neither complain nor ask anybody else for anything."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    made, said = context.new_page(), []
    own = (server.address, "data:", f"blob:{server.address}")
    made.on("pageerror", lambda error: said.append(str(error)))
    made.on("console", lambda message: said.append(message.text))
    made.on("request", lambda request: said.append(request.url) if not request.url.startswith(own) else 0)
    yield made
    context.close()
    assert [text for text in said if "Failed to load resource" not in text] == []


def enter(page: Any, server: Server, who: str) -> None:
    page.goto(f"{server.address}review")
    page.fill("#who", who)
    page.keyboard.press("Enter")
    page.wait_for_selector("#view svg")


def status(page: Any, text: str) -> None:
    page.wait_for_selector(f"#status:has-text('{text}')")


def decide(page: Any, *keys: str) -> None:
    """Press keys once the case has been in sight for long enough to be decided on."""
    page.wait_for_selector("[aria-busy=false]")
    for key in keys:
        page.keyboard.press(key)


def hold(page: Any, key: str) -> None:
    """Hold a key down for so long that it is repeated when the next case has come."""
    for _ in range(2):
        page.wait_for_selector("[aria-busy=false]")
        page.keyboard.down(key)
    page.keyboard.up(key)


def decided(server: Server, who: str) -> list[tuple[str, str]]:
    return [(event.case, event.kind) for event in server.said(who)]


def test_cases_are_reviewed_by_keys_alone_and_undone_after_a_reload(page: Any, server: Server) -> None:
    enter(page, server, "ann")
    assert page.inner_text("#name") == "c0"
    decide(page, "4")
    status(page, "Saved: c0: realism 4")
    page.keyboard.press("a")
    status(page, "Saved: c0: accepted. Case 2 of 6")
    assert page.inner_text("#name") == "c1" and page.inner_text("#verdict") == "Not decided"
    page.keyboard.press("r")
    assert page.evaluate("document.activeElement.textContent").startswith("1Blurred")
    page.keyboard.press("Escape")
    assert not page.is_visible("#reasons")
    decide(page, "R", "8")
    status(page, "Saved: c1: rejected (other)")
    page.keyboard.press("p")
    page.wait_for_selector("#verdict:has-text('✕ Rejected: other')")
    page.keyboard.press("h")
    assert page.get_attribute("#hide", "aria-pressed") == "true" and not page.is_visible("#view path.line")
    page.reload()
    page.wait_for_selector("#name:has-text('c2')")  # what waits comes first
    assert "You have decided on 2 of 6." in page.inner_text("#far")
    assert "1 accepted, 0 corrected, 1 rejected, 4 open" in page.inner_text("#all")
    page.keyboard.press("u")
    status(page, "Undone: c1: rejected (other)")
    assert page.inner_text("#name") == "c1" and page.inner_text("#verdict") == "Not decided"
    kinds = [(event.case, event.kind, event.value) for event in server.said("ann")]
    assert kinds[:3] == [("c0", "rate", "4"), ("c0", "accept", ""), ("c1", "reject", "other")]
    assert kinds[3][1:] == ("undo", server.said("ann")[2].id)
    page.keyboard.press("?")
    page.uncheck("#single")
    page.keyboard.press("a")
    assert len(server.said("ann")) == 4  # whoever dictates or uses a screen reader can turn the keys off


def test_what_was_passed_over_comes_again_at_the_end_of_the_list(page: Any, server: Server) -> None:
    enter(page, server, "eve")
    for number in range(6):
        page.wait_for_selector(f"#name:has-text('c{number}')")
        decide(page, "n" if number == 2 else "a")
    page.wait_for_selector("#name:has-text('c2')")
    decide(page, "a")
    status(page, "Saved: c2: accepted")
    assert "You have decided on 6 of 6." in page.inner_text("#far")
    assert [case for case, _ in decided(server, "eve")] == ["c0", "c1", "c3", "c4", "c5", "c2"]


def test_a_decision_that_the_server_did_not_take_is_kept_and_sent_again(page: Any, server: Server) -> None:
    enter(page, server, "ben")
    for key, name in (("n", "c1"), ("p", "c0")):  # c1 has been fetched then, so that it can be decided on
        page.keyboard.press(key)
        page.wait_for_selector(f"#name:has-text('{name}')")
    server.stop()
    try:
        decide(page, "a")
        page.wait_for_selector("#unsent:not([hidden])")
        assert "Is syndiff serve still running?" in page.inner_text("#unsent")
        decide(page, "r", "2")
        page.wait_for_selector("#items li >> nth=1")
        status(page, "Not saved yet: 2 of your decisions")
    finally:
        server.start()
    assert server.said("ben") == []
    page.reload()
    page.wait_for_selector("#unsent:has-text('not saved when the page was left')")
    assert page.locator("#items li").all_inner_texts() == ["c0: accepted Discard", "c1: rejected (colour) Discard"]
    page.click("#again")
    page.wait_for_selector("#unsent", state="hidden")
    assert decided(server, "ben") == [("c0", "accept"), ("c1", "reject")]
    assert page.evaluate("Object.keys(localStorage).filter(name => name.includes('unsent'))") == []


def test_a_case_that_changed_meanwhile_is_told_and_shown_anew(page: Any, server: Server) -> None:
    enter(page, server, "cleo")
    write_case(server.data, "c0", size=(48, 40), colour=30)
    decide(page, "a")
    page.wait_for_selector("#unsent:has-text('c0 was changed while you looked at it')")
    status(page, "Not saved: c0: accepted")
    assert page.inner_text("#name") == "c0" and server.said("cleo") == []
    page.click("#items button")
    decide(page, "a")
    status(page, "Saved: c0: accepted")
    for key, name in (("n", "c2"), ("p", "c1")):  # c2 has been fetched then
        page.keyboard.press(key)
        page.wait_for_selector(f"#name:has-text('{name}')")
    (server.data / "images" / "c2.png").rename(server.root / "away.png")
    try:
        decide(page, "a")
        status(page, "Saved: c1: accepted")
        decide(page, "a")  # c2, which was shown before it was deleted
        page.wait_for_selector("#unsent:has-text('c2.png is not in the folder any more')")
    finally:
        (server.root / "away.png").rename(server.data / "images" / "c2.png")
    assert [event.case for event in server.said("cleo")] == ["c0", "c1"]


def test_a_second_reviewer_sees_the_agreement_at_400_pixels(page: Any, server: Server) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    enter(page, server, "dora")
    page.click("#agreement summary")
    for number in range(2):
        decide(page, "a")
        status(page, f"Saved: c{number}: accepted")
    page.wait_for_selector("#agreed:has-text('dora')")
    assert re.search(r"Fleiss' kappa .* cases that all decided on", page.inner_text("#agreed"))
    for name in ("about", "help"):
        page.click(f"#{name} summary") if page.is_visible(f"#{name}") else None
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    for control in page.locator("button, input, select, a.button, summary").all():
        name = control.evaluate(
            "one => one.ariaLabel || one.innerText || (one.labels && one.labels[0] && one.labels[0].innerText) || ''"
        )
        assert name.strip() or not control.is_visible(), control.evaluate("one => one.outerHTML")


def test_a_blind_test_goes_on_after_a_reload_and_tells_at_its_end(page: Any, server: Server) -> None:
    enter(page, server, "eve")
    page.click("#blind")
    page.wait_for_selector("#setup:not([hidden])")
    assert page.input_value("#who") == "eve" and page.input_value("#cases") == "4"
    page.click("#begin")
    status(page, "Case 1 of 4")
    assert not page.is_visible("#view path.line")
    page.keyboard.press("h")
    assert page.is_visible("#view path.line")
    hold(page, "r")
    status(page, "Case 2 of 4")
    page.reload()
    status(page, "Case 2 of 4")
    page.keyboard.press("u")
    status(page, "Undone. Case 1 of 4")
    for number in range(3):
        decide(page, "s")
        status(page, f"Saved. Case {number + 2} of 4")
    for word in ("right", "synthetic-0", "c0", "polyp"):
        assert word not in page.inner_text("main")
    server.stop()
    try:
        decide(page, "s")
        page.wait_for_selector("#unsent:not([hidden])")
    finally:
        server.start()
    page.click("#again")
    page.wait_for_selector("#result:not([hidden])")
    assert page.inner_text("#outcome") == "2 of 4 right: 50 %"
    assert "95 % interval 7 % to 93 %" in page.inner_text("#result")
    assert "Guessing alone would explain this" in page.inner_text("#meaning")
    truths = [event.truth for event in server.said("eve") if event.kind == "guess"]
    assert sorted(truths[-4:]) == ["real", "real", "synthetic", "synthetic"]
    page.click("#other")  # whoever comes next is not shown it
    page.wait_for_selector("#setup:not([hidden])")
    assert page.input_value("#who") == "" and not page.is_visible("#resume")
    page.fill("#who", "gus")
    page.click("#begin")
    status(page, "Case 1 of 4")
    page.reload()
    page.wait_for_selector("#far:has-text('0 of 4 answered by gus')")
    page.click("#other")
    page.fill("#who", "eve")
    page.click("#resume")
    page.wait_for_selector("#outcome:has-text('2 of 4 right')")
    assert page.inner_text("#me") == "eve"


def test_a_key_that_is_held_or_comes_before_the_case_decides_nothing(page: Any, server: Server) -> None:
    late: list[Any] = []
    slow = True

    def first_only(route: Any) -> None:
        late.append(route)
        if len(late) == 1 or not slow:
            route.continue_()

    page.route("**/cases/*?reviewer=*", first_only)
    enter(page, server, "fay")
    decide(page, "a")
    status(page, "Saved: c0: accepted")
    page.keyboard.press("a")  # c1 is still on its way, and c0 in sight
    page.keyboard.press("1")
    status(page, "The case is not in sight yet")
    slow = False
    for route in late[1:]:
        route.continue_()
    page.wait_for_selector("#name:has-text('c1')")
    hold(page, "a")
    status(page, "Saved: c1: accepted")
    page.focus("#accept")
    hold(page, "Enter")
    status(page, "Saved: c2: accepted")
    page.focus("#view svg")
    decide(page, "r", "1", "1")  # the second 1 was meant for c3 as well
    page.wait_for_selector("#far:has-text('decided on 4 of 6')")
    page.wait_for_selector("[aria-busy=false]")
    page.click("#other")
    page.click("#enter h2")
    page.keyboard.type("ar1")
    assert page.evaluate("Object.keys(localStorage).filter(name => name.includes('unsent'))") == []  # on its way
    assert decided(server, "fay") == [("c0", "accept"), ("c1", "accept"), ("c2", "accept"), ("c3", "reject")]


def test_decisions_wait_for_their_own_file_and_for_a_folder_that_is_away(page: Any, server: Server) -> None:
    enter(page, server, "gil")
    page.wait_for_selector("[aria-busy=false]")
    server.data.rename(server.root / "away")
    try:
        page.keyboard.press("a")
        page.wait_for_selector("#again:not([hidden])")
        assert "cannot be read at the moment" in page.inner_text("#trouble")
    finally:
        (server.root / "away").rename(server.data)
    page.click("#again")
    status(page, "Saved: c0: accepted")
    server.stop()
    decide(page, "a")
    page.wait_for_selector("#trouble:has-text('Is syndiff serve still running?')")
    server.start("other.db")
    try:
        decide(page, "r", "1")
        page.wait_for_selector("#trouble:has-text('Decided for reviews.db; the server keeps other.db now.')")
        page.wait_for_selector("#far:has-text('decided on 0 of 6')")
        assert server.said("gil") == [] and page.inner_text("#file") == "other.db"
        decide(page, "a")
        status(page, "Saved: c0: accepted")
        assert decided(server, "gil") == [("c0", "accept")]
        page.click("#again")
        page.wait_for_selector("#unsent", state="hidden")
        assert decided(server, "gil")[1:] == [("c1", "accept"), ("c2", "reject")]
    finally:
        server.stop()
        server.start()
    assert decided(server, "gil") == [("c0", "accept")]


def test_what_the_browser_cannot_keep_or_read_is_told(page: Any, server: Server) -> None:
    page.goto(f"{server.address}review")
    page.evaluate("""() => {
      for (const name of ["unsent.1", "blind.hal", "blind-unsent.hal"]) { localStorage["syndiff." + name] = "{"; }
      localStorage["syndiff.unsent.2"] = localStorage["syndiff.unsent.3"] = "null";
    }""")
    enter(page, server, "hal")
    assert page.locator("#items li:has-text('damaged and cannot be sent')").count() == 3
    for _ in range(3):
        page.click("#items button >> nth=0")
    assert not page.is_visible("#unsent")
    page.wait_for_selector("[aria-busy=false]")
    page.context.set_offline(True)
    page.evaluate("() => { Storage.prototype.setItem = () => { throw new DOMException('full'); }; }")
    page.keyboard.press("a")
    page.wait_for_selector("#trouble:has-text('still running')")
    assert "cannot remember what is not saved yet" in page.inner_text("#trouble")
    assert not page.evaluate("window.dispatchEvent(new Event('beforeunload', {cancelable: true}))")
    page.context.set_offline(False)
    page.click("#again")
    status(page, "Saved: c0: accepted")
    assert page.evaluate("window.dispatchEvent(new Event('beforeunload', {cancelable: true}))")
    page.goto(f"{server.address}blind")
    page.wait_for_selector("#problem:has-text('This is no blind test')")
    page.click("#begin")
    page.wait_for_selector("#problem:has-text('is damaged, and was not saved: answer again')")
    status(page, "Case 1 of 4")


def test_the_gates_verdict_stands_by_the_name_and_a_refused_undo_is_told(page: Any, server: Server) -> None:
    enter(page, server, "ivy")
    assert page.inner_text("#gates") == "" and page.locator("#state option:not([hidden])").count() == 6
    page.select_option("#folder", label="synthetic (synthetic, 3)")
    page.wait_for_selector("#gates:has-text('✓ Passed the gates')")
    page.select_option("#state", "gates_rejected")
    page.wait_for_selector("#name:has-text('synthetic-000001')")
    assert page.inner_text("#gates") == "✕ Rejected by the gates (seam: a visible edge): no training uses it"
    decide(page, "r", "1")
    status(page, "Saved: synthetic-000001: rejected (blurred)")
    folder = next(each for each in server.reviewing.folders.values() if each.collection.kind == "synthetic")
    server.store.add("ivy", server.reviewing.subject(folder.collection, "synthetic-000000"), "accept")
    page.keyboard.press("u")
    page.wait_for_selector("#items:has-text('Undo of synthetic-000001: rejected (blurred). You have decided')")
    status(page, "Not undone: synthetic-000001: rejected (blurred)")
