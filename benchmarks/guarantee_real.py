"""The guarantee on real cases: calibrate on some of another centre's cases, check on all others, many times.

    python benchmarks/guarantee_real.py --run runs/cvc/real --data ../shared/data/kvasir-seg \
        --out results/guarantee/kvasir_seg.json

Every case is predicted once; then calibration cases are drawn again and again. Without groups.csv one image a patient
is assumed. A half of 1000 cases is checked on the other half, which is a sample too: its coverage scatters by itself.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syndiff.data.inspection import open_checked
from syndiff.data.splits import Split
from syndiff.errors import SyndiffError
from syndiff.evaluation.guarantee import (
    FrameCurve,
    Goal,
    check_enough,
    choose,
    group_levels,
    group_losses,
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


def check(
    frames: Sequence[FrameCurve], goal: Goal, number: int, draws: int, generator: np.random.Generator
) -> dict[str, Any]:
    """Calibrate on `number` groups drawn at random, check on all others, `draws` times."""
    groups = sorted({frame.group for frame in frames})
    levels, losses = group_levels(frames, goal.miss), group_losses(frames)
    names = list(levels)  # groups with a lesion, in the order of the losses
    found: dict[str, list[float]] = {"achieved": [], "threshold": [], "extra_of_frame": [], "extra_of_mask": []}
    refused = 0
    for _ in range(draws):
        drawn = {str(name) for name in generator.choice(groups, number, replace=False)}
        try:
            choice = choose([frame for frame in frames if frame.group in drawn], goal)
        except SyndiffError:
            refused += 1
            continue
        fresh: NDArray[np.bool_] = np.array([name not in drawn for name in names])
        reached = np.array(list(levels.values())) >= choice.level
        found["achieved"].append(float((losses[fresh, choice.level] if goal.on_average else reached[fresh]).mean()))
        found["threshold"].append(choice.threshold)
        rest = [frame for frame in frames if frame.group not in drawn]
        extra = np.array([frame.area[choice.level] - frame.area[-1] for frame in rest])
        found["extra_of_frame"].append(float(np.mean(extra / [frame.pixels for frame in rest])))
        found["extra_of_mask"].append(float(extra.sum() / sum(frame.area[-1] for frame in rest)))
    kept = goal.miss if goal.on_average else goal.coverage or 0
    met = [value <= kept if goal.on_average else value >= kept for value in found["achieved"]]
    named = "share_missed" if goal.on_average else "coverage"
    return {
        "calibration_groups": number,
        "draws": draws,
        "refused_as_too_wide": refused,
        "draws_that_kept_the_promise": sum(met) if not goal.on_average else None,
        f"{named}_on_the_others": quantiles(found.pop("achieved")),
        **{name: quantiles(values) for name, values in found.items()},
    }


def checked(frames: Sequence[FrameCurve], numbers: Sequence[int], draws: int) -> dict[str, Any]:
    """How the mask does without a guarantee, and every goal that the numbers of groups allow."""
    generator = np.random.default_rng(0)
    goals: dict[str, list[dict[str, Any]]] = {}
    for name, goal in GOALS.items():
        goals[name] = []
        for number in numbers:
            try:
                check_enough(number, goal)
            except SyndiffError:
                continue
            goals[name].append(check(frames, goal, number, draws, generator))
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
    parser.add_argument("--draws", type=int, default=200)
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
        frames = frame_curves(predictor, dataset, {case: dataset[case].group or case for case in cases})
        result["views"][views] = checked(frames, options.numbers, options.draws)
    print(json.dumps(result, indent=2))
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
