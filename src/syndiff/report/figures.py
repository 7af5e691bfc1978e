"""The report's pictures as inline SVG: charts by matplotlib, images with contours drawn over them.

Colours are named by the page's CSS variables (`var(--ink)`), so that a figure follows the reader's light or
dark theme and the printer. matplotlib knows no variables: it draws with stand-in colours, replaced at the end.
The same content gives the same bytes.
"""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import resources
from typing import Literal

import contourpy
import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter
from numpy.typing import NDArray
from PIL import Image

from syndiff.evaluation.statistics import Interval
from syndiff.imaging import as_shown
from syndiff.report.arms import BOTH, CONTROL, LABELS, REAL
from syndiff.report.content import ArmResults, Comparison

_VARIABLES = ("ink", "soft", "control", "real", "both", "stage0", "stage1", "stage2", "stage3", "stage4", "stage5")
_STAND_IN = {name: f"#01{index:02x}fe" for index, name in enumerate(_VARIABLES)}
_ARM_COLOUR = {
    CONTROL: _STAND_IN["control"],
    REAL: _STAND_IN["real"],
    BOTH: _STAND_IN["both"],
}
_STAGE_COLOURS = [_STAND_IN[f"stage{index}"] for index in range(6)]
_STYLE = {
    "svg.hashsalt": "syndiff",
    "svg.fonttype": "none",
    "font.size": 9.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.edgecolor": _STAND_IN["soft"],
    "axes.labelcolor": _STAND_IN["ink"],
    "text.color": _STAND_IN["ink"],
    "xtick.color": _STAND_IN["soft"],
    "ytick.color": _STAND_IN["soft"],
    "xtick.labelcolor": _STAND_IN["ink"],
    "ytick.labelcolor": _STAND_IN["ink"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}
MANY_GROUPS = 12
"""With more groups than this the strip plot has a dot for each group, no longer a line."""

LONGEST_SIDE = 480
"""Of the pictures in the report, in pixels."""
_WIDE, _NARROW = 5.4, 4.2  # inches; the page scales them, so that text stays readable on a phone


def strip_plot(arms: Mapping[str, ArmResults]) -> str:
    """Test Dice by group: a dot per case, a bar per group's mean; with many groups a dot per group."""
    groups = _dice_by_group(next(iter(arms.values())))
    many = len(groups) > MANY_GROUPS
    ranked = [] if many else sorted(groups, key=lambda group: np.mean(groups[group]))
    names = ["all cases", *ranked]
    height = 1.0 + 0.4 * len(arms) if many else 0.9 + 0.18 * len(arms) * len(names)
    with _style():
        figure, axes = _axes(_WIDE, height)
        for index, (name, arm) in enumerate(arms.items()):
            colour, scores = _ARM_COLOUR[name], _dice_by_group(arm)
            offset = (index - (len(arms) - 1) / 2) * 0.24
            if many:
                _dots(axes, [float(np.mean(values)) for values in scores.values()], offset, colour, 0.09)
            for row, group in enumerate(names[1:], start=1):
                _dots(axes, scores[group], row + offset, colour, 0.05)
                mean = float(np.mean(scores[group]))
                axes.plot([mean, mean], [row + offset - 0.11, row + offset + 0.11], color=colour, linewidth=2.4)
            _interval(axes, arm.scores["dice"], offset, colour, LABELS[name])
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        if not many:
            axes.axhline(0.5, color=_STAND_IN["soft"], linewidth=0.6)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel("Dice of the test cases")
        _finish(figure, axes, grid="x", legend=len(arms))
        return _svg(figure, "strip")


def difference_plot(comparisons: Sequence[Comparison]) -> str:
    """Paired differences of Dice and IoU with their intervals, beside a line at zero."""
    rows = [(c, metric) for c in comparisons for metric in ("dice", "iou")]
    with _style():
        figure, axes = _axes(_WIDE, 0.8 + 0.4 * len(rows))
        axes.axvline(0, color=_STAND_IN["ink"], linewidth=1)
        for row, (comparison, metric) in enumerate(rows):
            _interval(axes, comparison.differences[metric], row, _ARM_COLOUR[comparison.first], None)
        names = {"dice": "Dice", "iou": "IoU"}
        axes.set_yticks(range(len(rows)), [f"{names[m]}: {LABELS[c.first]}\n− {LABELS[c.second]}" for c, m in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        reach = max(0.02, *(abs(bound) for bound in axes.get_xlim()))
        axes.set_xlim(-reach, reach)
        axes.set_xlabel("left: the second is better   |   right: the first is better")
        _finish(figure, axes, grid="x", legend=0)
        return _svg(figure, "difference")


def likeness_plot(real: Mapping[str, Sequence[float]], new: Mapping[str, Sequence[float]]) -> str:
    """Cumulative distribution of each measure of real and of new lesions: the share of lesions with no more of it."""
    with _style():
        figure = Figure(figsize=(2 * _WIDE, 2.1), layout="constrained")
        for number, (name, values) in enumerate(real.items()):
            axes = figure.add_subplot(1, len(real), number + 1)
            for label, each, colour in (("real", values, "real"), ("new", new[name], "both")):
                axes.ecdf(each, color=_STAND_IN[colour], label=label if number == 0 else None)
            axes.set_xlabel(name)
            axes.set_ylim(0, 1.02)
            if number:
                axes.set_yticklabels([])
            axes.grid(axis="both", color=_STAND_IN["soft"], linewidth=0.5, alpha=0.45)
            axes.tick_params(length=0)
        figure.legend(loc="outside upper left", ncols=2, handlelength=1.2, columnspacing=1.4)
        return _svg(figure, "likeness")


def loss_curves(arms: Mapping[str, ArmResults]) -> str:
    """Training loss by step, on a logarithmic scale: a running median over the noisy steps behind it."""
    with _style():
        figure, axes = _axes(_NARROW, 2.8)
        for name, arm in arms.items():
            steps, values = np.array(arm.training.loss, dtype=float).T
            axes.plot(steps, values, color=_ARM_COLOUR[name], alpha=0.25, linewidth=0.8)
            axes.plot(steps, _running_median(values), color=_ARM_COLOUR[name], label=LABELS[name])
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axes.set_xlabel("training step")
        axes.set_ylabel("training loss")
        _finish(figure, axes, grid="y", legend=len(arms))
        return _svg(figure, "loss")


def validation_curves(arms: Mapping[str, ArmResults]) -> str:
    """Validation Dice by step; a ring marks the best, whose weights were kept."""
    with _style():
        figure, axes = _axes(_NARROW, 2.8)
        for name, arm in arms.items():
            if arm.training.validation:
                steps, values = np.array(arm.training.validation, dtype=float).T
                best = int(np.argmax(values))
                axes.plot(steps, values, color=_ARM_COLOUR[name], label=LABELS[name], marker="o", markersize=2.5)
                axes.plot(steps[best], values[best], "o", color=_ARM_COLOUR[name], markersize=8, markerfacecolor="none")
        axes.set_ylim(0, 1)
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axes.set_xlabel("training step")
        axes.set_ylabel("validation Dice")
        _finish(figure, axes, grid="y", legend=len(arms))
        return _svg(figure, "validation")


def timing_bars(arms: Mapping[str, ArmResults]) -> str:
    """Median milliseconds of one image, cut into stages, with the whole (and its 10-90 % range) as text."""
    stages = _running_order([list(arm.timing.stages) for arm in arms.values()])
    with _style():
        figure, axes = _axes(_WIDE, 1.1 + 0.36 * len(arms))
        for row, arm in enumerate(arms.values()):
            left = 0.0
            for index, stage in enumerate(stages):
                width = arm.timing.stages[stage].median if stage in arm.timing.stages else 0.0
                colour = _STAGE_COLOURS[index % len(_STAGE_COLOURS)]
                axes.barh(row, width, left=left, height=0.6, color=colour, label=stage if row == 0 else None)
                left += width
            total = arm.timing.total
            axes.text(max(left, total.median), row, f"  {total.median:.1f} ms", va="center")
        axes.set_yticks(range(len(arms)), [LABELS[name] for name in arms])
        axes.set_ylim(len(arms) - 0.5, -0.5)
        axes.set_xlim(0, 1.15 * max(arm.timing.total.p90 for arm in arms.values()))
        axes.set_xlabel("milliseconds for one image (median)")
        _finish(figure, axes, grid="x", legend=len(stages))
        return _svg(figure, "timing")


def standalone(svg: str) -> str:
    """A chart as the content of a file of its own: in the colours of the light theme, on white, for other programs."""
    theme = resources.files("syndiff.report").joinpath("style.html").read_text(encoding="utf-8")
    for variable in _VARIABLES:
        colour = re.search(rf"--{variable}: (#[0-9a-f]{{6}});", theme)  # the light theme stands first
        assert colour, f"style.html has no colour {variable}"
        svg = svg.replace(f"var(--{variable})", colour[1])
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    look = 'style="background: #ffffff" stroke-linejoin="round"'
    return '<?xml version="1.0" encoding="utf-8"?>\n' + svg.replace("<svg", f"<svg {names} {look}", 1)


def picture(image: NDArray) -> tuple[str, int, int]:
    """An image (HxWx3 uint8 or uint16) as a data URI of its `jpeg`, with width and height."""
    encoded, width, height = jpeg(image)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded).decode()}", width, height


def jpeg(image: NDArray, side: int = LONGEST_SIDE, quality: int = 88) -> tuple[bytes, int, int]:
    """An image (HxWx3 uint8 or uint16) as JPEG with its width and height, at most `side` pixels a side.

    16-bit images are scaled to their brightest value: they are often a narrow part of the range.
    """
    width, height = _shown_size(image, side)
    small = Image.fromarray(as_shown(image)).resize((width, height), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    small.save(encoded, "JPEG", quality=quality)
    return encoded.getvalue(), width, height


def contour_path(mask: NDArray[np.bool_]) -> str:
    """The boundary of a mask (HxW) as SVG path data, in the pixels of its `picture`; empty for an empty mask.

    Of the masks of several classes (KxHxW) those of all, one behind the other.
    """
    return "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in line) + "Z" for line in _contours(mask, LONGEST_SIDE))


def short_contour_path(mask: NDArray[np.bool_], side: int) -> str:
    """As `contour_path` with a longest side of `side`, in whole half pixels and a third of the letters."""
    path = []
    for line in _contours(mask, side):
        points = np.rint(line * 2).astype(int)
        steps = np.diff(points, axis=0)
        steps = steps[steps.any(axis=1)]
        along = np.r_[True, (steps[1:] != steps[:-1]).any(axis=1)]  # equal steps that follow one another become one
        steps = np.add.reduceat(steps, np.flatnonzero(along)) if len(steps) else steps
        path.append("M{} {}l".format(*points[0]) + " ".join(f"{x} {y}" for x, y in steps).replace(" -", "-") + "z")
    return "".join(path)


def _contours(mask: NDArray[np.bool_], side: int) -> list[NDArray]:
    """The boundary of a mask (HxW) at most `side` pixels a side: for each closed line its points (Nx2, x and y).

    Of several masks (KxHxW) the lines of each.
    """
    if mask.ndim == 3:
        return [line for each in mask for line in _contours(each, side)]
    shown = Image.fromarray(mask).convert("L").resize(_shown_size(mask, side), Image.Resampling.BOX)
    framed = np.pad(np.asarray(shown, dtype=np.float32) / 255, 1)  # closes contours at the image border
    lines = contourpy.contour_generator(z=framed, name="serial").lines(0.5)
    # A frame of one pixel was added, and pixel (0, 0) has its centre at (0.5, 0.5): together minus a half.
    return [np.asarray(line)[:-1] - 0.5 for line in lines]


def _shown_size(array: NDArray, side: int) -> tuple[int, int]:
    """Width and height at which an image or mask is shown."""
    height, width = array.shape[:2]
    scale = min(1.0, side / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _dice_by_group(arm: ArmResults) -> dict[str, list[float]]:
    """The Dice of every case by group, each case its own where no group is known."""
    scores: dict[str, list[float]] = {}
    for row in arm.rows:
        scores.setdefault(row.group or row.case, []).append(row.metrics.dice)
    return scores


def _running_order(orders: Sequence[Sequence[str]]) -> list[str]:
    """One order of all stages that keeps each predictor's own where they agree."""
    merged: list[str] = []
    for order in orders:
        position = 0
        for stage in order:
            if stage not in merged:
                merged.insert(position, stage)
            position = merged.index(stage) + 1
    return merged


def _running_median(values: NDArray) -> NDArray:
    """The median of each value and its neighbours, over a twentieth of the curve."""
    reach = max(1, len(values) // 40)
    return np.array([np.median(values[max(0, i - reach) : i + reach + 1]) for i in range(len(values))])


def _dots(axes: Axes, values: Sequence[float], row: float, colour: str, spread: float) -> None:
    """Dots at the values, moved up and down in a fixed pattern so that equal ones stay visible."""
    pattern = np.resize([0.0, 0.5, -0.5, 1.0, -1.0], len(values)) * spread
    axes.plot(sorted(values), row + pattern, "o", color=colour, markersize=3.6, alpha=0.45, markeredgewidth=0)


def _interval(axes: Axes, interval: Interval, row: float, colour: str, label: str | None) -> None:
    """A mean as a diamond, its interval as a line; nothing where the mean is not applicable."""
    if interval.mean is not None:
        axes.plot([interval.mean], [row], "D", color=colour, markersize=6, label=label)
    if interval.low is not None and interval.high is not None:
        axes.plot([interval.low, interval.high], [row, row], color=colour, linewidth=2)


def _style() -> AbstractContextManager[None]:
    return style.context(["default", _STYLE])


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _finish(figure: Figure, axes: Axes, *, grid: Literal["x", "y"], legend: int) -> None:
    """Light grid lines behind the data; `legend` entries in a row above it."""
    axes.grid(axis=grid, color=_STAND_IN["soft"], linewidth=0.5, alpha=0.45)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    if legend:
        figure.legend(loc="outside upper left", ncols=min(legend, 4), handlelength=1.2, columnspacing=1.4)


def _svg(figure: Figure, name: str) -> str:
    """The figure as an <svg> element to stand inside HTML; ids get a prefix, since a page has several."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r' xmlns(:\w+)?="[^"]*"|<style.*?</style>', "", text)
    text = re.sub(r' id="|url\(#|xlink:href="#', rf"\g<0>{name}-", text)
    for variable, colour in _STAND_IN.items():
        text = text.replace(colour, f"var(--{variable})")
    return text
