"""The page: one file, nothing from outside, nothing from the data that could run, everything said."""

import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from syndiff.data.dataset import Dataset
from syndiff.errors import SyndiffError
from syndiff.report.content import read_content
from syndiff.report.page import build_report
from syndiff.report.words import main_table

Run = tuple[Path, Dataset]
MakeRun = Callable[..., Run]
CHROMIUM = shutil.which("chromium")


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


def test_nothing_comes_from_outside(page: str) -> None:
    assert "http:" not in page
    assert "https:" not in page
    elements = Elements(page)
    assert not {"script", "iframe", "object", "embed"} & {tag for tag, _ in elements.found}
    addresses = [a[key] or "" for _, a in elements.found for key in ("href", "src", "xlink:href") if key in a]
    assert addresses
    assert all(address.startswith(("#", "data:")) for address in addresses)
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
    assert len(charts) == 5
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
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_browser_has_nothing_to_complain_about(shared_run: Run, tmp_path: Path) -> None:
    path = build_report(*shared_run)
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    done = subprocess.run(
        [
            str(CHROMIUM),
            *flags.split(),
            "--disable-component-update",
            "--disable-sync",
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            path.resolve().as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    assert re.search(r"How well does it work\?", done.stdout)
