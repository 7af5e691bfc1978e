"""What more than one step is worth, and for which cases: the same weights judged with 1 to 50 steps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from syndiff.data.inspection import open_checked
from syndiff.errors import SyndiffError
from syndiff.evaluation.evaluate import CaseRow
from syndiff.evaluation.statistics import paired_difference, score_interval
from syndiff.evaluation.timing import time_predictors
from syndiff.files import sha256, write_json, write_text
from syndiff.models.prediction import SegmenterPredictor
from syndiff.models.tta import disagreement
from syndiff.studies.cells import case_scores, diffusion_settings, interval_text, names_of, same_split
from syndiff.studies.choices import Side
from syndiff.training.checkpoints import best_checkpoint

PARTS = ("all", "easy third", "middle third", "hard third")


def steps(runs: Sequence[Path], data: Path, out: Path, *, counts: Sequence[int], side: Side, seed: int) -> str:
    """Score each trained segmenter of `runs` with 1 and with each of `counts` steps of DDIM; returns a table.

    One view an image and the same noise, so that nothing but the number of steps changes. Differences to one step are
    paired, over all cases and over each third of them by difficulty: how much the answers of one step from seven
    turned and flipped views disagree (1 - mean pairwise Dice), which is known before any expert is asked. They have
    noises of their own and leave the scored view out, so that chance in what is scored does not sort the cases.
    Milliseconds are of one image, the numbers of steps in turns. Intervals resample groups. Writes steps.json and
    steps.md; finished scores are kept, difficulty and time are measured again.

    Raises SyndiffError for a run without a trained diffusion segmenter, runs of different splits, and numbers of steps
    that a model's schedule does not have.
    """
    if not counts or min(counts) < 2 or len(set(counts)) < len(counts):
        raise SyndiffError(
            f"--steps {' '.join(map(str, counts))}: expected numbers above 1, each once; one step is always scored."
        )
    dataset = open_checked(data)
    names = names_of(runs)
    split = same_split(runs, dataset)
    cases = getattr(split, side)
    if len(cases) < len(PARTS) - 1:
        raise SyndiffError(f"{len(cases)} {side} cases are too few to be divided by difficulty; expected 3 or more.")
    image, _ = dataset.load(dataset[cases[0]])
    content: dict[str, Any] = {}
    for run, short in zip(runs, names, strict=True):
        checkpoint = best_checkpoint(run)
        diffusion_settings(run, checkpoint)
        predictors = {
            count: SegmenterPredictor.load(checkpoint, name=f"{short}, {count} steps", seed=seed, steps=count, tta=1)
            for count in (1, *counts)
        }
        rows = {
            count: case_scores(out / "cells" / short / f"{count}-steps", checkpoint, predictor, dataset, split, side)
            for count, predictor in predictors.items()
        }
        judge = SegmenterPredictor.load(checkpoint, name=short, seed=seed + 1, tta=1)
        doubts = [
            disagreement(judge.members(dataset.load(dataset[case])[0], case_id=case, draws=1, tta=8)[1:])
            for case in tqdm(cases, desc=f"{short}, difficulty", unit="case")
        ]
        thirds = np.array_split(np.argsort(doubts, kind="stable"), len(PARTS) - 1)
        parts = dict(zip(PARTS, (range(len(cases)), *(third.tolist() for third in thirds)), strict=True))
        timings = time_predictors([*predictors.values()], image, repeats=10)
        content[short] = {
            "weights": sha256(checkpoint / "model.safetensors"),
            "disagreement": {name: float(np.mean([doubts[i] for i in part])) for name, part in parts.items()},
            "steps": {
                str(count): {
                    "milliseconds": timing["milliseconds"]["total"]["median"],
                    "parts": {name: _against(rows[count], rows[1], part) for name, part in parts.items()},
                }
                for count, timing in zip(predictors, timings, strict=True)
            },
        }
    write_json(out / "steps.json", {"side": side, "seed": seed, "cases": len(cases), "runs": content})
    text = _as_markdown(content)
    write_text(out / "steps.md", text)
    return text


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
