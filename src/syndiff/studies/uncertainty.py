"""Whether a segmenter's doubt is worth something: calibration, and whether it finds the cases that went wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from syndiff.data.dataset import Dataset
from syndiff.data.inspection import open_checked
from syndiff.errors import SyndiffError
from syndiff.evaluation.metrics import case_metrics
from syndiff.evaluation.statistics import bootstrap, score_interval
from syndiff.evaluation.uncertainty import Reliability, detection_auc, mean_variance
from syndiff.files import sha256, write_json, write_text
from syndiff.models.prediction import SegmenterPredictor
from syndiff.models.tta import disagreement
from syndiff.studies.cells import interval_text, names_of, same_split, save_figure
from syndiff.studies.choices import Side
from syndiff.training.checkpoints import best_checkpoint

_WAYS = {
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


def uncertainty(
    runs: Sequence[Path], data: Path, out: Path, *, members: int, wrong_below: float, side: Side, seed: int
) -> str:
    """Ask each trained segmenter of `runs` for `members` answers a case and judge their doubt; returns a table.

    The answers of any segmenter differ by their view (flips and quarter turns), those of a diffusion segmenter by their
    noise, those of a control with `model.control_dropout` by what is dropped: every possible way is a row. The mean of
    the answers is scored by Dice at the image's own size and by its expected calibration error over all pixels; the
    doubt (disagreement: 1 - mean pairwise Dice; variance) by the area under the ROC curve of finding the cases whose
    Dice is below `wrong_below`. Intervals resample groups. Writes uncertainty.json, uncertainty.md and reliability.svg.

    Raises SyndiffError for runs without a trained model or of different splits.
    """
    if members not in (2, 4, 8):
        raise SyndiffError(f"--members is {members}; expected 2, 4 or 8, which flips and quarter turns can make.")
    if not 0 < wrong_below <= 1:
        raise SyndiffError(f"--wrong-below is {wrong_below}; expected a Dice above 0 and up to 1.")
    dataset = open_checked(data)
    names = names_of(runs)
    split = same_split(runs, dataset)
    cases = getattr(split, side)
    found: dict[str, list[Judged]] = {}
    for run, short in zip(runs, names, strict=True):
        predictor = SegmenterPredictor.load(best_checkpoint(run), name=short, seed=seed)
        for way in _WAYS[predictor.model.draws]:
            draws, views = (1, members) if way.startswith("views") else (members, 1)
            name = f"{short}, {members} {way}"
            found[name] = [
                _judge(predictor, dataset, case, draws, views) for case in tqdm(cases, desc=name, unit="case")
            ]
    content = {name: _summary(judged, wrong_below) for name, judged in found.items()}
    about = {"side": side, "seed": seed, "members": members, "wrong_below": wrong_below, "cases": len(cases)}
    weights = {name: sha256(best_checkpoint(run) / "model.safetensors") for name, run in zip(names, runs, strict=True)}
    write_json(out / "uncertainty.json", {**about, "weights": weights, "answers": content})
    text = _as_markdown(content, wrong_below)
    write_text(out / "uncertainty.md", text)
    save_figure(_draw(found), out / "reliability.svg")
    return text


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


def _draw(found: dict[str, list[Judged]]) -> Figure:
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
