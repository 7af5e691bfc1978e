"""The engine of studies, on a study that only counts: cells are kept, killed, shared, estimated and left out."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndiff.documents import read_json
from syndiff.errors import SyndiffError
from syndiff.studies.budget import Estimate, pick
from syndiff.studies.engine import run_study
from syndiff.studies.grid import Cell, Conclusion, Findings, Grid, Outcome
from syndiff.studies.shared import once
from syndiff.studies.study import Study, known_studies


@dataclass(frozen=True)
class Base:
    """What every cell of the toy needs: a number in a file."""

    study: Path
    number: int
    name: str = "base"

    def decides(self) -> Mapping[str, Any]:
        return {"number": self.number}

    def make(self, folder: Path, *, progress: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "made.txt").open("a") as file:
            file.write(f"{os.getpid()}\n")
        (folder / "number.txt").write_text(str(self.number))


@dataclass(frozen=True)
class Adding:
    base: Base
    add: int

    def decides(self) -> Mapping[str, Any]:
        return {"base": self.base.decides(), "add": self.add}

    def do(self, folder: Path, *, progress: bool) -> Outcome:
        if self.add < 0:
            raise SyndiffError("nothing can be taken away")
        number = int((once(self.base, progress=progress) / "number.txt").read_text())
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sum.txt").write_text(str(number + self.add))
        return Outcome({"sum": number + self.add}, {"sum": folder / "sum.txt"})


@dataclass(kw_only=True)
class Toy(Study):
    number: int = 5
    adds: tuple[int, ...] = (0, 1, 2)
    repeats: int = 2
    config: dict[str, Any] | None = field(default=None)

    @property
    def stem(self) -> str:
        return "toy"

    def grid(self) -> Grid:
        base = Base(self.out, self.number)
        cells = [
            Cell(f"add {add}", str(repeat), f"cells/{add}/{repeat}", Adding(base, add))
            for repeat in range(self.repeats)
            for add in self.adds
        ]
        return Grid(tuple(cells), self.config, shared=("a base",))

    def conclude(self, found: Findings) -> Conclusion:
        sums = {level: [each.scores["sum"] for each in found.of(level=level)] for level in found.levels()}
        return Conclusion(f"| {sums} |\n", f"{len(sums)} levels.", {"sums": sums})


def records(out: Path) -> dict[str, int]:
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in out.rglob("cell.json")}


def test_what_is_finished_is_kept_and_only_what_changed_is_done_again(tmp_path: Path) -> None:
    study = Toy(out=tmp_path / "out")
    text = run_study(study)
    assert text == "| {'add 0': [5, 5], 'add 1': [6, 6], 'add 2': [7, 7]} |\n\n3 levels.\n"
    assert (tmp_path / "out/toy.md").read_text() == text
    told = json.loads((tmp_path / "out/toy.json").read_text())
    assert told == {"sums": {"add 0": [5, 5], "add 1": [6, 6], "add 2": [7, 7]}, "words": "3 levels.", "left_out": ""}
    kept = records(tmp_path / "out")
    assert len(kept) == 6 and run_study(study) == text and records(tmp_path / "out") == kept
    assert (tmp_path / "out/base/made.txt").read_text().count("\n") == 1
    wider = replace(study, adds=(0, 1, 2, 3))
    assert "'add 3': [8, 8]" in run_study(wider) and records(tmp_path / "out").items() > kept.items()
    (tmp_path / "out/cells/1/0/sum.txt").write_text("99")
    assert run_study(study) == text
    changed = {name for name, when in records(tmp_path / "out").items() if kept.get(name, when) != when}
    assert changed == {"cells/1/0/cell.json"}
    record = tmp_path / "out/cells/2/0/cell.json"
    record.write_text(record.read_text()[:40])
    with pytest.raises(SyndiffError, match="not valid JSON"):
        run_study(study)


def test_a_setting_of_the_whole_study_may_not_change(tmp_path: Path) -> None:
    study = Toy(out=tmp_path / "out", config={"study": {"size": 1}})
    run_study(study)
    with pytest.raises(SyndiffError, match="made with other settings"):
        run_study(replace(study, config={"study": {"size": 2}}))


def go(out: Path) -> None:
    run_study(Toy(out=out))


@pytest.mark.parametrize("end", ["cells/1/0/cell.json", "made/base.json", "toy.json"])
def test_a_killed_study_goes_on_and_ends_in_the_same_table(forked: ModuleType, tmp_path: Path, end: str) -> None:
    forked.kill_before("os.rename", end, go, tmp_path / "out")
    assert not (tmp_path / "out" / end).exists()
    begun = records(tmp_path / "out")
    whole = run_study(Toy(out=tmp_path / "whole"))
    assert run_study(Toy(out=tmp_path / "out")) == whole
    assert records(tmp_path / "out").items() >= begun.items() and len(records(tmp_path / "out")) == 6


def test_workers_share_what_is_made_once_and_an_error_ends_all(forked: ModuleType, tmp_path: Path) -> None:
    alone = run_study(Toy(out=tmp_path / "alone"))
    assert run_study(Toy(out=tmp_path / "beside", workers=3)) == alone
    assert (tmp_path / "beside/base/made.txt").read_text().count("\n") == 1
    with pytest.raises(SyndiffError, match="nothing can be taken away"):
        run_study(Toy(out=tmp_path / "wrong", adds=(0, -1, 1), workers=2))
    assert (tmp_path / "wrong/cells/0/0/cell.json").is_file()


def test_a_dry_run_tells_the_cells_and_the_time_and_writes_nothing(tmp_path: Path) -> None:
    study = Toy(out=tmp_path / "out", repeats=1, dry_run=True)
    plan = run_study(study)
    assert "3 cells, 0 of them finished" in plan and "not known before the first cell is finished" in plan
    assert "made once" in plan and "a base" in plan and not study.out.exists()
    run_study(replace(study, dry_run=False))
    before = {path: path.stat().st_mtime_ns for path in study.out.rglob("*")}
    plan = run_study(replace(study, repeats=2))
    assert "6 cells, 3 of them finished" in plan and "add 1: 2 cells (0, 1); 1 to do, about 1 s" in plan
    assert "measured on 3 finished cells" in plan
    assert before == {path: path.stat().st_mtime_ns for path in study.out.rglob("*")}


def test_minutes_are_kept_and_what_was_left_out_is_said(tmp_path: Path) -> None:
    study = Toy(out=tmp_path / "out", minutes=100)
    assert "Left out" not in run_study(study)
    for record in (tmp_path / "out").rglob("cell.json"):
        content = read_json(record)
        content["time"] = {"seconds": 60.0, "workers": 1, "whole": True}
        record.write_text(json.dumps(content))
    wider = replace(study, adds=(0, 1, 2, 3, 4), repeats=3, minutes=6.5)  # nine of 15 are left to do, a minute each
    text = run_study(wider)
    assert text.endswith("Left out for want of time (--minutes 6.5): the level add 4.\n") and "add 3" in text
    assert json.loads((tmp_path / "out/toy.json").read_text())["left_out"] in text
    with pytest.raises(SyndiffError, match=r"add 0 and add 7, once, take about 1.0 minutes .*; give at least 1.2"):
        run_study(replace(study, adds=(0, 7, 8), minutes=0.5))
    for wrong in (0, -1):
        with pytest.raises(SyndiffError, match="expected more than 0"):
            run_study(replace(study, minutes=wrong))
    with pytest.raises(SyndiffError, match="--workers is 0"):
        run_study(replace(study, workers=0))


@given(
    st.integers(1, 5),
    st.integers(1, 4),
    st.lists(st.floats(0, 100), min_size=20, max_size=20),
    st.floats(0.01, 30),
)
def test_the_part_that_is_picked_is_balanced_and_fits(
    levels: int, repeats: int, costs: list[float], minutes: float
) -> None:
    work = Adding(Base(Path("x"), 1), 1)
    cells = tuple(
        Cell(str(level), str(repeat), f"{level}/{repeat}", work) for repeat in range(repeats) for level in range(levels)
    )
    expected = Estimate({(c.folder, c.tag): cost for c, cost in zip(cells, costs, strict=False)}, "for this test")
    try:
        kept, left = pick(Grid(cells), expected, minutes)
    except SyndiffError:
        pair = [cell for cell in cells if cell.level in ("0", "1") and cell.repeat == "0"]
        assert sum(map(expected.of, pair)) > 60 * minutes
        return
    assert sum(map(expected.of, kept.cells)) <= 60 * minutes * (1 + 1e-9)
    assert len(kept.cells) == len(kept.levels) * len(kept.repeats) and bool(left) == (len(kept.cells) < len(cells))
    assert kept.levels == [str(n) for n in range(len(kept.levels))]
    assert kept.repeats == [str(n) for n in range(len(kept.repeats))]


def test_every_study_says_what_it_is_and_which_settings_it_uses() -> None:
    from syndiff.config.settings import names_of, sections

    every = set(names_of(*sections()))
    for name, study in known_studies().items():
        assert study.__doc__ and study.name == name
        for situation, use in study.uses().items():
            assert situation.startswith(f"study {name}") and set(use.names()) <= every
