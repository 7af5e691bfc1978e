"""The mask editor in a real browser: what is drawn is what is kept, to the pixel, and nothing drawn is lost."""

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from small_folders import write_case

from syndiff.inference.serve.app import make_app
from syndiff.inference.serve.collections import Collection
from syndiff.inference.serve.decoding import Decoder
from syndiff.inference.serve.models import Models
from syndiff.inference.serve.reviewing import Reviewing
from syndiff.inference.serve.security import Access
from syndiff.reviews.store import ReviewStore

uvicorn = pytest.importorskip("uvicorn", reason="the extra serve is not installed")
pytestmark = pytest.mark.slow
WIDTH, HEIGHT = 121, 80
Mask = NDArray[np.bool_]

EDIT = """async ([key, id, content, width, height]) => {
  const place = `api/review/${key}/cases/${id}/`, host = document.querySelector('main');
  host.className = 'card';
  host.textContent = '';
  window.editor = new SynDiff.Editor(host, {picture: place + 'picture.jpg', mask: place + 'mask.png?reviewer=ann',
    width, height, key: content});
  editor.onsave = async blob => {
    const {base} = await (await fetch(`${place.slice(0, -1)}?reviewer=ann`)).json();
    const id = SynDiff.newId(), query = `reviewer=ann&content=${content}&base=${base}&id=${id}`;
    const answer = await fetch(`${place}mask?${query}`,
      {method: 'POST', body: blob, headers: {'X-Requested-With': 'syndiff'}});
    if (!answer.ok) { throw new Error((await answer.json()).error); }
  };
  editor.oncancel = () => { window.left = true; };
  await editor.ready;
}"""


class Server:
    """A server with cases to correct."""

    def __init__(self, address: str, reviewing: Reviewing) -> None:
        self.address, self.store = address, reviewing.store
        (self.folder,) = reviewing.folders.values()

    def last(self) -> Mask:
        return self.store.mask(self.store.events()[-1].value)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, decoder: Decoder) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("drawn")
    for number, name in enumerate(("pointer", "keys", "fingers", "noise")):
        write_case(root / "data", name, size=(WIDTH, HEIGHT), colour=90 + number)
    noise = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.5
    Image.fromarray(noise.astype(np.uint8) * 255).save(root / "data" / "masks" / "noise.png")
    found = [Collection(root / "data", None)]
    with ReviewStore(root / "reviews.db") as store, socket.create_server(("127.0.0.1", 0)) as listening:
        reviewing = Reviewing(store, found, decoder)
        app = make_app(Models(()), None, Access(), found, reviewing)
        running = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        yield Server(f"http://127.0.0.1:{listening.getsockname()[1]}/", reviewing)
        running.should_exit = True
        thread.join()


@pytest.fixture
def edit(browser: Any, server: Server) -> Iterator[Callable[..., Any]]:
    """Open the editor on a case: a page that may not complain."""
    context, said = browser.new_context(viewport={"width": 1280, "height": 900}, has_touch=True), []

    def open_editor(name: str, page: Any = None) -> Any:
        if page is None:
            page = context.new_page()
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("console", lambda message: said.append(message.text))
        page.goto(f"{server.address}browse")
        page.add_style_tag(url=f"{server.address}editor.css")
        for script in ("common", "mask", "layer", "editor", "editing"):
            page.add_script_tag(url=f"{server.address}{script}.js")
        case_id = server.folder.names[name]
        content = server.folder.subject(case_id).content
        page.evaluate(EDIT, [server.folder.key, case_id, content, WIDTH, HEIGHT])
        return page

    yield open_editor
    context.close()
    assert [text for text in said if "Failed to load resource" not in text] == []


def told(page: Any) -> str:
    return page.inner_text(".editor .told")


def now(page: Any) -> Mask:
    return np.array(page.evaluate("Array.from(editor.mask.pixels)"), bool).reshape(HEIGHT, WIDTH)


def from_runs(text: str) -> Mask:
    lengths = [int(word, 36) for word in text.split(" ")]
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(HEIGHT, WIDTH)


