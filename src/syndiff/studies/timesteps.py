"""From which timestep should the one step start? The same weights judged at every one of a list."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from syndiff.data.inspection import open_checked
from syndiff.errors import SyndiffError
from syndiff.evaluation.statistics import Interval, score_interval
from syndiff.files import sha256, write_json, write_text
from syndiff.models.prediction import SegmenterPredictor
from syndiff.studies.cells import (
    case_scores,
    diffusion_settings,
    interval_text,
    names_of,
    same_split,
    save_figure,
)
from syndiff.studies.choices import Side
from syndiff.training.checkpoints import best_checkpoint


def timesteps(runs: Sequence[Path], data: Path, out: Path, *, sweep: Sequence[int], side: Side, seed: int) -> str:
    """Score each trained segmenter of `runs` with a single step from every timestep of `sweep`; returns a table.

    One view an image, so that nothing but the timestep changes. The mean Dice over the cases has an interval over
    groups. Writes timesteps.json, timesteps.md and timesteps.svg; finished cells are kept.

    Raises SyndiffError for a run without a trained diffusion segmenter, runs of different splits, and timesteps outside
    of a model's schedule.
    """
    dataset = open_checked(data)
    names = names_of(runs)
    split = same_split(runs, dataset)
    if not sweep:
        raise SyndiffError("--timesteps is empty; give one or more.")
    found: dict[str, dict[int, Interval]] = {}
    for run, short in zip(runs, names, strict=True):
        checkpoint = best_checkpoint(run)
        name = f"{short} ({diffusion_settings(run, checkpoint)['objective']})"
        for timestep in sweep:
            predictor = SegmenterPredictor.load(
                checkpoint, name=f"{short} from {timestep}", seed=seed, timestep=timestep, steps=1, tta=1
            )
            cell = out / "cells" / short / f"from-{timestep}"
            rows = case_scores(cell, checkpoint, predictor, dataset, split, side)
            scores = score_interval([row.metrics.dice for row in rows], [row.group for row in rows])
            found.setdefault(name, {})[timestep] = scores
    write_json(
        out / "timesteps.json",
        {
            "side": side,
            "seed": seed,
            "weights": {
                name: sha256(best_checkpoint(run) / "model.safetensors") for name, run in zip(names, runs, strict=True)
            },
            "dice": {n: {str(t): vars(i) for t, i in scores.items()} for n, scores in found.items()},
        },
    )
    lines = [f"| t | {' | '.join(found)} |", "|---|" + "---|" * len(found)]
    lines += [
        f"| {t} | " + " | ".join(interval_text(vars(scores[t])) for scores in found.values()) + " |" for t in sweep
    ]
    text = "\n".join(lines) + "\n"
    write_text(out / "timesteps.md", text)
    save_figure(_draw(found), out / "timesteps.svg")
    return text


def _draw(found: dict[str, dict[int, Interval]]) -> Figure:
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, scores in found.items():
        means = [interval.mean or 0.0 for interval in scores.values()]
        axes.plot(list(scores), means, marker="o", label=name)
    axes.set_xscale("symlog", linthresh=1)
    axes.set(xlabel="timestep that the single step starts from", ylabel="mean Dice", ylim=(0, 1))
    figure.legend(loc="outside upper center", ncols=2)
    return figure
