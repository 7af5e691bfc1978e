"""`syndiff study steps`."""

from dataclasses import dataclass
from pathlib import Path

from syndiff.errors import SyndiffError
from syndiff.studies.grid import Cell, Conclusion, Findings, Grid
from syndiff.studies.study import Scored


@dataclass(kw_only=True)
class Steps(Scored):
    """What more steps than one are worth: the same weights with 1 to 50, by difficulty of the case, with the time."""

    name = "steps"

    runs: tuple[Path, ...]
    """Run folders of `syndiff train`, or arms of `syndiff run`, of one split."""
    steps: tuple[int, ...] = (2, 5, 10, 25, 50)
    """Numbers of DDIM steps, beside one."""

    @property
    def stem(self) -> str:
        return self.name

    def grid(self) -> Grid:
        if not self.steps or min(self.steps) < 2 or len(set(self.steps)) < len(self.steps):
            raise SyndiffError(
                f"--steps {' '.join(map(str, self.steps))}: expected numbers above 1, each once; one step is always "
                "scored."
            )

        from syndiff.data.inspection import open_checked
        from syndiff.studies.scoring import Scoring, diffusion_settings, runs_of, same_split, scoring_rate
        from syndiff.studies.steps import PARTS, Difficulty, Timing

        dataset = open_checked(self.data, one_class_for="syndiff study steps")
        runs = runs_of(self.runs)
        split = same_split(self.runs, dataset)
        cases = getattr(split, self.side)
        if len(cases) < len(PARTS) - 1:
            raise SyndiffError(
                f"{len(cases)} {self.side} cases are too few to be divided by difficulty; expected 3 or more."
            )
        for run in runs:
            diffusion_settings(run.folder, run.checkpoint)
            for count in self.steps:
                run.check_inference(steps=count)
        cells, scorings = [], []
        for count in (1, *self.steps):
            for run in runs:
                work = Scoring(run, self.data, split, self.side, self.seed, steps=count)
                scorings.append((f"{count} steps", work))
                where = f"cells/{run.short}/{count}-steps"
                cells.append(Cell(str(count), run.short, where, work, tag=self.side, kind=f"{count} steps"))
        for run in runs:
            timed = Timing(run, self.data, split, self.side, (1, *self.steps))
            cells.append(Cell("1", run.short, f"cells/{run.short}", timed, tag="time", kind="time", alone=True))
            judged = Difficulty(run, self.data, split, self.side, self.seed + 1)
            tag = f"difficulty-{self.side}"
            cells.append(Cell("1", run.short, f"cells/{run.short}", judged, tag=tag, kind="difficulty"))
        return Grid(tuple(cells), rate=lambda: scoring_rate(scorings))

    def conclude(self, found: Findings) -> Conclusion:
        from syndiff.studies.steps import conclude

        return conclude(found, side=self.side, seed=self.seed)
