"""`syndiff study uncertainty`."""

from dataclasses import dataclass
from pathlib import Path

from syndiff.errors import SyndiffError
from syndiff.studies.grid import Cell, Conclusion, Findings, Grid
from syndiff.studies.study import Scored


@dataclass(kw_only=True)
class Uncertainty(Scored):
    """Whether doubt is worth something: several answers a case, their calibration, and whether doubt finds errors."""

    name = "uncertainty"
    figure = "reliability.svg"

    runs: tuple[Path, ...]
    """Run folders of `syndiff train`, or arms of `syndiff run`, of one split; controls too."""
    members: int = 8
    """Answers a case: 2, 4 or 8."""
    wrong_below: float = 0.7
    """A case with a lower Dice counts as wrong."""

    @property
    def stem(self) -> str:
        return self.name

    def grid(self) -> Grid:
        if self.members not in (2, 4, 8):
            raise SyndiffError(
                f"--members is {self.members}; expected 2, 4 or 8, which flips and quarter turns can make."
            )
        if not 0 < self.wrong_below <= 1:
            raise SyndiffError(f"--wrong-below is {self.wrong_below}; expected a Dice above 0 and up to 1.")

        from syndiff.data.inspection import open_checked
        from syndiff.models.prediction import load_segmenter
        from syndiff.studies.scoring import runs_of, same_split
        from syndiff.studies.uncertainty import WAYS, Answers

        dataset = open_checked(self.data, one_class_for="syndiff study uncertainty")
        runs = runs_of(self.runs)
        split = same_split(self.runs, dataset)
        cells = []
        for run in runs:
            model, _ = load_segmenter(run.checkpoint)
            for way in WAYS[model.draws]:
                work = Answers(run, self.data, split, self.side, self.seed, self.members, way)
                name = way.replace(", ", "-").replace(" ", "-")
                where = f"cells/{run.short}/{self.members}-{name}"
                cells.append(Cell(f"{run.short}, {self.members} {way}", "0", where, work, tag=self.side))
        return Grid(tuple(cells))

    def conclude(self, found: Findings) -> Conclusion:
        from syndiff.studies.uncertainty import conclude

        about = {"side": self.side, "seed": self.seed, "members": self.members}
        return conclude(found, wrong_below=self.wrong_below, about=about)
