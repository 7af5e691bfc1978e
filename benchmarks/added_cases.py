"""Why do synthetic cases help a segmenter, or not? Instruments beside a finished `syndiff study low-data`.

    python benchmarks/added_cases.py --study runs/low-data --data ../shared/data/cvc-clinicdb \
        --others ../shared/data/kvasir-seg --others-split runs/kvasir-split.json \
        --lesion-free ../shared/data/lesion-free --out results/low-data/instruments.json

- `arms`: every arm on the validation cases, on the cases of another dataset that none of them has learned from
  (validation and test side of --others-split), and on both together; lesions missed and false lesions on each; and how
  much is found in frames without lesions.
- `gap`: for every synthetic set of the study, the real training cases, and those of the other dataset, a segmenter that
  learns from them alone (train on synthetic, test on real), scored on the real validation cases and on the rest of each
  set, which it has not learned from. What a model of synthetic cases finds far better there than a model of real ones
  holds a shortcut.

No test case is read. What was done is kept in --study / instruments, and not done again. `gap` needs the synthetic sets
alone, and may be measured while the arms are being trained.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from syndiff.config.loading import load_settings
from syndiff.config.settings import Settings
from syndiff.data.dataset import Dataset
from syndiff.data.loading import load_cases
from syndiff.data.masks import components, without_specks
from syndiff.data.readers import read_image
from syndiff.data.splits import Split
from syndiff.evaluation.evaluate import CaseRow, evaluate, finished, read_per_case
from syndiff.files import sha256, write_json
from syndiff.models.prediction import SegmenterPredictor
from syndiff.pipeline.gap import train_alone
from syndiff.studies.scoring import case_scores, mean_case_dice
from syndiff.studies.table import tabulate
from syndiff.synthesis.placement.field import view_box
from syndiff.training.checkpoints import best_checkpoint
from syndiff.training.run_folder import environment

REAL = "real-only"
Rows = dict[str, list[list[CaseRow]]]


def predictor_of(checkpoint: Path) -> SegmenterPredictor:
    """One view an image and one noise, as the study itself scores."""
    return SegmenterPredictor.load(checkpoint, name=checkpoint.parent.parent.name, seed=0, tta=1)


def score_arms(options: argparse.Namespace, split: Split) -> dict[str, Any]:
    """Every arm of the study on validation cases, on those of another dataset, and in frames without lesions."""
    others = Dataset.open(options.others)
    theirs = Split.read(options.others_split)
    judged = replace(theirs, val=(*theirs.val, *theirs.test), test=())
    dataset = Dataset.open(options.data)
    whole = [read_image(path) for path in sorted((options.lesion_free / "images").iterdir())]
    frames: list[Any] = [np.ascontiguousarray(frame[view_box(frame)]) for frame in whole]
    rows: dict[str, Rows] = {"validation": {}, "others": {}}
    free: dict[str, list[dict[str, float]]] = {}
    runs = sorted((options.study / "cells").glob("*/*/split.json"), key=lambda path: path.parent.parent.name != REAL)
    for run in (path.parent for path in runs):
        arm, checkpoint, out = run.parent.name, best_checkpoint(run), options.study / "instruments" / run.parent.name
        predictor = predictor_of(checkpoint)
        here = case_scores(out / run.name, checkpoint, predictor, dataset, split, "val")
        there = case_scores(out / run.name / "others", checkpoint, predictor, others, judged, "val")
        rows["validation"].setdefault(arm, []).append(here)
        rows["others"].setdefault(arm, []).append(there)
        free.setdefault(arm, []).append(found_in(frames, predictor))
        print(f"{arm} {run.name}: {mean_case_dice(here):.3f}, others {mean_case_dice(there):.3f}", file=sys.stderr)
    rows["both"] = {
        arm: [[*here, *there] for here, there in zip(rows["validation"][arm], rows["others"][arm], strict=True)]
        for arm in rows["validation"]
    }
    tables = {side: tabulate(found, REAL) for side, found in rows.items()}
    for side, found in rows.items():
        for arm, repeats in found.items():
            tables[side][arm]["lesions"] = lesions_of([row for each in repeats for row in each])
    means = {
        arm: {key: float(np.mean([each[key] for each in found])) for key in found[0]} for arm, found in free.items()
    }
    return {**tables, "lesion_free": {"frames": len(frames), "arms": means}}


def lesions_of(rows: Sequence[CaseRow]) -> dict[str, float]:
    """Shares over all rows: of lesions missed, and false lesions a frame."""
    metrics = [row.metrics for row in rows]
    return {
        "missed": sum(each.missed_lesions for each in metrics) / sum(each.lesions for each in metrics),
        "false_a_frame": sum(each.false_lesions for each in metrics) / len(metrics),
    }


def found_in(frames: Sequence[Any], predictor: SegmenterPredictor) -> dict[str, float]:
    """What a segmenter finds in frames without lesions: the share of frames with a lesion, and of pixels."""
    masks = [predictor.predict(frame, case_id=f"frame-{index}").mask for index, frame in enumerate(frames)]
    found = [len(without_specks(components(mask)[1])) for mask in masks]
    return {"frames": float(np.mean(np.array(found) > 0)), "area": float(np.mean([mask.mean() for mask in masks]))}


def measure_gaps(options: argparse.Namespace, settings: Settings, split: Split) -> dict[str, Any]:
    """Models that learned from one kind of case alone, scored on every kind."""
    dataset, size = Dataset.open(options.data), settings.model.image_size
    real = load_cases([(dataset, split.train)], size)
    val = load_cases([(dataset, split.val)], size)
    folders = sorted(path.parent for path in (options.study / "synthetic").glob("*/manifest.jsonl"))
    sets: dict[str, Dataset] = {folder.name: Dataset.open(folder) for folder in folders}
    ids = {name: [case.id for case in each.cases] for name, each in sets.items()}
    sets["others"], theirs = Dataset.open(options.others), {*Split.read(options.others_split).train}
    ids["others"] = [case.id for case in sets["others"].cases if case.id in theirs]
    count = min([len(split.train), *(len(each) // 2 for each in ids.values())])
    learned = {name: each[:count] for name, each in ids.items()}
    held = {name: each[count : 2 * count] for name, each in ids.items()}
    found: dict[str, Any] = {"steps": options.gap_steps, "cases": count, "dice": {}}
    for name in ("real", *sets):
        run = options.study / "instruments" / "alone" / name
        cases = load_cases([(sets[name], learned[name])], size) if name != "real" else real
        added = sets[name].root if name != "real" else None
        model = train_alone(run, settings, split, cases, val, added=added, steps=options.gap_steps, seed=0)
        predictor = predictor_of(model)
        scores = {"real validation": mean_case_dice(case_scores(run, model, predictor, dataset, split, "val"))}
        for other, each in sets.items():
            rows = scored(run / "on" / other, model, predictor, each, held[other])
            scores[other] = mean_case_dice(rows)
        found["dice"][name] = scores
    return found


def scored(out: Path, model: Path, predictor: SegmenterPredictor, dataset: Dataset, cases: Sequence[str]) -> Any:
    """The rows of some cases of a synthetic set, kept in `out`."""
    provenance = {"weights": sha256(model / "model.safetensors"), "seed": predictor.seed}
    if not finished(out, cases, provenance=provenance):
        evaluate(predictor, dataset, cases, out, provenance=provenance, progress=False)
    return read_per_case(out / "per_case.csv")


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--study", "--data", "--others", "--others-split", "--lesion-free", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--gap-steps", type=int, default=320)
    parser.add_argument("--parts", nargs="+", choices=("arms", "gap"), default=["arms", "gap"])
    options = parser.parse_args()
    split = Split.read(options.study / "split.json")
    settings = load_settings(config=options.study / "cells" / REAL / "0" / "config.yaml")
    result: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "environment": environment(),
        **({"arms": score_arms(options, split)} if "arms" in options.parts else {}),
        **({"gap": measure_gaps(options, settings, split)} if "gap" in options.parts else {}),
    }
    write_json(options.out, result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
