"""The guarantee on real cases: calibrate on some of another centre's cases, check on all others, many times.

    python benchmarks/guarantee_real.py --run runs/cvc/real --data ../shared/data/kvasir-seg \
        --out results/guarantee/kvasir_seg.json

Every case is predicted once; then calibration cases are drawn again and again. Without groups.csv one image a patient
is assumed. A half of 1000 cases is checked on the other half, which is a sample too: its coverage scatters by itself.
"""

import argparse
import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, hypergeom

from syndiff.data.inspection import open_checked
from syndiff.data.splits import Split
from syndiff.errors import SyndiffError
from syndiff.evaluation.guarantee import (
    THRESHOLDS,
    FrameCurve,
    Goal,
    allowed_failures,
    check_enough,
    group_levels,
    group_losses,
    level_of_groups,
    level_on_average,
)
from syndiff.files import sha256, write_json
from syndiff.models.prediction import SegmenterPredictor
from syndiff.models.stored import WEIGHTS, read_description
from syndiff.pipeline.calibration import frame_curves
from syndiff.pipeline.provenance import calibration_cases
from syndiff.training.checkpoints import best_checkpoint
from syndiff.training.run_folder import environment

GOALS = {
    "in 90 % of patients, at most 10 % missed": Goal(0.1, 0.9, 0.9),
    "in 90 % of patients, at most 20 % missed": Goal(0.2, 0.9, 0.9),
    "in 80 % of patients, at most 10 % missed": Goal(0.1, 0.8, 0.9),
    "on average, at most 10 % missed": Goal(0.1),
}


def quantiles(values: Sequence[float]) -> dict[str, float] | None:
    """Mean, and 5th, 50th and 95th percentile."""
    if not values:
        return None
    low, middle, high = np.percentile(values, (5, 50, 95))
    return {"mean": float(np.mean(values)), "p5": float(low), "p50": float(middle), "p95": float(high)}


@dataclass(frozen=True)
class Cases:
    """All frames as arrays: areas (frames, thresholds), pixels and groups; and of the groups with a lesion levels
    by what may be missed, and losses (groups, thresholds)."""

    frames: Sequence[FrameCurve]

    @cached_property
    def names(self) -> list[str]:
        """Groups with a lesion, in the order of levels and losses."""
        return list(group_levels(self.frames, 0.1))

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        """Share missed (groups, thresholds)."""
        return group_losses(self.frames)

    @cached_property
    def extra(self) -> NDArray[np.float64]:
        """Pixels added to the mask (frames, thresholds)."""
        area = np.array([frame.area for frame in self.frames], np.float64)
        return area - area[:, -1:]

    @cached_property
    def mask(self) -> NDArray[np.float64]:
        """Pixels of each mask (frames,)."""
        return np.array([frame.area[-1] for frame in self.frames], np.float64)

    @cached_property
    def width(self) -> NDArray[np.float64]:
        """Share of its frame that is added (frames, thresholds)."""
        return self.extra / np.array([[frame.pixels] for frame in self.frames])

    @cached_property
    def place(self) -> NDArray[np.int64]:
        """For each frame the place of its group among `names`; -1 for one without a lesion."""
        places = {name: number for number, name in enumerate(self.names)}
        return np.array([places.get(frame.group, -1) for frame in self.frames])


def check(cases: Cases, goal: Goal, number: int, draws: int, generator: np.random.Generator) -> dict[str, Any]:
    """Calibrate on `number` groups drawn at random, check on all others, `draws` times."""
    levels = np.array(list(group_levels(cases.frames, goal.miss).values()))
    failures = (
        None
        if goal.coverage is None or goal.confidence is None
        else allowed_failures(number, coverage=goal.coverage, confidence=goal.confidence)
    )
    found: dict[str, list[float]] = {"achieved": [], "threshold": [], "extra_of_frame": [], "extra_of_mask": []}
    for _ in range(draws):
        fresh = np.ones(len(levels), np.bool_)
        fresh[generator.choice(len(levels), number, replace=False)] = False
        if failures is None:
            level = level_on_average(cases.losses[~fresh], goal.miss)
            achieved = cases.losses[fresh, level].mean()
        else:
            level = level_of_groups(levels[~fresh], failures)
            achieved = (levels[fresh] >= level).mean()
        if level < 0:
            continue
        rest = np.append(fresh, True)[cases.place]  # the last is of frames without a lesion
        found["achieved"].append(float(achieved))
        found["threshold"].append(float(THRESHOLDS[level]))
        found["extra_of_frame"].append(float(cases.width[rest, level].mean()))
        found["extra_of_mask"].append(float(cases.extra[rest, level].sum() / cases.mask[rest].sum()))
    made = found.pop("achieved")
    if goal.coverage is None or failures is None:
        told = {"share_missed_on_the_others": quantiles(made), "the_same_with_refused_as_0": sum(made) / draws}
    else:
        broken = sum(value < goal.coverage for value in made)
        others = len(levels) - number
        below = int((1 - goal.coverage) * others + 1e-9)  # so many of the others may fail
        expected = hypergeom(len(levels), number, below + failures + 1).sf(failures)
        told = {
            "coverage_on_the_others": quantiles(made),
            "expected_not_broken_without_ties_or_refusals": float(expected),
            "promise_not_broken": kept(draws - broken, draws),
            "promise_kept_where_one_was_made": 1 - broken / len(made) if made else None,
        }
    return {
        "calibration_groups": number,
        "draws": draws,
        "refused": 1 - len(made) / draws,
        **told,
        **{name: quantiles(values) for name, values in found.items()},
    }


