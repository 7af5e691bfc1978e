"""All test cases in one file: what it holds, and that one can sort, filter and look at them in a browser."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from syndiff.data.dataset import Dataset
from syndiff.errors import SyndiffError
from syndiff.report.content import Content, read_content
from syndiff.report.explorer import picture_side, write_explorer

MakeRun = Callable[..., tuple[Path, Dataset]]


@pytest.fixture(scope="module")
def path(content: Content, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("explorer") / "cases.html"
    write_explorer(made, content)
    return made


def data(page: str) -> list[dict[str, Any]]:
    return json.loads(re.search(r'id="cases">(.*?)</script>', page, re.DOTALL)[1])


def test_every_case_has_the_scores_of_every_arm(path: Path, content: Content) -> None:
    cases = {case["id"]: case for case in data(path.read_text(encoding="utf-8"))}
    assert set(cases) == set(content.split.test)
    for number, arm in enumerate(content.arms.values()):
        for row in arm.rows:
            assert cases[row.case]["arms"][number]["dice"] == row.metrics.dice
            assert cases[row.case]["size"] == pytest.approx(row.metrics.annotated / (32 * 40))


def test_the_page_asks_nobody_for_anything(path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    assert not re.search(r'(?:src|href)="(?!data:|\.\./report\.html)', page) and "fetch(" not in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")


def test_names_from_the_data_stay_text(make_run: MakeRun, tmp_path: Path) -> None:
    run, dataset = make_run(arms=("real",), prefix="<script>alert('1')&")
    write_explorer(tmp_path / "cases.html", read_content(run, dataset))
    page = (tmp_path / "cases.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert data(page)[0]["id"].startswith("<script>alert('1')&")


def test_a_missing_prediction_is_named_and_nothing_is_written(content: Content, tmp_path: Path) -> None:
    lost = replace(content, arms={"real": replace(content.arms["real"], masks=tmp_path / "gone")})
    with pytest.raises(SyndiffError, match=r"gone/case-\d+\.png does not exist. Make it with `syndiff evaluate`"):
        write_explorer(tmp_path / "cases.html", lost)
    assert list(tmp_path.iterdir()) == []


def test_pictures_get_smaller_where_there_are_many() -> None:
    sides = [picture_side(cases) for cases in (1, 60, 500, 5000, 1_000_000)]
    assert sides[0] == sides[1] == 384 and sides[-1] == 96 and sides == sorted(sides, reverse=True)
    assert 500 * sides[2] ** 2 * 0.15 <= 10_000_000


@pytest.mark.slow
def test_sort_filter_and_look_with_the_keyboard(path: Path, content: Content, show: Callable[..., Any]) -> None:
    page = show(path)
    names = "#list button"
    by_dice = sorted(content.main.rows, key=lambda row: (row.metrics.dice, row.case))
    assert page.locator(names).all_inner_texts() == [row.case for row in by_dice]
    page.select_option("#arm", label="control")
    page.select_option("#sort", label="lesion size, largest first")
    by_size = sorted(content.main.rows, key=lambda row: (-row.metrics.annotated, row.case))
    assert page.locator(names).all_inner_texts() == [row.case for row in by_size]

    group = by_dice[0].group
    page.select_option("#group", group)
    assert page.inner_text("#count") == "3 of 6 cases" and page.locator(names).count() == 3
    page.fill("#dice-to", "0.01")
    assert "none fits" in page.inner_text("#count")
    page.click("button[type=reset]")
    page.wait_for_function("document.querySelectorAll('#list li').length === 6")

    page.select_option("#layer", "difference")
    assert page.locator("#list .both").count() == 18
    assert "Dice" in page.get_attribute("#list li svg >> nth=1", "aria-label")
    page.focus(names)
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    assert page.locator("dialog svg.picture").count() == 8
    for place in (2, 3, 4, 5, 6):
        page.keyboard.press("ArrowRight")
        assert page.inner_text("#title") == f"{by_dice[place - 1].case} {place} of 6"
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#title").endswith("5 of 6"), "the button under the focus was disabled at the end"
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="hidden")
    assert page.evaluate("document.activeElement.closest('#list') !== null")
    unnamed = "all => all.filter(e => !e.labels.length && !e.ariaLabel).length"
    assert page.eval_on_selector_all("form :is(input, select)", unnamed) == 0

    small = show(path, width=400, part=f"#case={by_dice[2].case}")
    assert small.inner_text("#title") == f"{by_dice[2].case} 3 of 6"
    assert small.evaluate("document.documentElement.scrollWidth") == 400
