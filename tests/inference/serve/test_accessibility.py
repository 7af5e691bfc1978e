"""axe-core finds nothing wrong in any state of the page, wide or narrow, with the page's own policy in force."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
pytestmark = pytest.mark.slow
WIDTHS = (1280, 400)


def start(page: Any, images: Path) -> None:
    page.wait_for_selector("#names button")


def answered(page: Any, images: Path) -> None:
    page.set_input_files("#file", images / "i1.png")
    page.wait_for_selector("#status:has-text('done in')")
    for layer in ("probability", "disagreement"):
        page.check(f"[data-layer={layer}]")
    page.click("summary >> nth=0")
    page.click("#names button >> nth=1")
    page.wait_for_selector("#names [aria-current=true]")


def refused(page: Any, images: Path) -> None:
    page.set_input_files("#file", {"name": "x.png", "mimeType": "image/png", "buffer": b"hello"})
    page.wait_for_selector("#problem:not([hidden])")


def listed(page: Any, images: Path) -> None:
    page.wait_for_selector("#grid .badge:has-text('review: rejected')")


def opened(page: Any, images: Path) -> None:
    page.select_option("#sort", "seam")
    page.wait_for_selector("#grid button:has-text('seam 0.9')")
    page.click("#grid button >> nth=0")
    page.wait_for_selector("#flip:not([hidden])")
    page.click("#flip")


def judged(page: Any, images: Path) -> None:
    page.select_option("#collection", "1")
    page.wait_for_selector("#count:has-text('2 cases')")
    page.click("#grid button >> nth=0")
    page.wait_for_selector("#large:not([hidden])")


def gone(page: Any, images: Path) -> None:
    page.context.set_offline(True)
    page.fill("#text", "nothing")
    page.wait_for_selector("#problem:not([hidden])")


def asked(page: Any, images: Path) -> None:
    page.wait_for_selector("#enter:not([hidden])")


def reviewing(page: Any, images: Path) -> None:
    page.fill("#who", "ann")
    page.keyboard.press("Enter")
    page.wait_for_selector("#view svg")
    for details in page.locator("details").all():
        details.evaluate("one => { one.open = true; }")
    page.keyboard.press("r")
    page.wait_for_selector("#reasons:not([hidden])")


def editing(page: Any, images: Path) -> None:
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    page.wait_for_selector(".told:has-text('The mask is loaded.')")
    page.keyboard.press("Space")
    page.keyboard.press("p")
    page.keyboard.press("Space")
    page.evaluate("document.querySelector('.editor .problem').hidden = false")


def unsent(page: Any, images: Path) -> None:
    for _ in range(3):  # the first drops the polygon, the others leave the editor
        page.keyboard.press("Escape")
    page.wait_for_selector("#view svg")
    page.wait_for_selector("[aria-busy=false]")
    page.context.set_offline(True)
    page.keyboard.press("2")
    page.wait_for_selector("#unsent:not([hidden])")


def prepared(page: Any, images: Path) -> None:
    page.wait_for_selector("#setup:not([hidden])")


def guessing(page: Any, images: Path) -> None:
    page.fill("#who", "ann")
    page.fill("#cases", "2")
    page.click("#begin")
    page.wait_for_selector("#status:has-text('Case 1 of 2')")


def told(page: Any, images: Path) -> None:
    page.wait_for_selector("[aria-busy=false]")
    page.keyboard.press("s")
    page.wait_for_selector("#status:has-text('Case 2 of 2')")
    page.wait_for_selector("[aria-busy=false]")
    page.keyboard.press("r")
    page.wait_for_selector("#result:not([hidden])")


STATES: dict[str, tuple[Callable[[Any, Path], None], ...]] = {
    "": (start, answered, refused),
    "browse": (listed, opened, judged, gone),
    "review": (asked, reviewing, editing, unsent),
    "blind": (prepared, guessing, told),
}
"""Each view's states by its address, each coming from the one before it."""


def violations(page: Any) -> list[tuple[str, str, list[str]]]:
    """Impact, rule and places of what is wrong in the page."""
    found = axe.Axe().run(page).response["violations"]
    return [(each["impact"], each["help"], [str(node["target"]) for node in each["nodes"]]) for each in found]


@pytest.fixture(params=STATES)
def view(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[tuple[Any, str]]:
    context = browser.new_context(viewport={"width": WIDTHS[0], "height": 900})
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.goto(address + request.param)
    yield page, request.param
    context.close()
    assert not [text for text in said if "Content Security Policy" in text]


def test_nothing_is_found(view: tuple[Any, str], images: Path) -> None:
    page, name = view
    found: list[tuple[Any, ...]] = []
    for reach in STATES[name]:
        page.set_viewport_size({"width": WIDTHS[0], "height": 900})
        reach(page, images)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            found += [(reach.__name__, width, *each) for each in violations(page)]
    assert not found, "\n".join(map(str, found))
    page.evaluate("document.documentElement.removeAttribute('lang')")
    assert [each[0] for each in violations(page)] == ["serious"], "axe-core must find what is wrong"