def kept(successes: int, number: int) -> dict[str, float]:
    """A share with its 95 % interval (Clopper and Pearson)."""
    interval = binomtest(successes, number).proportion_ci(0.95)
    return {"share": successes / number, "low": float(interval.low), "high": float(interval.high)}


def curves(kept_in: Path | None, predict: Callable[[], list[FrameCurve]]) -> list[FrameCurve]:
    """The curves that an earlier call has kept, else those of `predict`, which are kept."""
    if kept_in is None or not kept_in.is_file():
        frames = predict()
        if kept_in is not None:
            kept_in.parent.mkdir(parents=True, exist_ok=True)
            columns = {
                item.name: np.array([getattr(frame, item.name) for frame in frames]) for item in fields(FrameCurve)
            }
            np.savez(kept_in, **columns)  # type: ignore[arg-type]
        return frames
    with np.load(kept_in) as columns:
        rows = zip(*(columns[item.name] for item in fields(FrameCurve)), strict=True)
        return [
            FrameCurve(str(case), str(group), int(p), int(le), missed, area)
            for case, group, p, le, missed, area in rows
        ]


def checked(frames: Sequence[FrameCurve], numbers: Sequence[int], draws: int) -> dict[str, Any]:
    """How the mask does without a guarantee, and every goal that the numbers of groups allow."""
    generator, cases = np.random.default_rng(0), Cases(frames)
    goals: dict[str, list[dict[str, Any]]] = {}
    for name, goal in GOALS.items():
        goals[name] = []
        for number in numbers:
            try:
                check_enough(number, goal)
            except SyndiffError:
                continue
            goals[name].append(check(cases, goal, number, draws, generator))
    levels = np.array(list(group_levels(frames, 0.1).values()))
    losses = group_losses(frames)
    mask = sum(int(frame.area[-1]) for frame in frames)
    return {
        "mean_share_missed": {"mask": float(losses[:, -1].mean()), "widest": float(losses[:, 0].mean())},
        "patients_of_whom_a_tenth_is_missed_at_most": {
            "mask": float(np.mean(levels == losses.shape[1] - 1)),
            "widest": float(np.mean(levels >= 0)),
        },
        "extra_of_mask_at_the_widest": sum(int(frame.area[0]) for frame in frames) / mask - 1,
        "goals": goals,
    }


def main() -> None:
    """Predict once, draw again and again, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="run folder of a segmenter")
    parser.add_argument("--data", type=Path, required=True, help="dataset that it has not seen")
    parser.add_argument("--numbers", nargs="+", type=int, default=[22, 50, 100, 500], help="calibration groups")
    parser.add_argument("--draws", type=int, default=200, help="calibrations of each kind")
    parser.add_argument("--curves", type=Path, help="folder that keeps what the predictions amount to")
    parser.add_argument("--tta", nargs="+", type=int, default=[1, 8], help="views of an image")
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    options = parser.parse_args()
    dataset, checkpoint = open_checked(options.data), best_checkpoint(options.run)
    cases = calibration_cases(options.run, Split.read(options.run / "split.json"), dataset, external=True)
    described = read_description(checkpoint, {"val_dice": float, "preprocessing": dict})
    result: dict[str, Any] = {
        "environment": environment(),
        "weights": sha256(checkpoint / WEIGHTS),
        "val_dice": described["val_dice"],
        "image_size": described["preprocessing"]["size"],
        "dataset": {"name": dataset.name, "fingerprint": dataset.fingerprint(), "cases": len(cases)},
        "one_image_a_patient_assumed": not dataset.has_groups,
        "views": {},
    }
    for views in options.tta:
        predictor = SegmenterPredictor.load(checkpoint, name=options.run.name, tta=views)
        group_of = {case: dataset[case].group or case for case in cases}
        frames = curves(
            options.curves and options.curves / f"{views}-views.npz",
            functools.partial(frame_curves, predictor, dataset, group_of),
        )
        result["views"][views] = checked(frames, options.numbers, options.draws)
    print(json.dumps(result, indent=2))
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
