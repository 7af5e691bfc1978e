"""The pictures of studies, as SVG."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from syndiff.files import write_bytes

INK, ACCENT = "#555555", "#1f5f8b"


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as SVG; the same figure gives the same bytes."""
    content = io.BytesIO()
    with rc_context({"svg.hashsalt": "syndiff", "svg.fonttype": "none"}):
        figure.savefig(content, format="svg", metadata={"Date": None})
    write_bytes(path, content.getvalue())


def draw_differences(content: Mapping[str, Mapping[str, Any]], reference: str, what: str = "Dice") -> Figure:
    """The difference of each arm of `tabulate` to the reference, with its interval and a dot for each repeat."""
    arms = [name for name in content if name != reference]
    figure = Figure(figsize=(7, 1.3 + 0.38 * max(1, len(arms))), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color=INK, linewidth=0.8)
    for row, name in enumerate(arms):
        found = content[name]["difference"][what.lower()]
        pairs = zip(content[name]["repeats"], content[reference]["repeats"], strict=False)
        dots = [ours - theirs for ours, theirs in pairs]
        axes.plot(dots, [row] * len(dots), "o", color=INK, alpha=0.35, markersize=4)
        draw_interval(axes, found, row, across=True)
    axes.set_yticks(range(len(arms)), arms)
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_xlabel(f"{what} - {reference} (line: 95 % interval over groups; dots: single trainings)", fontsize=8)
    return figure


def draw_interval(
    axes: Any, found: Mapping[str, Any], at: float, *, across: bool = False, colour: str = ACCENT, size: float = 6
) -> None:
    """A mean as a dot of `size` points at the place `at`, its interval as a line: upright, or `across`."""
    if found["mean"] is None:
        return
    low, high = found["low"], found["high"]
    if low is not None:
        ends = ([low, high], [at, at]) if across else ([at, at], [low, high])
        axes.plot(*ends, color=colour, linewidth=size / 3)
    axes.plot(*([found["mean"]], [at]) if across else ([at], [found["mean"]]), "o", color=colour, markersize=size)


def draw_lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[Mapping[str, Any]]]],
    *,
    xlabel: str,
    ticks: Sequence[float] = (),
    scale: str = "linear",
) -> Figure:
    """Mean Dice over a number, one line a series, with the intervals; `ticks` are the numbers that are written."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    for index, (name, (places, found)) in enumerate(series.items()):
        colour = f"C{index}"
        axes.plot(places, [each["mean"] for each in found], color=colour, label=name, linewidth=1)
        for place, each in zip(places, found, strict=True):
            draw_interval(axes, each, place, colour=colour)
    axes.set(xlabel=xlabel, ylabel="mean Dice")
    if ticks:
        axes.set_xscale(scale)
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
    if len(series) > 1:
        figure.legend(loc="outside upper center", ncols=2)
    return figure
