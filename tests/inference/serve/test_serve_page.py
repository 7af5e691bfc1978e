"""The page in a real browser: every way to a picture, layers, keyboard, mistakes, a server that forgot, 400 pixels."""

import base64
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_folders import write_case

from syndiff.inference.serve.pictures import Pictures

pytestmark = pytest.mark.slow
DONE, PROBLEM = "#status:has-text('done in')", "#problem:not([hidden])"


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page, which may neither complain nor ask anybody else for anything."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    made, said = context.new_page(), []
    made.on("pageerror", lambda error: said.append(str(error)))
    made.on("console", lambda message: said.append(message.text))
    made.on(
        "request", lambda request: said.append(request.url) if not request.url.startswith((address, "data:")) else 0
    )
    made.goto(address)
    made.wait_for_selector("#names button")
    yield made
    context.close()
    assert [text for text in said if "Failed to load resource" not in text] == []


def files(path: Path) -> str:
    """JavaScript that puts a file into a DataTransfer named `data`."""
    content = base64.b64encode(path.read_bytes()).decode()
    return (
        f"const bytes = Uint8Array.from(atob('{content}'), letter => letter.charCodeAt(0));"
        f"const data = new DataTransfer(); data.items.add(new File([bytes], '{path.name}', {{type: 'image/png'}}));"
    )


def test_a_picture_is_chosen_dropped_pasted_or_taken_from_the_folder(page: Any, images: Path) -> None:
    page.set_input_files("#file", images / "i1.png")
    page.wait_for_selector(DONE)
    assert page.locator(".panel").count() == 2 and "i1.png" in page.inner_text("#status")
    page.evaluate(files(images / "i2.png") + "document.dispatchEvent(new DragEvent('drop', {dataTransfer: data}))")
    page.wait_for_selector("#status:has-text('i2.png: done')")
    page.evaluate(
        files(images / "i0.png") + "document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data}))"
    )
    page.wait_for_selector("#status:has-text('i0.png: done')")
    page.fill("#filter", "deep")
    page.wait_for_selector("#count:has-text('1 image')")
    page.click("#names button")
    page.wait_for_selector("#status:has-text('i3.png: done')")
    assert page.get_attribute("#names button", "aria-current") == "true"
    label = page.get_attribute(".view svg >> nth=0", "aria-label")
    assert re.fullmatch(r"i3\.png, one: (no lesion|\d+ lesions?), [\d.< ]+ % of the frame", label)


def test_layers_zoom_and_the_keyboard(page: Any, images: Path) -> None:
    page.set_input_files("#file", images / "i1.png")
    page.wait_for_selector(DONE)
    shown = ".panel >> nth=1 >> g."
    assert not page.is_visible(shown + "probability image") and page.is_visible(shown + "mask path.line")
    page.check("[data-layer=probability]")
    page.fill("[data-opacity=probability]", "30")
    group = page.locator(shown + "probability")
    assert group.evaluate("one => one.style.opacity") == "0.3" and group.locator("image").is_visible()
    page.focus(".view svg >> nth=0")
    for key in ("+", "+", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    boxes = [each.get_attribute("viewBox") for each in page.locator(".view svg").all()]
    assert boxes[0] == boxes[1] and float(boxes[0].split()[2]) == 25 / 1.25**2
    page.keyboard.press("h")
    assert page.get_attribute("#hide", "aria-pressed") == "true" and not page.is_visible(shown + "mask path.line")
    page.keyboard.press("0")
    assert page.get_attribute(".view svg >> nth=0", "viewBox") == "0 0 25 20"
    page.mouse.wheel(0, 0)
    page.hover(".view svg >> nth=0")
    page.mouse.wheel(0, -200)
    page.wait_for_selector(".view svg.near")
    page.uncheck("#model-0")
    page.wait_for_selector(DONE)
    assert page.locator(".panel h3").all_inner_texts() == ["two"]


def test_the_downloaded_mask_is_that_of_predict(
    page: Any, images: Path, tmp_path: Path, syndiff: Any, runs: Any
) -> None:
    page.set_input_files("#file", images / "i1.png")
    page.wait_for_selector(DONE)
    with page.expect_download() as download:
        page.click("text=Download the mask >> nth=0")
    assert download.value.suggested_filename == "i1.one.png"
    download.value.save_as(tmp_path / "page.png")
    syndiff("predict", "--run", runs[0], "--images", images / "i1.png", "--out", tmp_path / "masks")
    expected = np.asarray(Image.open(tmp_path / "masks" / "i1.png"))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "page.png")), expected)


