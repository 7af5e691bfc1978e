"""The studies of a run's folder in its report."""

import shutil
from pathlib import Path

import pytest

from syndiff.data.dataset import Dataset
from syndiff.errors import SyndiffError
from syndiff.report.content import Content
from syndiff.report.page import render
from syndiff.report.studies import read_studies


@pytest.fixture
def run(tmp_path: Path) -> Path:
    ended, going = tmp_path / "studies" / "low-data", tmp_path / "studies" / "ratio"
    (ended / "cells").mkdir(parents=True)
    (going / "cells").mkdir(parents=True)
    (ended / "low_data_val.md").write_text("| arm | Dice |\n|---|---|\n| real | 0.8 [0.7, 0.9] |\n\nNo difference.\n")
    (ended / "low_data_val.svg").write_text("<svg/>")
    (ended / "low_data_val.json").write_text("{}")
    (ended / "cells" / "a.md").write_text("of a cell")
    (tmp_path / "studies" / "notes.txt").write_text("mine")
    return tmp_path


def test_tables_words_figures_and_files_are_found(run: Path) -> None:
    ended, going = read_studies(run)
    assert (ended.name, going.name) == ("low-data", "ratio")
    assert "<td>0.8 <small>[0.7, 0.9]</small></td>" in ended.texts[0] and "No difference." in ended.texts[0]
    assert list(ended.figures) == ["low_data_val"] and ended.figures["low_data_val"].startswith("data:image/svg+xml")
    assert ended.files == tuple(f"studies/low-data/low_data_val.{end}" for end in ("md", "svg", "json"))
    assert going.texts == () and going.figures == {} and going.files == ()


def test_the_page_shows_them(run: Path, content: Content, drawn: dict[str, str]) -> None:
    page = render(content, drawn, {}, read_studies(run))
    assert "<h3>low-data</h3>" in page and "No difference." in page
    assert "No table yet" in page.split("<h3>ratio</h3>")[1]
    assert 'href="studies/low-data/low_data_val.json"' in page
    assert 'id="studies"' not in render(content, drawn, {})


def test_a_run_without_studies_has_none(shared_run: tuple[Path, Dataset]) -> None:
    assert read_studies(shared_run[0]) == []


def test_a_damaged_text_is_named(run: Path) -> None:
    (run / "studies" / "low-data" / "low_data_val.md").write_bytes(b"\xff\xfe")
    with pytest.raises(SyndiffError, match=r"low_data_val\.md.*Give the study's command again"):
        read_studies(run)
    shutil.rmtree(run / "studies")
    assert read_studies(run) == []
