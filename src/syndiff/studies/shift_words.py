"""What `study shift` comes to: its table, its words and its picture."""

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from syndiff.errors import listed
from syndiff.evaluation.distribution import rank_correlation
from syndiff.evaluation.statistics import p_text
from syndiff.studies.choices import Side
from syndiff.studies.features import MEASURES, SPACES, VIEWS
from syndiff.studies.figures import INK, draw_interval
from syndiff.studies.grid import Conclusion, Findings
from syndiff.studies.words import ALPHA, SIDES, adjust, interval_text

STATISTICS = {
    "frechet": "Fréchet distance",
    "kernel": "kernel distance",
    "precision": "precision",
    "recall": "recall",
    "diversity": "mean distance of two",
    "duplicates": "near duplicates",
    "joined": "kernel distance, real + new",
}
CLASSIFIER = "told apart by a classifier"
_STYLES = {"-": "solid", "--": "dashed", ":": "dotted", "-.": "dash-dotted"}


def conclude(found: Findings, dice: Mapping[str, float], *, side: Side) -> Conclusion:
    """Every measure of every level against real cases, and which of them go along with the Dice of a ratio study."""
    levels = {cell.level: dict(outcome.scores) for cell, outcome in found}
    rows = _rows(levels)
    correlations = _correlations(rows, levels, dice)
    words = [_verdict(level, levels[level]) for level in _largest(levels)]
    first = next(iter(levels.values()))
    words.append(
        f"{first['real']} real training cases of {first['groups']} groups. Differences are to real cases of other "
        "groups, at equal sizes. Each interval stands for itself: of twenty differences that are none, about one looks "
        "like one. A set's first cases are made like its last ones: with their number only the distance of real and "
        "new ones together has to change; all else gets surer."
    )
    words += [_correlated(correlations, levels, dice, side)] if dice else []
    content = {"levels": levels, "dice": dict(dice), "correlations": correlations}
    return Conclusion(_as_markdown(rows, levels, correlations), " ".join(words), content, _draw(levels))


def _rows(levels: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any] | None]]:
    """Each measure's name and what was found at each level."""
    rows: dict[str, list[Mapping[str, Any] | None]] = {}
    for view in VIEWS:
        for space in SPACES:
            for name, called in {**STATISTICS, "classifier": CLASSIFIER}.items():
                rows[f"{view}, {space}: {called}"] = [each[f"{view}/{space}"][name] for each in levels.values()]
    return rows | {f"lesion: {name}": [each["measures"][name] for each in levels.values()] for name in MEASURES}


def _largest(levels: Mapping[str, Any]) -> list[str]:
    """Of each set its largest part."""
    last: dict[str, str] = {}
    for level in sorted(levels, key=lambda name: levels[name]["count"]):
        last[_set(level)] = level
    return list(last.values())


def _correlations(rows: Mapping[str, Any], levels: Mapping[str, Any], dice: Mapping[str, float]) -> dict[str, Any]:
    """Spearman's correlation of each measure with the difference in Dice over the levels, p after Holm."""
    known = [index for index, level in enumerate(levels) if level in dice]
    gains = [dice[level] for index, level in enumerate(levels) if index in known]
    found: dict[str, Any] = {}
    if gains:
        columns: dict[str, list[float | None]] = {"number of cases": [each["count"] for each in levels.values()]}
        columns |= {name: [each["mean"] if each else None for each in row] for name, row in rows.items()}
        for name, values in columns.items():
            there = [(values[index], gain) for index, gain in zip(known, gains, strict=True)]
            pairs = [(value, gain) for value, gain in there if value is not None]
            rho, p_value = rank_correlation(*zip(*pairs, strict=True)) if pairs else (None, None)
            found[name] = {"mean": rho, "p_value": p_value, "points": len(pairs)}
        adjust([each for name, each in found.items() if name != "number of cases"])
    return found


def _verdict(level: str, found: Mapping[str, Any]) -> str:
    """Of one level what the kernel distance and the classifier say, for lesions and for frames."""
    told = []
    for view in VIEWS:
        said = [f"{_placed(found[f'{view}/{space}']['kernel'])} by {space} features" for space in SPACES]
        hit = found[f"{view}/encoder"]["classifier"]
        right = f"; a classifier is right in {interval_text(hit)} of cases (chance: .500)" if hit else ""
        told.append(f"{view.capitalize()}s: {listed(said)}{right}.")
    count, comma, of = level.partition(", ")
    return f"{count} synthetic cases{comma}{of} against real ones, by kernel distance. {' '.join(told)}"


def _placed(difference: Mapping[str, Any]) -> str:
    """Whether new pictures are farther from real ones than those of other patients are, in words."""
    low, high, shown = difference["low"], difference["high"], interval_text(difference, sign="+")
    if low is None:
        return "too few cases to say"
    if low <= 0 <= high:
        return f"not shown to differ from other patients ({shown})"
    return f"{'farther off' if low > 0 else 'nearer'} than other patients ({shown})"


