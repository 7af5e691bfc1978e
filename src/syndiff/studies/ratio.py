"""What `study ratio` comes to: a curve over the number of synthetic cases, and where its best point lies."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from syndiff.evaluation.evaluate import CaseRow
from syndiff.evaluation.statistics import p_text
from syndiff.studies.crossed import Crossed
from syndiff.studies.figures import INK, draw_lines
from syndiff.studies.grid import Conclusion
from syndiff.studies.table import METRICS, tabulate
from syndiff.studies.words import interval_text, sample_text, verdicts


def conclude(
    tables: Mapping[str, Sequence[Sequence[CaseRow]]],
    counts: Mapping[str, int],
    reference: str,
    *,
    side: str,
    real: int,
) -> Conclusion:
    """`tables` are the rows of each level in its repeats; `counts` its synthetic cases beside `real` training cases.

    Intervals are over groups and trainings together (`Crossed`); p is that of the paired test over groups, after Holm.
    """
    content, crossed = tabulate(tables, reference), Crossed.of(tables)
    shares = crossed.best()
    several = content[reference]["dice"]["groups"] > 1
    for level, arm in content.items():
        arm |= {"added": counts[level], "best": shares[level] if several else None}
        if several:
            arm["over_groups_and_trainings"] = {"dice": crossed.interval(level)}
            if level != reference:
                arm["over_groups_and_trainings"]["difference"] = crossed.interval(level, reference)
    differences = {
        _named(level): {
            **arm["difference"]["dice"],
            **arm.get("over_groups_and_trainings", {}).get("difference", {}),
        }
        for level, arm in content.items()
        if level != reference
    }
    words = [f"Dice beside {real} real training cases. {verdicts(differences, 'none')}"]
    words += [crossed.best_text(_named)] if several else []
    words.append(sample_text(content[reference]["dice"], side, len(content[reference]["repeats"])))
    about = {"side": side, "real": real, "arms": content}
    return Conclusion(_as_markdown(content, reference), " ".join(words), about, _draw(content))


def _named(level: str) -> str:
    count, comma, gates = level.partition(", ")
    return f"{count} synthetic cases{comma}{gates}"


def _as_markdown(content: Mapping[str, Any], reference: str) -> str:
    heads = ["synthetic cases", "Dice", f"Dice - {reference}", "p (Holm)" if len(content) > 2 else "p", "best in"]
    heads += ["IoU", "HD95, pixels", "Dice of the repeats"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for level, arm in content.items():
        wide, differs = arm.get("over_groups_and_trainings", {}), arm.get("difference", {}).get("dice", {})
        cells = [
            level,
            interval_text(wide.get("dice", arm["dice"])),
            interval_text(wide.get("difference", differs or None), sign="+"),
            p_text(differs.get("p_adjusted", differs.get("p_value"))),
            "" if arm["best"] is None else f"{arm['best']:.0%}",
            *(interval_text(arm[metric], METRICS[metric]) for metric in ("iou", "hd95")),
            ", ".join(f"{value:.3f}" for value in arm["repeats"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _draw(content: Mapping[str, Any]) -> Figure:
    """Dice over the number of synthetic cases; a dot for each training."""
    modes = list(dict.fromkeys(level.partition(", ")[2] for level in content if ", " in level)) or [""]
    first, *others = content.items()
    series: dict[str, Any] = {}
    dots: list[tuple[float, list[float]]] = []
    for index, mode in enumerate(modes):
        arms = [first[1], *(arm for level, arm in others if level.partition(", ")[2] == mode)]
        beside = 0.012 * index * max(arm["added"] for arm in arms)  # so that no bar hides another
        places = [arm["added"] + beside for arm in arms]
        found = [arm.get("over_groups_and_trainings", {}).get("dice", arm["dice"]) for arm in arms]
        series[mode] = (places, found)
        dots += [(place, arm["repeats"]) for place, arm in zip(places, arms, strict=True)]
    xlabel = "synthetic cases (bars: 95 % over groups and trainings; dots: trainings)"
    figure = draw_lines(series, xlabel=xlabel, ticks=sorted({arm["added"] for arm in content.values()}))
    for place, trained in dots:
        figure.axes[0].plot([place] * len(trained), trained, "o", color=INK, alpha=0.35, markersize=4)
    return figure
