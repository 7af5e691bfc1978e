"""The charts as files: SVG that any program can open, and the numbers behind each."""

import csv
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from syndiff.report.charts import FILES, SCORES, write_charts
from syndiff.report.content import Content


@pytest.fixture(scope="module")
def folder(content: Content, drawn: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("figures")
    write_charts(made, content, drawn)
    return made


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_chart_is_a_picture_of_its_own_in_real_colours(folder: Path) -> None:
    for stem in FILES.values():
        text = (folder / f"{stem}.svg").read_text(encoding="utf-8")
        assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
        assert "var(" not in text and re.search(r"#[0-9a-f]{6}", text)


def test_the_numbers_are_those_of_the_tables(folder: Path, content: Content) -> None:
    scores = rows(folder / SCORES)
    found = {(row["arm"], row["minus"], row["score"]): row["mean"] for row in scores}
    for arm in content.arms.values():
        assert float(found[arm.name, "", "dice"]) == arm.scores["dice"].mean
        assert int(found[arm.name, "", "missed_lesions"]) == arm.counts["missed_lesions"]
    for pair in content.comparisons:
        assert float(found[pair.first, pair.second, "hd95"]) == pair.differences["hd95"].mean
    differences = rows(folder / "paired-differences.csv")
    assert [(row["score"], row["mean"]) for row in differences] == [
        (row["score"], row["mean"]) for row in scores if row["minus"] and row["score"] != "hd95"
    ]


def test_each_mark_of_a_chart_has_its_line(folder: Path, content: Content) -> None:
    cases = [row for row in rows(folder / "dice-by-group.csv") if row["mark"] == "case"]
    assert [(row["arm"], row["case"], float(row["dice"])) for row in cases] == [
        (arm.name, row.case, row.metrics.dice) for arm in content.arms.values() for row in arm.rows
    ]
    steps = [(row["arm"], int(row["step"]), float(row["val_dice"])) for row in rows(folder / "validation-dice.csv")]
    assert steps == [(arm.name, *point) for arm in content.arms.values() for point in arm.training.validation]
    stages = {(row["arm"], row["stage"]) for row in rows(folder / "time-per-image.csv")}
    assert {("real", "denoise"), ("real", "total"), ("control", "network")} <= stages
    assert len(rows(folder / "training-loss.csv")) == sum(len(arm.training.loss) for arm in content.arms.values())