def on_screen(page: Any, x: float, y: float) -> tuple[float, float]:
    return tuple(
        page.evaluate(
            "([x, y]) => { const m = editor.svg.getScreenCTM(); return [m.a * x + m.e, m.d * y + m.f]; }", [x, y]
        )
    )


def drag(page: Any, *points: tuple[float, float]) -> None:
    page.mouse.move(*on_screen(page, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*on_screen(page, *point))
    page.mouse.up()


def disc_path(*points: Sequence[float], size: float) -> Mask:
    """The pixels whose centres are no further than half of `size` from a line through points (x, y)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    found = np.zeros((HEIGHT, WIDTH), bool)
    for (ax, ay), (bx, by) in zip(points, points[1:] or points, strict=len(points) == 1):
        length = (bx - ax) ** 2 + (by - ay) ** 2 or 1
        along = (((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length).clip(0, 1)
        found |= np.hypot(x - ax - along * (bx - ax), y - ay - along * (by - ay)) <= size / 2
    return found


def triangle() -> Mask:
    """The pixels whose centres are right of and below the corner (80, 10), above a line from (80, 60) to (110, 10)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return (x > 80) & (y > 10) & ((x - 80) / 30 + (y - 10) / 50 < 1)


def test_brush_eraser_and_polygon_end_in_the_file_as_they_were_drawn(edit: Callable, server: Server) -> None:
    page = edit("pointer")
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[4:9, 3:13] = True
    assert not page.evaluate("editor.changed") and page.locator("[data-do=undo]").is_disabled()
    np.testing.assert_array_equal(now(page), expected)
    page.fill(".editor input >> nth=0", "7")
    drag(page, (30.5, 20.5), (50.5, 30.5), (40.5, 60.5))
    expected |= disc_path((30.5, 20.5), (50.5, 30.5), (40.5, 60.5), size=7)
    page.keyboard.press("]")
    drag(page, (118.2, 40.3))  # over the edge; a brush of 8 stands on corners of pixels
    expected |= disc_path((118, 40), size=8)
    page.keyboard.press("e")
    drag(page, (10, 2), (10, 30))
    expected &= ~disc_path((10, 2), (10, 30), size=8)
    np.testing.assert_array_equal(now(page), expected)
    page.keyboard.press("p")
    for corner in ((80, 10), (110, 10), (95, 70)):
        page.mouse.click(*on_screen(page, *corner))
    page.keyboard.press("Backspace")
    page.mouse.dblclick(*on_screen(page, 80, 60))
    assert told(page) == "Polygon added."
    expected |= triangle()
    page.keyboard.press("x")  # subtracts
    for corner in ((85, 12), (90, 12), (90, 20), (85, 20), (85.2, 12.1)):  # the first again closes it
        page.mouse.click(*on_screen(page, *corner))
    expected[12:20, 85:90] = False
    np.testing.assert_array_equal(now(page), expected)
    page.keyboard.press("x")
    page.click("[data-do=clear]")
    assert not now(page).any()
    for _ in range(6):
        page.click("[data-do=undo]")
    assert page.locator("[data-do=undo]").is_disabled()  # and has lost the focus: keys still act
    page.keyboard.press("Control+Shift+Z")
    page.keyboard.press("Control+z")
    assert not page.evaluate("editor.changed") and page.evaluate("localStorage.length") == 0
    for _ in range(5):
        page.keyboard.press("Control+Shift+Z")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".told:has-text('The mask is saved.')")
    np.testing.assert_array_equal(server.last(), expected)
    assert page.evaluate("localStorage.length") == 0


def test_a_mask_that_was_only_loaded_comes_back_to_the_bit(edit: Callable, server: Server) -> None:
    page = edit("noise")
    content = page.evaluate(
        "editor.png().then(blob => blob.arrayBuffer()).then(all => Array.from(new Uint8Array(all)))"
    )
    path = server.store.path.with_name("back.png")
    path.write_bytes(bytes(content))
    with Image.open(path) as found, Image.open(server.folder.collection.root / "masks" / "noise.png") as stored:
        assert found.mode == "L"
        np.testing.assert_array_equal(np.asarray(found), np.asarray(stored))
    page.keyboard.press("Control+Enter")
    assert "nothing to save" in told(page)


