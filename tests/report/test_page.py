"""The page: one file, nothing from outside, nothing from the data that could run, everything said."""

import itertools
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from syndiff.data.dataset import Dataset
from syndiff.errors import SyndiffError
from syndiff.report.build import build_report
from syndiff.report.content import read_content
from syndiff.report.words import main_table

Run = tuple[Path, Dataset]
MakeRun = Callable[..., Run]


class Elements(HTMLParser):
    """Collects (tag, attributes) of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page(shared_run: Run) -> str:
    return build_report(*shared_run).read_text(encoding="utf-8")


def test_nothing_comes_from_outside(page: str, shared_run: Run) -> None:
    assert "http:" not in page
    assert "https:" not in page
    elements = Elements(page)
    assert not {"script", "iframe", "object", "embed"} & {tag for tag, _ in elements.found}
    addresses = [a[key] or "" for _, a in elements.found for key in ("href", "src", "xlink:href") if key in a]
    assert addresses
    beside = {address for address in addresses if not address.startswith(("#", "data:"))}
    assert all(address.startswith("report/") for address in beside), "only links to files that come with the page"
    assert all((shared_run[0] / unquote(address.split("#")[0])).is_file() for address in beside)
    assert not any(a.get("src", "data:").startswith("report") for _, a in elements.found), "shown without them"
    assert "url(" not in page.split("<style>")[1].split("</style>")[0]


def test_every_reference_inside_the_page_has_one_target(page: str) -> None:
    elements = Elements(page).found
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a[key] for _, a in elements for key in ("href", "xlink:href") if (a.get(key) or "").startswith("#")}
    assert {target[1:] for target in targets if target} <= set(ids)


def test_the_main_table_is_in_the_page(page: str, shared_run: Run) -> None:
    text = Elements(page).text
    for row in main_table(read_content(*shared_run)):
        assert row.name in text
        assert all(cell.value in text and cell.detail in text for cell in row.cells)


def test_settings_environment_command_and_rejections_are_shown(page: str) -> None:
    text = Elements(page).text
    for said in ("model.image_size", "libraries.torch", "syndiff run --data data --out run", "painted black"):
        assert said in text
    assert "4 accepted, 2 rejected" in text
    assert "a bright <ellipse> number 0" in text


def test_every_picture_has_words(page: str) -> None:
    elements = Elements(page).found
    pictures = [a for tag, a in elements if tag == "svg" and a.get("class") == "picture"]
    charts = [a for _, a in elements if a.get("class") == "chart"]
    assert len(charts) == 6
    assert len(pictures) > 8
    assert all(a.get("role") == "img" and a.get("aria-label") for a in [*pictures, *charts])


def test_the_same_run_gives_the_same_bytes(page: str, shared_run: Run) -> None:
    assert build_report(*shared_run).read_text(encoding="utf-8") == page


def test_names_from_the_data_cannot_become_markup(make_run: MakeRun) -> None:
    page = build_report(*make_run(arms=("real",), prefix="<script>alert('1')&")).read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(" in page
    assert "<script>alert('1')&" in Elements(page).text


def test_a_leaky_split_is_told_before_the_verdict(make_run: MakeRun, page: str) -> None:
    assert "Leaky split." not in page
    leaky = build_report(*make_run(arms=("real",), leaky=True)).read_text(encoding="utf-8")
    assert 0 < leaky.index("Leaky split.") < leaky.index("How well does it work?")
    assert "random-488" in leaky


@pytest.mark.parametrize("arms", [("control",), ("control", "real")])
def test_some_arms_and_no_groups_still_make_a_report(make_run: MakeRun, arms: tuple[str, ...]) -> None:
    text = Elements(build_report(*make_run(arms=arms, groups=False)).read_text(encoding="utf-8")).text
    assert "Table 1." in text
    assert ("Table 2." in text) == (len(arms) == 2)
    assert "Synthetic cases" not in text
    assert "not known" in text


def test_a_missing_prediction_is_named_and_nothing_is_written(own_run: Run) -> None:
    run, dataset = own_run
    (run / "report.html").unlink(missing_ok=True)
    for mask in (run / "real" / "eval" / "tiny" / "masks").iterdir():
        mask.unlink()
    with pytest.raises(SyndiffError, match=r"masks/case-\d+\.png does not exist. Make it with `syndiff evaluate`"):
        build_report(run, dataset)
    assert not (run / "report.html").exists()


@pytest.mark.slow
def test_a_browser_has_nothing_to_complain_about(page: str, shared_run: Run, show: Callable[..., Any]) -> None:
    path = shared_run[0] / "report.html"
    assert path.read_text(encoding="utf-8") == page
    for width in (1280, 400):
        shown = show(path, width=width)
        assert "How well does it work?" in shown.inner_text("body")
        assert shown.evaluate("document.documentElement.scrollWidth") == width
    levels = [
        int(level[1]) for level in shown.eval_on_selector_all("h1,h2,h3,h4,h5,h6", "all => all.map(h => h.tagName)")
    ]
    assert levels[0] == 1 and all(after <= before + 1 for before, after in itertools.pairwise(levels))
