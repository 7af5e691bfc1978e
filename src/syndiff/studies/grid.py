"""A study as a grid: cells that run anywhere and keep what they found, and what is concluded from them.

A cell has a folder named by its choices. Its record (`<tag>.json` there, written last and whole) says everything that
its result depends on: a cell whose record says the same is finished, any other is done, or done anew.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from syndiff.documents import check_object, read_json
from syndiff.files import sha256, write_record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from syndiff.data.splits import Split
    from syndiff.evaluation.evaluate import CaseRow

FORMAT = 1
"""Of a record. A change of what cells compute raises it, so that no earlier cell passes for a present one."""


@dataclass(frozen=True)
class Outcome:
    """What a cell found: numbers and words (`scores`, as JSON has them), and tables of cases (`tables`, per_case.csv).

    `tables` are paths by name; a cell with a single table calls it "".
    """

    scores: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, Path] = field(default_factory=dict)

    def rows(self, name: str = "") -> "list[CaseRow]":
        """The cases of a table."""
        from syndiff.evaluation.evaluate import read_per_case

        return read_per_case(self.tables[name])


class Work(Protocol):
    """What a cell does, in any process: picklable, and the same whenever and wherever it is done."""

    def decides(self) -> Mapping[str, Any]:
        """Everything that the result depends on, as JSON has it."""

    def do(self, folder: Path, *, progress: bool) -> Outcome:
        """Do it, or go on with it, in `folder`, which nothing else writes to."""


@dataclass(frozen=True)
class Cell:
    """One piece of a study: `level` is its row of the table, `repeat` tells it from the others of that row.

    folder: below the study's. tag: the record's name, of what is asked in that folder, such as the side that is scored.
    kind: cells of one kind take about as long. alone: it measures time, so nothing else runs beside it.
    """

    level: str
    repeat: str
    folder: str
    work: Work
    tag: str = "cell"
    kind: str = ""
    alone: bool = False

    def _record(self, study: Path) -> Path:
        return study / self.folder / f"{self.tag}.json"

    def finished(self, study: Path) -> Outcome | None:
        """What the cell found, where it is finished in the folder of a study and nothing has changed since."""
        found = self._read(study)
        if found is None:
            return None
        tables = {name: study / self.folder / table["file"] for name, table in found["tables"].items()}
        whole = all(path.is_file() and sha256(path) == found["tables"][name]["sha256"] for name, path in tables.items())
        return Outcome(found["scores"], tables) if whole else None

    def keep(self, study: Path, outcome: Outcome, *, seconds: float, workers: int, whole: bool) -> None:
        """Write the record: from now on the cell is finished.

        `seconds` of work with `workers` beside each other; `whole` where all of it was done at once.
        """
        folder = study / self.folder
        tables = {
            name: {"file": os.path.relpath(path, folder), "sha256": sha256(path)}
            for name, path in outcome.tables.items()
        }
        time = {"seconds": round(seconds, 3), "workers": workers, "whole": whole}
        content = {"format": FORMAT, "decided_by": self.work.decides(), "scores": outcome.scores, "tables": tables}
        write_record(self._record(study), {**content, "time": time})

    def seconds(self, study: Path) -> float | None:
        """Seconds of this machine that the finished cell took, its part where others ran beside it; None: unknown."""
        found = self._read(study)
        if found is None or not found["time"]["whole"]:
            return None
        return float(found["time"]["seconds"]) / int(found["time"]["workers"])

    def _read(self, study: Path) -> dict[str, Any] | None:
        path = self._record(study)
        if not path.is_file():
            return None
        kinds = {"format": int, "decided_by": dict, "scores": dict, "tables": dict, "time": dict}
        found = check_object(path, read_json(path), kinds)
        same = found["format"] == FORMAT and found["decided_by"] == json.loads(json.dumps(self.work.decides()))
        return found if same else None


@dataclass(frozen=True)
class Grid:
    """The cells of a study in their order: the reference level first, the repeats of each level in one order.

    config: what made the folder; it refuses others, but for the names that may grow. None: its cells tell all.
    splits: written into the folder before the first cell, by file name.
    shared: names of what several cells need and whoever comes first makes, for `--dry-run`.
    rate: seconds of this machine that a cell of each kind takes, by a short calibration, where there can be one.
    """

    cells: tuple[Cell, ...]
    config: Mapping[str, Any] | None = None
    grows: tuple[str, ...] = ()
    splits: "Mapping[str, Split]" = field(default_factory=dict)
    shared: tuple[str, ...] = ()
    rate: Callable[[], Mapping[str, float]] | None = None

    @property
    def levels(self) -> list[str]:
        """Names of the levels, in their order."""
        return list(dict.fromkeys(cell.level for cell in self.cells))

    @property
    def repeats(self) -> list[str]:
        """Names of the repeats, in their order."""
        return list(dict.fromkeys(cell.repeat for cell in self.cells))


@dataclass(frozen=True)
class Findings:
    """What the cells of a study found, in their order."""

    done: Sequence[tuple[Cell, Outcome]]

    def __iter__(self) -> Iterator[tuple[Cell, Outcome]]:
        return iter(self.done)

    def of(self, *, level: str | None = None, repeat: str | None = None, kind: str | None = None) -> list[Outcome]:
        """The outcomes of a level, of a repeat, of a kind."""
        wanted = {"level": level, "repeat": repeat, "kind": kind}
        return [
            outcome
            for cell, outcome in self.done
            if all(value is None or getattr(cell, name) == value for name, value in wanted.items())
        ]

    def levels(self, kind: str | None = None) -> list[str]:
        """Names of the levels that are there, in their order."""
        return list(dict.fromkeys(cell.level for cell, _ in self.done if kind in (None, cell.kind)))

    def repeats(self) -> list[str]:
        """Names of the repeats that are there, in their order."""
        return list(dict.fromkeys(cell.repeat for cell, _ in self.done))

    def tables(self, name: str = "") -> "dict[str, list[list[CaseRow]]]":
        """The rows of every level in each of its repeats: what `tabulate` takes."""
        found: dict[str, list[list[CaseRow]]] = {}
        for cell, outcome in self.done:
            found.setdefault(cell.level, []).append(outcome.rows(name))
        return found


@dataclass(frozen=True)
class Conclusion:
    """What a study ends in: its table in Markdown, a paragraph in plain words, the figures as JSON, and a picture."""

    table: str
    words: str
    content: Mapping[str, Any]
    figure: "Figure | None" = None
