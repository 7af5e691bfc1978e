"""Whether a segmenter's doubt is worth something: calibration, and whether it finds the cases that went wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from syndiff.data.dataset import Dataset
from syndiff.data.splits import Split
from syndiff.evaluation.metrics import case_metrics
from syndiff.evaluation.statistics import FEW_GROUPS, bootstrap, score_interval
from syndiff.evaluation.uncertainty import Reliability, detection_auc, mean_variance
from syndiff.models.prediction import SegmenterPredictor
from syndiff.models.tta import disagreement
from syndiff.studies.choices import Side
from syndiff.studies.grid import Conclusion, Findings, Outcome
from syndiff.studies.scoring import Run
from syndiff.studies.words import interval_text, sample_text

WAYS = {
    "noise": ("views, each with its noise", "noises"),
    "dropout": ("views", "dropout masks"),
    None: ("views",),
}
"""Ways to several answers, by what the network draws."""

DOUBTS = ("disagreement", "variance")
"""The two kinds of doubt of `Judged`."""


@dataclass(frozen=True)
class Judged:
    """One case: its group, the Dice of the mean answer, two kinds of doubt, and its pixels' reliability."""

    group: str | None
    dice: float
    disagreement: float
    variance: float
    reliability: Reliability

    def plain(self) -> dict[str, Any]:
        """It as JSON has it."""
        return vars(self) | {"reliability": {name: values.tolist() for name, values in vars(self.reliability).items()}}

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> "Judged":
        """It again, from what `plain` gave."""
        bins = {name: np.array(values) for name, values in plain["reliability"].items()}
        return cls(**{**plain, "reliability": Reliability(**bins)})


@dataclass(frozen=True)
class Answers:
    """A cell that asks a run for `members` answers a case in one way, and judges their doubt."""

    run: Run
    data: Path
    split: Split
    side: Side
    seed: int
    members: int
    way: str

    def decides(self) -> dict[str, Any]:
        """Weights, cases, seed, and how the answers come about."""
        cases = {"split": self.split.hash, "side": self.side, "seed": self.seed}
        return {"weights": self.run.weights, **cases, "members": self.members, "way": self.way}

    def do(self, folder: Path, *, progress: bool) -> Outcome:
        """Ask and judge."""
        predictor = SegmenterPredictor.load(self.run.checkpoint, name=self.run.short, seed=self.seed)
        dataset = Dataset.open(self.data)
        draws, tta = (1, self.members) if self.way.startswith("views") else (self.members, 1)
        name = f"{self.run.short}, {self.members} {self.way}"
        cases = tqdm(getattr(self.split, self.side), desc=name, unit="case", disable=not progress)
        return Outcome({"judged": [_judge(predictor, dataset, case, draws, tta).plain() for case in cases]})


def conclude(found: Findings, *, wrong_below: float, about: Mapping[str, Any]) -> Conclusion:
    """The Dice of the mean answer, its calibration error, and how well doubt finds the cases below `wrong_below`."""
    judged = {cell.level: [Judged.read(each) for each in outcome.scores["judged"]] for cell, outcome in found}
    content = {name: _summary(cases, wrong_below) for name, cases in judged.items()}
    works: list[Any] = [cell.work for cell, _ in found]
    weights = {work.run.short: work.run.weights for work in works}
    told = {**about, "wrong_below": wrong_below, "cases": len(next(iter(judged.values())))}
    words = [in_words(name, row) for name, row in content.items()]
    words.append(sample_text(next(iter(content.values()))["dice"], about["side"]))
    full = {**told, "weights": weights, "answers": content}
    return Conclusion(_as_markdown(content, wrong_below), " ".join(words), full, _draw(judged))


def in_words(name: str, row: Mapping[str, Any]) -> str:
    """Whether disagreement finds wrong cases better than chance, whose area under the ROC curve is 0.5.

    Of few groups the bootstrap can only draw what it has seen: where all wrong cases lie above all others it has no
    width, and says nothing.
    """
    auc = row["auc_disagreement"]
    if auc["mean"] is None:
        return f"{name}: there are no wrong cases, or only wrong ones, so doubt has nothing to tell apart."
    if auc["low"] is None or auc["low"] <= 0.5 <= auc["high"]:
        return f"{name}: that disagreement finds wrong cases could not be shown: AUC {interval_text(auc)}."
    if auc["groups"] < FEW_GROUPS or auc["low"] == auc["high"]:
        return f"{name}: whether disagreement finds wrong cases cannot be told from so few: AUC {interval_text(auc)}."
    how = "better" if auc["low"] > 0.5 else "worse"
    return f"{name}: disagreement finds wrong cases {how} than chance: AUC {interval_text(auc)}."


def _judge(predictor: SegmenterPredictor, dataset: Dataset, case_id: str, draws: int, tta: int) -> Judged:
    case = dataset[case_id]
    image, target = dataset.load(case)
    answers = predictor.members(image, case_id=case_id, draws=draws, tta=tta)
    mean = answers.mean(0)
    return Judged(
        group=case.group,
        dice=case_metrics(mean > np.float32(0.5), target).dice,
        disagreement=disagreement(answers),
        variance=mean_variance(answers),
        reliability=Reliability.of(mean, target),
    )


def _summary(judged: Sequence[Judged], wrong_below: float) -> dict[str, Any]:
    groups = [one.group for one in judged]

    def calibration_error(part: Sequence[Judged]) -> float:
        return reduce(add, (one.reliability for one in part)).error

    def auc(part: Sequence[Judged], kind: str) -> float | None:
        return detection_auc([getattr(one, kind) for one in part], [one.dice < wrong_below for one in part])

    total = reduce(add, (one.reliability for one in judged))
    return {
        "dice": vars(score_interval([one.dice for one in judged], groups)),
        "wrong": sum(one.dice < wrong_below for one in judged),
        "calibration_error": vars(bootstrap(judged, groups, calibration_error)),
        **{f"auc_{kind}": vars(bootstrap(judged, groups, partial(auc, kind=kind))) for kind in DOUBTS},
        "reliability": {
            "pixels": total.pixels.tolist(),
            "probability": total.probability.tolist(),
            "frequency": total.frequency.tolist(),
        },
    }


def _as_markdown(content: dict[str, dict[str, Any]], wrong_below: float) -> str:
    lines = [
        f"| answers | Dice of their mean | wrong (Dice < {wrong_below:g}) | calibration error | AUC of disagreement | "
        "AUC of variance |",
        "|---|---|---|---|---|---|",
    ]
    notes = set()
    for name, row in content.items():
        cells = [name, interval_text(row["dice"]), str(row["wrong"]), interval_text(row["calibration_error"], 4)]
        cells += [interval_text(row[f"auc_{kind}"]) for kind in DOUBTS]
        lines.append(f"| {' | '.join(cells)} |")
        notes |= {f"- {name}, AUC of {kind}: {note}" for kind in DOUBTS if (note := row[f"auc_{kind}"]["note"])}
    return "\n".join([*lines, *(["", *sorted(notes)] if notes else [])]) + "\n"


def _draw(found: Mapping[str, Sequence[Judged]]) -> Figure:
    """Observed frequency against predicted probability."""
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    for name, judged in found.items():
        total = reduce(add, (one.reliability for one in judged))
        kept = total.pixels > 0
        axes.plot(
            total.probability[kept] / total.pixels[kept], total.frequency[kept] / total.pixels[kept], "o-", label=name
        )
    axes.set(xlabel="predicted probability", ylabel="share of the pixels annotated as lesion", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    return figure