def test_any_stroke_and_any_polygon_mark_the_pixels_whose_centres_they_cover(edit: Callable) -> None:
    page, chance = edit("noise"), np.random.default_rng(0)
    strokes = [[*chance.uniform(-20, 140, 4), int(chance.integers(1, 40))] for _ in range(40)]
    polygons = [chance.integers(-20, 140, (chance.integers(3, 9), 2)).tolist() for _ in range(20)]
    drawn, turned = page.evaluate(
        """([strokes, polygons, width, height]) => {
          const shapes = [...strokes.map(([ax, ay, bx, by, size]) => (mask, value) => mask.stroke(
            SynDiff.Mask.snapped({x: ax, y: ay}, size), SynDiff.Mask.snapped({x: bx, y: by}, size), size, value)),
            ...polygons.map(corners => (mask, value) => mask.polygon(corners.map(([x, y]) => ({x, y})), value))];
          const drawn = shapes.map(draw => {
            const one = new SynDiff.Mask(width, height);
            draw(one, 1);
            return one.runs();
          });
          const mask = editor.mask, seen = [mask.text], same = [];
          shapes.forEach((draw, i) => { draw(mask, i % 2); if (mask.commit()) { seen.push(mask.text); } });
          for (let i = seen.length - 2; i >= 0; i -= 1) { mask.undo(); same.push(mask.text === seen[i]); }
          same.push(mask.undo() === null && !mask.changed);
          for (let i = 1; i < seen.length; i += 1) { mask.redo(); same.push(mask.runs() === seen[i]); }
          mask.read(seen[3]);
          same.push(mask.runs() === seen[3] && mask.drop() !== null && mask.runs() === seen[seen.length - 1]);
          return [drawn, same];
        }""",
        [strokes, polygons, WIDTH, HEIGHT],
    )
    assert all(turned) and len(turned) > 100
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    masks = [from_runs(text) for text in drawn]
    for (ax, ay, bx, by, size), found in zip(strokes, masks, strict=False):
        ends = [
            np.floor([px, py]) + 0.5 if size % 2 else np.floor([px + 0.5, py + 0.5]) for px, py in ((ax, ay), (bx, by))
        ]
        least, most = (disc_path(*ends, size=size + by) for by in (-1e-9, 1e-9))  # a centre may lie on the very border
        assert ((least <= found) & (found <= most)).all()
    for corners, found in zip(polygons, masks[len(strokes) :], strict=True):
        left = np.zeros((HEIGHT, WIDTH), int)  # sides to the left of a centre, or through it
        for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
            if ay != by:
                left += ((y > min(ay, by)) & (y < max(ay, by))) & (ax + (y - ay) / (by - ay) * (bx - ax) <= x)
        np.testing.assert_array_equal(found, left % 2 == 1)


def test_all_of_it_can_be_done_by_the_keyboard(edit: Callable, server: Server) -> None:
    page = edit("keys")
    before = now(page)
    page.fill(".editor input >> nth=0", "3")
    page.focus(".editor svg")
    page.keyboard.press("ArrowRight")  # 60 + 2
    page.keyboard.down("Space")
    for _ in range(4):
        page.keyboard.press("Shift+ArrowDown")
    page.keyboard.up("Space")
    drawn = disc_path((62.5, 40.5), (62.5, 44.5), size=3)
    np.testing.assert_array_equal(now(page), before | drawn)
    page.wait_for_selector(".told:has-text('Column 63, row 45, in the mask.')")
    page.keyboard.press("p")
    for key in ("Space", "ArrowRight", "ArrowRight", "Space", "ArrowDown", "Space", "Enter"):
        page.keyboard.press(key)
    assert told(page) == "Polygon added." and now(page).sum() > (before | drawn).sum()
    page.keyboard.press("Space")
    page.keyboard.press("Control+Enter")
    assert "A polygon is open" in told(page)
    page.keyboard.press("Escape")
    assert told(page) == "Polygon dropped."
    page.keyboard.press("h")
    assert not page.is_visible(".editor canvas")
    page.keyboard.press("Escape")
    assert "Your work is kept" in told(page) and not page.evaluate("window.left")
    page.keyboard.press("Escape")
    assert page.evaluate("window.left")