def _correlated(found: Mapping[str, Any], levels: Mapping[str, Any], dice: Mapping[str, float], side: Side) -> str:
    """Which measures go along with the Dice, and how much that can mean."""
    points = sum(level in dice for level in levels)
    if points < 3:
        return f"Only {points} numbers have a Dice: expected three or more for a rank correlation."
    least = 2 / math.factorial(points)
    sure = [name for name, each in found.items() if each.get("p_adjusted", 1.0) <= ALPHA]
    rows = sum("p_adjusted" in each for each in found.values())
    told = (
        f"Rank correlations with the {SIDES[side]} Dice of the ratio study stand on {points} points. With as many, p "
        f"cannot fall below {least:.2g}, and after Holm for {rows} measures not below {min(1.0, least * rows):.2g}"
    )
    number = found["number of cases"]["mean"]
    beside = "" if number is None else f" That of the number of cases itself is {number:+.2f}: what only grows with it"
    beside += "" if number is None else " cannot be told from it."
    if not sure:
        return f"{told}: that any of them goes along with the Dice could not be shown.{beside}"
    return f"{told}. After that {listed(sure)} go{'es' if len(sure) == 1 else ''} along with it.{beside}"


def _as_markdown(rows: Mapping[str, Any], levels: Mapping[str, Any], correlations: Mapping[str, Any]) -> str:
    """A row for each measure: new and real at the largest number, and the difference at each."""
    last = list(levels).index(_largest(levels)[0])
    heads = ["measure", f"new / real ({list(levels)[last]})", *(f"{level}: new - real" for level in levels)]
    heads += ["rank correlation with Dice", "p (Holm)"] if correlations else []
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, row in rows.items():
        each, hit = row[last], CLASSIFIER in name
        shown = "" if each is None or each["mean"] is None else f"{each['mean']:.3f} / .500"
        if each and not hit and each["value"] is not None:
            shown = f"{each['value']:.3f} / {each['reference']:.3f}"
        cells_ = [name, shown, *(interval_text(one, sign="" if hit else "+") for one in row)]
        if correlations:
            found = correlations[name]
            cells_ += ["" if found["mean"] is None else f"{found['mean']:+.2f}", p_text(found.get("p_adjusted"))]
        lines.append(f"| {' | '.join(cells_)} |")
    return "\n".join(lines) + "\n"


def _draw(levels: Mapping[str, Any]) -> Figure:
    """A part for each measure: the difference to real cases over the number, a colour for each view and space."""
    figure = Figure(figsize=(10, 8.4), layout="constrained")
    panels = {**STATISTICS, "classifier": CLASSIFIER, "measures": "measures of lesions, distance in SD"}
    spaces = [f"{view}/{space}" for view in VIEWS for space in SPACES]
    counts = sorted({each["count"] for each in levels.values()})
    for axes, (name, title) in zip(figure.subplots(3, 3).flat, panels.items(), strict=True):
        axes.axhline(0.5 if name == "classifier" else 0, color=INK, linewidth=0.8)
        keys = [("measures", one) for one in MEASURES] if name == "measures" else [(one, name) for one in spaces]
        for index, (where, what) in enumerate(keys):
            colour = f"C{index + (len(spaces) if name == 'measures' else 0)}"
            beside = 0.02 * counts[-1] * (index - len(keys) / 2 + 0.5)  # so that no bar hides another
            _lines(axes, levels, where, what, beside, colour)
        axes.set_title(title, fontsize=9)
        axes.set_xticks(counts, [str(count) for count in counts])
        if name in ("frechet", "measures"):
            axes.legend(fontsize=7)
    named = zip(dict.fromkeys(map(_set, levels)), _STYLES.values(), strict=False)
    styles = "".join(f"; {one}: {style}" for one, style in named if one)
    figure.supxlabel(f"synthetic cases (new - real; bars: 95 %{styles})", fontsize=9)
    return figure


def _lines(axes: Any, levels: Mapping[str, Any], where: str, what: str, beside: float, colour: str) -> None:
    """One measure over the number of cases: a line for each set."""
    label: str | None = what if where == "measures" else where.replace("/", ", ")
    for one, style in zip(dict.fromkeys(map(_set, levels)), _STYLES, strict=False):
        found = [(each["count"] + beside, each[where][what]) for level, each in levels.items() if _set(level) == one]
        there = sorted(
            ((at, each) for at, each in found if each and each["mean"] is not None), key=lambda pair: pair[0]
        )
        places, means = [at for at, _ in there], [each["mean"] for _, each in there]
        axes.plot(places, means, style, color=colour, linewidth=1, label=label)
        for at, each in there:
            draw_interval(axes, each, at, colour=colour, size=3)
        label = None  # once is enough


def _set(level: str) -> str:
    """Which set a level is of, where there are several."""
    return level.partition(", ")[2]
