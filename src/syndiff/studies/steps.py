"""What more than one step is worth, and for which cases: difficulty, time, and what the counts come to."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from syndiff.data.dataset import Dataset
from syndiff.data.splits import Split
from syndiff.evaluation.evaluate import CaseRow
from syndiff.evaluation.statistics import paired_difference, score_interval
from syndiff.evaluation.timing import time_predictors
from syndiff.models.tta import disagreement
from syndiff.studies.choices import Side
from syndiff.studies.figures import draw_lines
from syndiff.studies.grid import Conclusion, Findings, Outcome
from syndiff.studies.scoring import Run
from syndiff.studies.words import adjust, interval_text, sample_text, verdicts

PARTS = ("all", "easy third", "middle third", "hard third")


@dataclass(frozen=True)
class Difficulty:
    """A cell that sorts the cases of a side by what a run doubts, before any expert is asked.

    That is how much the answers of one step from seven turned and flipped views disagree (1 - mean pairwise Dice). They
    have noises of their own and leave the scored view out, so that chance in what is scored does not sort the cases.
    """

    run: Run
    data: Path
    split: Split
    side: Side
    seed: int

    def decides(self) -> dict[str, Any]:
        """Weights, cases and seed."""
        return {"weights": self.run.weights, "split": self.split.hash, "side": self.side, "seed": self.seed}

    def do(self, folder: Path, *, progress: bool) -> Outcome:
        """The doubt of every case, in the order of the side."""
        dataset, judge = Dataset.open(self.data), self.run.predictor(seed=self.seed)
        cases = tqdm(
            getattr(self.split, self.side), desc=f"{self.run.short}, difficulty", unit="case", disable=not progress
        )
        images = ((case, dataset.load(dataset[case])[0]) for case in cases)
        doubts = [disagreement(judge.members(image, case_id=case, draws=1, tta=8)[1:]) for case, image in images]
        return Outcome({"doubts": doubts})


@dataclass(frozen=True)
class Timing:
    """A cell that times one image with each number of steps, in turns."""

    run: Run
    data: Path
    split: Split
    side: Side
    counts: tuple[int, ...]

    def decides(self) -> dict[str, Any]:
        """Weights, image and numbers of steps; the machine is not asked: what was measured counts."""
        return {"weights": self.run.weights, "case": getattr(self.split, self.side)[0], "counts": list(self.counts)}

    def do(self, folder: Path, *, progress: bool) -> Outcome:
        """Median milliseconds of an image for each number of steps."""
        dataset = Dataset.open(self.data)
        image, _ = dataset.load(dataset[getattr(self.split, self.side)[0]])
        timed = time_predictors([self.run.predictor(seed=0, steps=count) for count in self.counts], image, repeats=10)
        medians = {
            str(count): found["milliseconds"]["total"]["median"]
            for count, found in zip(self.counts, timed, strict=True)
        }
        return Outcome({"milliseconds": medians})


def conclude(found: Findings, *, side: Side, seed: int) -> Conclusion:
    """Differences to one step over all cases and each third of them by difficulty, and times."""
    content: dict[str, Any] = {}
    words, series, sample = [], {}, {}
    for short in found.repeats():
        scored = {cell.level: outcome for cell, outcome in found if cell.repeat == short and outcome.tables}
        rows = {count: outcome.rows() for count, outcome in scored.items()}
        cells = [(cell, outcome) for cell, outcome in found if cell.repeat == short]
        doubts = next(outcome.scores["doubts"] for _, outcome in cells if "doubts" in outcome.scores)
        times = next(outcome.scores["milliseconds"] for _, outcome in cells if "milliseconds" in outcome.scores)
        thirds = np.array_split(np.argsort(doubts, kind="stable"), len(PARTS) - 1)
        parts = dict(zip(PARTS, (range(len(doubts)), *(third.tolist() for third in thirds)), strict=True))
        content[short] = {
            "weights": next(cell.work.decides()["weights"] for cell, _ in cells),
            "disagreement": {name: float(np.mean([doubts[i] for i in part])) for name, part in parts.items()},
            "steps": {
                count: {
                    "milliseconds": times[count],
                    "parts": {name: _against(rows[count], rows["1"], part) for name, part in parts.items()},
                }
                for count in rows
            },
        }
        steps = content[short]["steps"]
        for part in PARTS:
            adjust([of["parts"][part]["difference"] for count, of in steps.items() if count != "1"])
        against = {f"{n} steps": of["parts"]["all"]["difference"] for n, of in steps.items() if n != "1"}
        sample = steps["1"]["parts"]["all"]["dice"]
        words.append(f"{short}, Dice of all cases. {verdicts(against, 'one step')}")
        series[short] = ([int(count) for count in steps], [of["parts"]["all"]["dice"] for of in steps.values()])
    words.append(sample_text(sample, side))
    counts = sorted({place for places, _ in series.values() for place in places})
    figure = draw_lines(series, xlabel="DDIM steps", ticks=counts, scale="log")
    about = {"side": side, "seed": seed, "cases": len(doubts)}
    return Conclusion(_as_markdown(content), " ".join(words), {**about, "runs": content}, figure)


def _against(rows: Sequence[CaseRow], one_step: Sequence[CaseRow], part: Sequence[int]) -> dict[str, Any]:
    """The mean Dice of some of the cases, and its paired difference to one step."""
    dice, before = ([found[i].metrics.dice for i in part] for found in (rows, one_step))
    groups = [rows[i].group for i in part]
    found = {"dice": vars(score_interval(dice, groups))}
    return found if rows is one_step else {**found, "difference": vars(paired_difference(dice, before, groups))}


def _as_markdown(content: dict[str, Any]) -> str:
    differences = " | ".join(f"{part}: Dice - one step" for part in PARTS)
    lines = [
        f"| run | steps | ms an image | times one step | Dice | {differences} |",
        "|---|---|---|---|---|" + "---|" * len(PARTS),
    ]
    for run, found in content.items():
        for count, row in found["steps"].items():
            cells = [
                run,
                count,
                f"{row['milliseconds']:.1f}",
                f"{row['milliseconds'] / found['steps']['1']['milliseconds']:.2f}",
                interval_text(row["parts"]["all"]["dice"]),
                *(interval_text(row["parts"][part].get("difference"), sign="+") for part in PARTS),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