def test_work_survives_a_reload_and_a_save_that_failed(edit: Callable, server: Server) -> None:
    page = edit("keys")  # the work of the test before is that of another browser
    page.set_viewport_size({"width": 400, "height": 800})
    page.focus(".editor svg")
    page.keyboard.press("Space")
    drawn = now(page)
    edit("keys", page)
    np.testing.assert_array_equal(now(page), drawn)
    assert told(page).startswith("Your unsaved work of ") and page.evaluate("editor.changed")
    full = {"error": "The disk is full: this was not saved."}
    page.route("**/mask?**", lambda route: route.fulfill(status=507, json=full))
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".problem:has-text('The disk is full')")
    assert told(page) == "Not saved; your work is still here."
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.unroute("**/mask?**")
    edit("keys", page)
    page.click("[data-do=save]")
    page.wait_for_selector(".told:has-text('The mask is saved.')")
    np.testing.assert_array_equal(server.last(), drawn)
    edit("keys", page)
    assert told(page) == "The mask is loaded."
    page.click("[data-do=clear]")
    page.keyboard.down("Control")
    for _ in range(3):  # held down it does not answer what it is asked
        page.keyboard.down("Enter")
    page.keyboard.up("Control")
    assert "Save again if that is meant" in told(page)
    page.click("[data-do=save]")
    page.wait_for_selector(".told:has-text('The mask is saved.')")
    assert not server.last().any()


def test_work_that_the_browser_cannot_keep_is_not_left_unasked(edit: Callable) -> None:
    page = edit("keys")
    page.evaluate("() => { Storage.prototype.setItem = () => { throw new DOMException('full'); }; }")
    page.keyboard.press("Space")
    assert "cannot keep unsaved work" in page.inner_text(".editor .problem")
    page.click("[data-do=leave]")
    assert "leave once more and it is lost" in told(page) and not page.evaluate("window.left")
    page.click("[data-do=leave]")
    assert page.evaluate("window.left")


def test_one_finger_draws_and_two_zoom(edit: Callable) -> None:
    page = edit("fingers")
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        places = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    before = now(page)
    a, b, c, d = (on_screen(page, x, 40) for x in (40, 60, 70, 90))
    touch("touchStart", b)
    touch("touchStart", b, c)
    touch("touchMove", a, c)
    touch("touchMove", a, d)
    touch("touchEnd")
    assert page.evaluate("editor.viewer.zoom") > 2 and (now(page) == before).all()
    touch("touchStart", b)
    touch("touchMove", c)
    touch("touchEnd")
    assert now(page).sum() > before.sum() and told(page) == "Added."


def review(page: Any, server: Server, name: str) -> None:
    page.goto(f"{server.address}review")
    page.wait_for_selector("#view svg, #enter:not([hidden])")
    if page.is_visible("#who"):
        page.fill("#who", "ben")
        page.keyboard.press("Enter")
    page.wait_for_selector("#view svg")
    while page.inner_text("#name") != name:
        last = page.inner_text("#name")
        page.keyboard.press("n")
        page.wait_for_function("last => document.getElementById('name').textContent !== last", arg=last)