def test_a_mistake_is_told_and_the_picture_before_it_stays(page: Any, images: Path) -> None:
    page.set_input_files("#file", images / "i1.png")
    page.wait_for_selector(DONE)
    page.set_input_files("#file", {"name": "<b>x.png", "mimeType": "image/png", "buffer": b"hello"})
    page.wait_for_selector(PROBLEM)
    assert page.inner_text("#problem").startswith("<b>x.png is damaged") and page.locator(".panel").count() == 2
    assert page.inner_text("#status") == "i1.png is shown."
    page.set_input_files("#file", images / "i2.png")
    page.wait_for_selector("#status:has-text('i2.png: done')")
    assert not page.is_visible("#problem")


def test_a_server_that_forgot_the_picture_is_given_it_again(
    page: Any, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.set_input_files("#file", images / "i1.png")
    page.wait_for_selector(DONE)
    known, get = set(), Pictures.__getitem__

    def forgetful(self: Pictures, name: str) -> Any:
        if not known:
            known.add(name)
            self._held.clear()
        return get(self, name)

    monkeypatch.setattr(Pictures, "__getitem__", forgetful)
    page.uncheck("#model-1")
    page.wait_for_selector(DONE)
    assert known and page.locator(".panel").count() == 1 and not page.is_visible("#problem")
    assert page.locator(".facts dl").count() == 1


def test_a_server_that_ended_is_told(page: Any, images: Path) -> None:
    page.set_input_files("#file", images / "i1.png")
    page.wait_for_selector(DONE)
    page.context.set_offline(True)
    page.uncheck("#model-1")
    page.wait_for_selector(PROBLEM)
    assert "Is syndiff serve still running?" in page.inner_text("#problem")


def test_nothing_is_cut_off_at_400_pixels(page: Any, images: Path) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    page.set_input_files("#file", images / "i1.png")
    page.wait_for_selector(DONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.locator(".stage").bounding_box()["y"] < 400  # the images came into view
    for control in page.locator("button, input, a.button, summary").all():
        name = control.evaluate(
            "one => one.ariaLabel || one.innerText || (one.labels && one.labels[0].innerText) || ''"
        )
        assert name.strip(), control.evaluate("one => one.outerHTML")


def test_the_first_paint_is_quick(page: Any) -> None:
    began = time.perf_counter()
    page.reload()
    page.wait_for_selector("#names button")
    assert time.perf_counter() - began < 2  # half a second without others on the machine


def test_cases_are_browsed_filtered_flipped_and_left_by_the_keyboard(page: Any) -> None:
    page.click("nav >> text=Browse")
    page.wait_for_selector("#count:has-text('3 cases')")
    page.select_option("#gates", "rejected")
    page.wait_for_selector("#count:has-text('1 case')")
    page.click("#grid button")
    page.wait_for_selector("#name:has-text('synthetic-000001')")
    assert "a large pale polyp" in page.inner_text("#facts") and "0.900" in page.inner_text("#scores")
    assert "rejected: seam" in page.inner_text("#facts") and "accepted: ann accepts it" in page.inner_text("#facts")
    source = page.get_attribute("#view image", "href").replace("image.jpg", "source.jpg")
    page.focus("#view svg")
    page.keyboard.press("f")
    assert page.get_attribute("#view image", "href") == source
    assert page.get_attribute("#flip", "aria-pressed") == "true"
    assert page.evaluate("address => fetch(address).then(answer => answer.status)", source) == 200
    page.select_option("#gates", "all")
    page.select_option("#review", "rejected")
    page.wait_for_selector("#grid button[aria-label='synthetic-000002, reviewers: rejected']")
    page.select_option("#review", "all")
    page.select_option("#sort", "noise")
    page.fill("#high", "1")
    page.wait_for_selector("#count:has-text('2 cases')")
    page.select_option("#sort", "seam")  # the bounds were of the other score
    page.wait_for_selector("#count:has-text('3 cases')")
    page.select_option("#sort", "name")
    page.fill("#text", "small")
    page.wait_for_selector("#count:has-text('2 cases')")
    page.click("#grid button >> nth=0")
    page.click("#after")
    page.wait_for_selector("#name:has-text('synthetic-000002')")


def test_truth_and_prediction_of_a_run_are_seen(page: Any) -> None:
    page.click("nav >> text=Browse")
    page.select_option("#collection", "1")
    page.select_option("#sort", "dice")
    page.click("#turn")
    page.wait_for_selector("#grid button:has-text('dice 1') >> nth=0")
    page.click("#grid button >> nth=0")
    page.wait_for_selector("#name:has-text('a')")
    assert page.is_visible("#view g.mask path.line") and page.is_visible("#view g.wide path.line")
    assert "Blue, dashed: prediction" in page.inner_text("#legend")


def test_a_folder_that_grows_and_loses_cases_while_it_is_browsed(page: Any, changing: Path) -> None:
    page.click("nav >> text=Browse")
    page.select_option("#collection", "3")
    page.wait_for_selector("#grid button:has-text('case 10')")  # the folder before has three cases too
    assert page.locator("#grid button span:first-of-type").all_inner_texts() == ["case 1", "case 2", "case 10"]
    page.click("#grid button:has-text('case 10')")
    page.wait_for_selector("#name:has-text('case 10')")
    (changing / "images" / "case 2.png").unlink()
    page.click("#grid button:has-text('case 2')")
    page.wait_for_selector("#problem:has-text('case 2.png does not exist')")
    assert page.inner_text("#name") == "case 10"  # the case before it stays
    (changing / "masks" / "case 2.png").unlink()
    for name in ("case 3", "case 4"):
        write_case(changing, name)
    page.click("#grid button:has-text('case 10')")
    page.click("#refresh")
    page.wait_for_selector("#count:has-text('4 cases')")
    assert "dataset, 4" in page.inner_text("#collection option:checked") and not page.is_visible("#problem")
    assert page.get_attribute("#grid button:has-text('case 10')", "aria-current") == "true"
    page.click("#before")  # from where it is now
    page.wait_for_selector("#name:has-text('case 4')")
    for name in ("case 1", "case 3", "case 4"):
        for part in ("images", "masks"):
            (changing / part / f"{name}.png").unlink()
    page.click("#refresh")
    page.wait_for_selector("#count:has-text('1 case')")
    assert page.inner_text("#name") == "case 4" and page.locator("#grid button").count() == 1
    page.context.set_offline(True)
    page.fill("#text", "another")
    page.wait_for_selector("#problem:has-text('Is syndiff serve still running?')")
    assert page.locator("#grid button:has-text('case 10')").count() == 1  # what was there stays


def test_a_thousand_cases_scroll_with_a_handful_of_buttons(page: Any) -> None:
    page.click("nav >> text=Browse")
    page.select_option("#collection", "2")
    page.wait_for_selector("#count:has-text('1000 cases')")
    page.wait_for_selector("#grid button:has-text('00000')")
    page.focus("#grid button >> nth=0")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.getAttribute('data-index')") == "1"
    page.evaluate("document.getElementById('grid').scrollTop = 1e6")
    page.wait_for_selector("#grid button:has-text('00999') img")
    assert page.locator("#grid button").count() < 60
    page.click("#grid button:has-text('00999')")
    page.wait_for_selector("#name:has-text('00999')")
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_the_lesion_that_was_put_in_is_told_from_those_of_the_frame(page: Any) -> None:
    new, hole, old = "M0 0L9 0L9 9L0 9Z", "M3 3L6 3L6 6L3 6Z", "M20 0L29 0L29 9L20 9Z"
    apart = "([path, at]) => SynDiff.apart(path, at)"
    for at in ([1, 1], [-2, 5]):  # within it; beside it, as the centre of a crescent is
        assert page.evaluate(apart, [new + hole + old, at]) == {"mask": new + hole, "others": old}
    assert page.evaluate(apart, [old + new, [25, 5]]) == {"mask": old, "others": new}
    assert page.evaluate(apart, [new + old, None]) == {"mask": new + old, "others": ""}
    assert page.evaluate(apart, ["", [1, 1]]) == {"mask": "", "others": ""}
