"""`syndiff evaluate`: trained segmenters on the cases that they are judged on, timed side by side."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syndiff.data.dataset import Dataset
from syndiff.data.inspection import open_checked
from syndiff.data.splits import Split
from syndiff.documents import check_object, read_object
from syndiff.errors import SyndiffError, shown
from syndiff.evaluation.evaluate import evaluate as evaluate_cases
from syndiff.evaluation.evaluate import finished, read_summary, scores_of, sizes_of
from syndiff.evaluation.sizes import SizeScores
from syndiff.evaluation.statistics import Interval
from syndiff.evaluation.timing import time_predictors
from syndiff.files import sha256
from syndiff.models.prediction import SegmenterPredictor
from syndiff.models.refinement import check_refine
from syndiff.models.settings import Refine
from syndiff.pipeline.provenance import check_external, check_own_test, folder_name
from syndiff.training.checkpoints import best_checkpoint

log = logging.getLogger("syndiff")


@dataclass(frozen=True)
class Evaluation:
    """The scores of a run on a dataset, each a mean over `cases` images with its 95 % interval.

    `scores` are dice, iou, precision, recall, hd95 and nsd; of several classes a case has the mean over them, and
    `classes` has the scores of each. `sizes` has scores and missed lesions by the share of the image that is lesion,
    `milliseconds` the median time of one image. `out` holds per_case.csv, summary.json, timing.json and the predicted
    masks.

    >>> dice = syndiff.evaluate("runs/mine", "my-polyps").scores["dice"]
    >>> 0 <= dice.mean <= 1
    True
    """

    out: Path
    dataset: str
    cases: int
    scores: Mapping[str, Interval]
    classes: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    sizes: Mapping[str, SizeScores] = field(default_factory=dict)
    milliseconds: float = math.nan

    def __str__(self) -> str:
        lines = [f"{self.cases} cases of {self.dataset}{', means over classes' if self.classes else ''}"]
        lines += map(_line, self.scores, self.scores.values())
        for name, scores in self.classes.items():
            lines += [name, *(f"  {_line(metric, score)}" for metric, score in scores.items())]
        if self.sizes:
            lines += ["by the lesions' share of the image", *(f"  {name:12} {row}" for name, row in self.sizes.items())]
        lines += [f"{self.milliseconds:.0f} ms an image, by stage in timing.json"]
        return "\n".join([*lines, f"Written to {self.out}"])


def _line(name: str, score: Interval) -> str:
    interval = "" if score.low is None else f" [{score.low:.3f}, {score.high:.3f}]"
    return f"{name:10} {'n/a' if score.mean is None else format(score.mean, '.3f')}{interval}"


def evaluate(
    run: Path | str,
    data: Path | str,
    *,
    external: bool = False,
    tolerance: float = 2.0,
    seed: int = 0,
    refine: Refine = "none",
    progress: bool = True,
) -> Evaluation:
    """Judge a run on the test cases of its own split, or with `external` on all cases of another dataset.

    `run` is a run folder of `train` or one arm of `run`; its best checkpoint is judged. `tolerance` is the distance in
    pixels within which two surfaces agree (nsd). `seed` is that of the noise. `refine` is that of `load`: an evaluation
    with another one is replaced.

    Raises SyndiffError for a dataset that is not the run's own and, with `external`, for one that is, or that the run
    or anything behind its synthetic cases has seen.

    >>> print(syndiff.evaluate("runs/mine", "my-polyps"))  # doctest: +ELLIPSIS
    3 cases of ...
    """
    run, dataset = Path(run), open_checked(Path(data), progress=progress)
    split = Split.read(run / "split.json")
    if external:
        check_external(run, split, dataset)
        cases, files = tuple(case.id for case in dataset.cases), dataset.fingerprint()
    else:
        check_own_test(run, split, dataset)
        cases, files = split.test, split.fingerprint
    (summary,) = evaluate_runs(
        [run],
        dataset,
        cases,
        dataset_fingerprint=files,
        tolerance=tolerance,
        seed=seed,
        refine=check_refine(refine),
        progress=progress,
    )
    out = run / "eval" / folder_name(dataset.name)
    classes = {name: scores_of(summary["classes"][name], out) for name in summary.get("classes", {})}
    return Evaluation(
        out, dataset.name, len(cases), scores_of(summary, out), classes, sizes_of(summary, out), _milliseconds(out)
    )


def _milliseconds(out: Path) -> float:
    """Median time of an image in timing.json. Raises SyndiffError for a damaged one."""
    path, mend = out / "timing.json", "Delete this file, and evaluate again."
    timing = read_object(path, {"milliseconds": dict}, mend=mend)["milliseconds"]
    total = check_object(f"{path}: milliseconds", timing, {"total": dict}, mend=mend)["total"]
    return float(check_object(f"{path}: milliseconds.total", total, {"median": float}, mend=mend)["median"])


def evaluate_runs(
    runs: Sequence[Path],
    dataset: Dataset,
    cases: Sequence[str],
    *,
    dataset_fingerprint: str,
    tolerance: float,
    seed: int,
    refine: Refine = "none",
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Evaluate the best checkpoint of each run on these cases, and time them side by side.

    A finished evaluation is kept when it is of the same weights, files, seed, look and tolerance, and made again
    otherwise.
    Returns the summaries.
    """
    predictors, outs, fresh = [], [], False
    for run in runs:
        checkpoint = best_checkpoint(run)
        out = run / "eval" / folder_name(dataset.name)
        predictor = SegmenterPredictor.load(checkpoint, name=run.name, seed=seed, refine=refine)
        provenance = {"weights": sha256(checkpoint / "model.safetensors"), "step": int(checkpoint.name), "seed": seed}
        provenance |= {} if refine == "none" else {"refine": refine}
        judged = {"name": dataset.name, "fingerprint": dataset_fingerprint}
        if (out / "summary.json").is_file():
            earlier = read_summary(out).get("dataset", judged)
            if earlier != judged:
                raise SyndiffError(
                    f"{out} holds the evaluation on another dataset or on other files ({shown(earlier)}). Give one of "
                    "the two datasets another name in its dataset.json, or move that folder away."
                )
        if finished(out, cases, provenance=provenance, tolerance=tolerance, dataset=judged):
            log.info(f"{out}: finished earlier with the same weights, files and settings, and kept")
        else:
            fresh = True
            evaluate_cases(
                predictor,
                dataset,
                cases,
                out,
                tolerance=tolerance,
                fingerprint=dataset_fingerprint,
                keep_predictions=True,
                provenance=provenance,
                progress=progress,
            )
        predictors.append(predictor)
        outs.append(out)
    if fresh or not all((out / "timing.json").is_file() for out in outs):
        image, _ = dataset.load(dataset[cases[0]])
        time_predictors(predictors, image, outs=[out / "timing.json" for out in outs])
    return [read_summary(out) for out in outs]
