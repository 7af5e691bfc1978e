"""The charts of a report: drawn once, shown in the page, and written as SVG with the numbers behind each as CSV."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from syndiff.evaluation.statistics import Interval
from syndiff.files import write_bytes, write_text
from syndiff.report import figures
from syndiff.report.content import Content

FILES = {
    "difference": "paired-differences",
    "strip": "dice-by-group",
    "validation": "validation-dice",
    "loss": "training-loss",
    "timing": "time-per-image",
    "likeness": "lesion-likeness",
}
"""The name of each chart's files, without extension."""

SCORES = "scores.csv"
"""The file with the numbers of tables 1 and 2."""

_Row = Sequence[Any]


def draw(content: Content) -> dict[str, str]:
    """The charts that `content` has numbers for, as <svg> elements to stand inside the page."""
    drawn = {
        "strip": figures.strip_plot(content.arms),
        "loss": figures.loss_curves(content.arms),
        "validation": figures.validation_curves(content.arms),
        "timing": figures.timing_bars(content.arms),
    }
    if content.synthesis and content.synthesis.lesions:
        drawn["likeness"] = figures.likeness_plot(*content.synthesis.lesions)
    if content.comparisons:
        drawn["difference"] = figures.difference_plot(content.comparisons)
    return drawn


def write_charts(folder: Path, content: Content, drawn: Mapping[str, str]) -> None:
    """Write `<name>.svg` and `<name>.csv` for each of the charts `drawn`, and `scores.csv`, into `folder`."""
    tables = {
        "difference": _differences,
        "strip": _dice,
        "validation": _validation,
        "loss": _loss,
        "timing": _times,
        "likeness": _lesions,
    }
    for chart, svg in drawn.items():
        write_text(folder / f"{FILES[chart]}.svg", figures.standalone(svg))
        write_bytes(folder / f"{FILES[chart]}.csv", _csv(tables[chart](content)))
    write_bytes(folder / SCORES, _csv(_scores(content)))


def _csv(rows: Iterable[_Row]) -> bytes:
    """Rows, the first of which has the names, as CSV; None is an empty field, meaning not applicable."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _bounds(interval: Interval) -> _Row:
    return interval.mean, interval.low, interval.high, interval.cases, interval.groups


def _scores(content: Content) -> Iterable[_Row]:
    yield "arm", "minus", "score", "mean", "low", "high", "cases", "groups", "p"
    for arm in content.arms.values():
        yield from ((arm.name, None, metric, *_bounds(interval), None) for metric, interval in arm.scores.items())
        yield from ((arm.name, None, f"{metric}_pooled", value, *[None] * 5) for metric, value in arm.pooled.items())
        yield from (
            (arm.name, None, count, arm.counts[count], *[None] * 5)
            for count in ("lesions", "missed_lesions", "false_lesions")
        )
    for pair in content.comparisons:
        for metric, difference in pair.differences.items():
            yield pair.first, pair.second, metric, *_bounds(difference), difference.p_value


def _differences(content: Content) -> Iterable[_Row]:
    yield "arm", "minus", "score", "mean", "low", "high", "cases", "groups", "p"
    for pair in content.comparisons:
        for metric in ("dice", "iou"):
            difference = pair.differences[metric]
            yield pair.first, pair.second, metric, *_bounds(difference), difference.p_value


def _dice(content: Content) -> Iterable[_Row]:
    """A line for each dot, bar and diamond."""
    yield "arm", "mark", "group", "case", "dice", "low", "high"
    for arm in content.arms.values():
        groups: dict[str, list[float]] = {}
        for row in arm.rows:
            groups.setdefault(row.group or row.case, []).append(row.metrics.dice)
            yield arm.name, "case", row.group, row.case, row.metrics.dice, None, None
        for group, values in groups.items():
            yield arm.name, "mean of a group", group, None, float(np.mean(values)), None, None
        dice = arm.scores["dice"]
        yield arm.name, "mean of all cases", None, None, dice.mean, dice.low, dice.high


def _validation(content: Content) -> Iterable[_Row]:
    yield "arm", "step", "val_dice"
    for arm in content.arms.values():
        yield from ((arm.name, step, value) for step, value in arm.training.validation)


def _loss(content: Content) -> Iterable[_Row]:
    yield "arm", "step", "loss"
    for arm in content.arms.values():
        yield from ((arm.name, step, value) for step, value in arm.training.loss)


def _times(content: Content) -> Iterable[_Row]:
    yield "arm", "stage", "median_ms", "p10_ms", "p90_ms"
    for arm in content.arms.values():
        for stage, spread in {**arm.timing.stages, "total": arm.timing.total}.items():
            yield arm.name, stage, spread.median, spread.p10, spread.p90


def _lesions(content: Content) -> Iterable[_Row]:
    """A line for each measure of each lesion."""
    yield "lesions", "measure", "value"
    assert content.synthesis is not None and content.synthesis.lesions is not None
    for kind, lesions in zip(("real", "new"), content.synthesis.lesions, strict=True):
        yield from ((kind, measure, value) for measure, values in lesions.items() for value in values)
