"""From which timestep should the one step start? The same weights judged at every one of a list."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from syndiff.data.dataset import DatasetFolder
from syndiff.data.splits import Split
from syndiff.errors import SyndiffError
from syndiff.evaluation.statistics import Interval, bootstrap_mean
from syndiff.files import read_json, write_json, write_text
from syndiff.models.prediction import SegmenterPredictor
from syndiff.studies.cells import Side, best_checkpoint, case_scores, interval_text, save_figure


def timesteps(runs: Sequence[Path], data: Path, out: Path, *, sweep: Sequence[int], side: Side, seed: int) -> str:
    """Score each trained segmenter of `runs` with a single step from every timestep of `sweep`; returns a table.

    One view an image, so that nothing but the timestep changes. The mean Dice over the cases has an interval over
    groups. Writes timesteps.json, timesteps.md and timesteps.svg; finished cells are kept.

    Raises SyndiffError for a run without a trained diffusion segmenter, runs of different splits, and timesteps outside
    of a model's schedule.
    """
    dataset = DatasetFolder.open(data)
    split = same_split(runs, dataset)
    found: dict[str, dict[int, Interval]] = {}
    for run in runs:
        checkpoint = best_checkpoint(run)
        model = read_json(checkpoint / "model.json")["model"]
        if model["kind"] == "control":
            raise SyndiffError(f"{run} is a control, which has no timesteps; give runs of the diffusion segmenter.")
        name = f"{run.name} ({model['objective']})"
        for timestep in sweep:
            predictor = SegmenterPredictor.load(
                checkpoint, name=f"{run.name} from {timestep}", seed=seed, timestep=timestep, steps=1, views=1
            )
            cell = out / "cells" / run.name / str(timestep)
            rows = case_scores(cell, checkpoint, predictor, dataset, split, side)
            scores = bootstrap_mean([row.metrics.dice for row in rows], [row.group for row in rows])
            found.setdefault(name, {})[timestep] = scores
    write_json(
        out / "timesteps.json",
        {
            "side": side,
            "seed": seed,
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


def same_split(runs: Sequence[Path], dataset: DatasetFolder) -> Split:
    """The split that all runs were trained on. Raises SyndiffError where they differ."""
    splits = [Split.read(run / "split.json") for run in runs]
    for run, split in zip(runs, splits, strict=True):
        split.check(dataset)
        if split != splits[0]:
            raise SyndiffError(f"{run} was trained on another split than {runs[0]}; their scores cannot be compared.")
    return splits[0]


def _draw(found: dict[str, dict[int, Interval]]) -> Figure:
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, scores in found.items():
        means = [interval.mean or 0.0 for interval in scores.values()]
        axes.plot(list(scores), means, marker="o", label=name)
    axes.set(xscale="log", xlabel="timestep that the single step starts from", ylabel="mean Dice", ylim=(0, 1))
    axes.legend()
    return figure
