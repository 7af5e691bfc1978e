"""Whether the guarantee is kept: calibrations drawn again and again from patients whose distribution is known.

    python benchmarks/guarantee_coverage.py --out results/guarantee/simulation.json

A population of patients is drawn once for each shape; frames of a patient share an effect. Calibration patients are
drawn from it with replacement, so that every share of the population is known exactly. Counted is how many calibrations
keep their promise. One that is refused, since the wide contour would be too wide, has made none.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from syndiff.evaluation.guarantee import (
    THRESHOLDS,
    FrameCurve,
    allowed_failures,
    frame_curve,
    group_levels,
    group_losses,
    groups_needed_on_average,
    level_of_groups,
    level_on_average,
)
from syndiff.files import write_json
from syndiff.training.run_folder import environment

PIXELS = 40
"""Of a lesion; the frames of the simulation hold nothing else."""

Shape = Callable[[np.random.Generator], NDArray[np.float64]]
"""Draws one patient: logits (frames, PIXELS) of the lesion's pixels."""


def correlated(rng: np.random.Generator) -> NDArray[np.float64]:
    """Three to eight frames that share most of what is hard about their patient."""
    frames = rng.integers(3, 9)
    return 2 + rng.normal(0, 1.5) + rng.normal(0, 0.5, (frames, 1)) + rng.normal(0, 2, (frames, PIXELS))


def independent(rng: np.random.Generator) -> NDArray[np.float64]:
    """Four frames of a patient that have nothing in common."""
    return 2 + rng.normal(0, 1.5, (4, 1)) + rng.normal(0, 1.5, (4, PIXELS))


def single(rng: np.random.Generator) -> NDArray[np.float64]:
    """One image a patient, with a heavy tail of hard ones."""
    return 2.5 - rng.gamma(0.7, 1.2) + rng.normal(0, 1, (1, PIXELS))


def videos(rng: np.random.Generator) -> NDArray[np.float64]:
    """Numbers of frames from 1 to 60, and harder lesions the longer the video."""
    frames = int(np.clip(rng.geometric(0.08), 1, 60))
    return 3.5 - 0.03 * frames + rng.normal(0, 1) + rng.normal(0, 0.5, (frames, 1)) + rng.normal(0, 1, (frames, PIXELS))


def tied(rng: np.random.Generator) -> NDArray[np.float64]:
    """Only five kinds of patients: most calibrations are decided by ties."""
    return np.repeat(np.sort(rng.normal(rng.choice((-3, -2, 0, 1, 3)), 0, (2, 1)), 0), PIXELS, 1)


def lost(rng: np.random.Generator) -> NDArray[np.float64]:
    """A twentieth of the patients has a lesion that the model does not see at all."""
    frames = rng.integers(2, 5)
    return (-9 if rng.random() < 0.05 else 2 + rng.normal(0, 1)) + rng.normal(0, 1, (frames, PIXELS))


SHAPES: tuple[Shape, ...] = (correlated, independent, single, videos, tied, lost)


def population(shape: Shape, patients: int, rng: np.random.Generator) -> list[FrameCurve]:
    """The frames of all patients."""
    curves = []
    for patient in range(patients):
        for frame in (1 / (1 + np.exp(-shape(rng)))).astype(np.float32):
            curves.append(frame_curve(frame[None], np.ones((1, PIXELS), np.bool_), case="", group=str(patient)))
    return curves


def kept(successes: int, number: int) -> dict[str, float]:
    """A share with its 95 % interval (Clopper and Pearson)."""
    interval = binomtest(successes, number).proportion_ci(0.95)
    return {"share": successes / number, "low": float(interval.low), "high": float(interval.high)}


def simulate_groups(
    levels: NDArray[np.int64], groups: int, draws: int, rng: np.random.Generator, *, coverage: float, confidence: float
) -> dict[str, Any]:
    """How many calibrations on `groups` patients cover at least `coverage` of the population."""
    failures = allowed_failures(groups, coverage=coverage, confidence=confidence)
    assert failures is not None
    chosen = np.array([level_of_groups(rng.choice(levels, groups), failures) for _ in range(draws)])
    told = chosen >= 0
    achieved = (levels[:, None] >= np.unique(chosen)).mean(0)[np.searchsorted(np.unique(chosen), chosen)]
    broken = int(np.count_nonzero(told & (achieved < coverage)))
    return {
        "kind": "groups",
        "groups": groups,
        "failures": failures,
        "coverage": coverage,
        "confidence": confidence,
        "refused": float((~told).mean()),
        "mean_coverage": float(achieved[told].mean()) if told.any() else None,
        "promise_not_broken": kept(draws - broken, draws),
        "promise_kept_where_one_was_made": 1 - broken / int(told.sum()) if told.any() else None,
    }


def simulate_average(
    losses: NDArray[np.float64], groups: int, draws: int, rng: np.random.Generator, *, miss: float
) -> dict[str, Any]:
    """What share is missed on average, over the population and over calibrations; nothing where one is refused."""
    at = losses.mean(0)
    chosen = np.array([level_on_average(losses[rng.integers(0, len(losses), groups)], miss) for _ in range(draws)])
    missed = np.where(chosen >= 0, at[chosen], 0.0)
    error = 1.96 * missed.std(ddof=1) / np.sqrt(draws)
    return {
        "kind": "average",
        "groups": groups,
        "miss": miss,
        "refused": float((chosen < 0).mean()),
        "missed": {
            "mean": float(missed.mean()),
            "low": float(missed.mean() - error),
            "high": float(missed.mean() + error),
        },
    }


def main() -> None:
    """Simulate every shape, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=10_000, help="of each population")
    parser.add_argument("--draws", type=int, default=10_000, help="calibrations of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    options = parser.parse_args()
    rng, shapes, miss = np.random.default_rng(options.seed), {}, 0.1
    for shape in SHAPES:
        frames = population(shape, options.patients, rng)
        levels, losses = np.array(list(group_levels(frames, miss).values())), group_losses(frames)
        found = [
            simulate_groups(levels, groups, options.draws, rng, coverage=0.9, confidence=confidence)
            for confidence, numbers in ((0.9, (22, 38, 60, 200)), (0.95, (29, 61)))
            for groups in numbers
        ]
        for share in (0.1, 0.2):
            for groups in (groups_needed_on_average(share), 30):
                found.append(simulate_average(losses, groups, options.draws // 5, rng, miss=share))
        shapes[shape.__name__] = {
            "about": (shape.__doc__ or "").strip(),
            "frames": len(frames),
            "beyond_the_lowest_threshold": float((levels < 0).mean()),
            "median_threshold_of_a_patient": float(THRESHOLDS[max(0, int(np.median(levels)))]),
            "calibrations": found,
        }
    result = {"environment": environment(), "options": {**vars(options), "out": None}, "miss": miss, "shapes": shapes}
    print(json.dumps(result, indent=2))
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