def test_the_review_opens_the_editor_and_goes_on_when_the_mask_is_saved(edit: Callable, server: Server) -> None:
    page = edit("keys")
    known = len(server.store.events())
    review(page, server, "fingers")
    page.keyboard.press("c")
    page.wait_for_selector(".told:has-text('The mask is loaded.')")
    assert not page.is_visible("#desk") and not page.is_visible("#folder")
    for key in ("Space", "a", "Escape", "Escape"):  # A would accept the case, were the editor not open
        page.keyboard.press(key)
    page.wait_for_selector("#status:has-text('your work is kept in this browser')")
    assert page.inner_text("#verdict") == "Not decided" and not page.is_visible(".editor")
    page.reload()
    page.wait_for_selector("#view svg")
    page.keyboard.press("c")
    page.wait_for_selector(".told:has-text('Your unsaved work of')")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#status:has-text('Saved: fingers: corrected')")
    page.wait_for_selector("#name:has-text('keys')")
    (event,) = server.store.events()[known:]
    assert (event.reviewer, event.case, event.kind) == ("ben", "fingers", "correct")
    before = np.zeros((HEIGHT, WIDTH), bool)
    before[4:9, 3:13] = True
    added = server.last() & ~before
    assert added[40, 60] and (server.last() >= before).all() and added.sum() < 400
    page.keyboard.press("p")
    page.wait_for_selector("#verdict:has-text('✎ Corrected')")
    page.keyboard.press("n")
    page.wait_for_selector("#name:has-text('keys')")
    page.keyboard.press("c")
    page.wait_for_selector(".told:has-text('The mask is loaded.')")
    page.keyboard.press("Space")
    write_case(server.folder.collection.root, "keys", size=(WIDTH, HEIGHT), colour=20)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".problem:has-text('keys was changed while you looked at it')")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.wait_for_selector("#status:has-text('your work is kept')")
    page.keyboard.press("c")
    page.wait_for_selector(".told:has-text('The case was changed since')")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#status:has-text('Saved: keys: corrected')")
    page.keyboard.press("u")
    page.wait_for_selector("#status:has-text('Undone: keys: corrected')")
    assert page.inner_text("#verdict") == "Not decided"


def test_of_two_tabs_the_later_one_keeps_its_work_and_is_told(edit: Callable, server: Server) -> None:
    one = edit("pointer")
    other = one.context.new_page()
    for page in (one, other):
        review(page, server, "pointer")
        page.keyboard.press("c")
        page.wait_for_selector(".told:has-text('The mask is loaded.')")
    for page, key in ((other, "ArrowLeft"), (one, "ArrowRight")):
        page.keyboard.press(key)
        page.keyboard.press("Space")
    one.keyboard.press("Control+Enter")
    one.wait_for_selector("#status:has-text('Saved: pointer: corrected')")
    first = server.last()
    other.keyboard.press("Control+Enter")
    other.wait_for_selector(".problem:has-text('You have corrected pointer since, perhaps in another tab')")
    assert (server.last() == first).all()
    for key in ("Escape", "Escape"):
        other.keyboard.press(key)
    other.wait_for_selector("#status:has-text('your work is kept')")
    other.keyboard.press("c")
    other.wait_for_selector(".told:has-text('The case was changed since')")
    other.keyboard.press("Control+Enter")
    other.wait_for_selector("#status:has-text('Saved: pointer: corrected')")
    assert (server.last() & ~first).any() and (first & ~server.last()).any()


def test_a_stroke_in_a_large_picture_keeps_up_with_the_screen(edit: Callable) -> None:
    page = edit("fingers")
    spent = page.evaluate(
        """async () => {
          const wide = 1920, high = 1080, frame = () => new Promise(requestAnimationFrame), spent = [];
          editor.close();
          window.editor = new SynDiff.Editor(document.querySelector('main'),
            {picture: 'data:,', width: wide, height: high, key: 'large'});
          await editor.ready;
          editor.mask.polygon([{x: 300, y: 100}, {x: 1500, y: 200}, {x: 900, y: 1000}], 1);
          const draw = editor.layer.draw;
          let drawn = 0;
          editor.layer.draw = function (box) {
            const began = performance.now();
            draw.call(this, box);
            drawn = performance.now() - began;
          };
          editor.resize(60);
          editor.begin({x: 200, y: 200}, false);
          for (let i = 0; i < 30; i += 1) {
            const began = performance.now();
            editor.place({x: 200 + 40 * i, y: 200 + 20 * i}, false);
            editor.extend({x: 200 + 40 * i, y: 200 + 20 * i});
            const moved = performance.now() - began;
            await frame();
            spent.push(moved + drawn);
          }
          editor.end();
          return spent;
        }"""
    )
    assert np.median(spent) < 16  # ms, a frame of the screen
    assert page.evaluate("editor.mask.done.reduce((sum, each) => sum + each.runs.byteLength, 0)") < 2**16
