"""Tasks for the workers of a cluster, which import this file themselves."""

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syndiff.errors import SyndiffError
from syndiff.studies.grid import Cell, Conclusion, Findings, Grid, Outcome
from syndiff.studies.study import Study


@dataclass(frozen=True)
class Square:
    """A cell that squares a number; it dies where it is told to, once."""

    number: int
    dies: str = ""

    def decides(self) -> Mapping[str, Any]:
        return {"number": self.number}

    def do(self, folder: Path, *, progress: bool) -> Outcome:
        folder.mkdir(parents=True, exist_ok=True)
        if self.dies and not (folder / "died").exists():
            (folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.number < 0:
            raise SyndiffError("a root of nothing")
        return Outcome({"square": self.number**2, "folder": str(Path.cwd()), "threads": os.environ["OMP_NUM_THREADS"]})


@dataclass(kw_only=True)
class Squares(Study):
    numbers: tuple[int, ...] = (1, 2, 3, 4)
    dying: int = 0

    @property
    def stem(self) -> str:
        return "squares"

    def grid(self) -> Grid:
        cells = [
            Cell(str(each), "0", f"cells/{each}", Square(each, "once" if each == self.dying else ""), alone=each == 4)
            for each in self.numbers
        ]
        return Grid(tuple(cells))

    def conclude(self, found: Findings) -> Conclusion:
        return Conclusion(str([outcome.scores["square"] for _, outcome in found]), "Squares.", {})


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def divide(number: int) -> float:
    return 1 / number


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds
