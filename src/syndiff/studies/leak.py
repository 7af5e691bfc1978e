"""What `study leak` comes to: scores under splits that leak beside those under splits by group."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from syndiff.evaluation.evaluate import CaseRow
from syndiff.evaluation.statistics import bootstrap, p_text, p_words, paired_difference, score_interval
from syndiff.studies.figures import INK, draw_interval
from syndiff.studies.grid import Conclusion
from syndiff.studies.scoring import mean_case_dice
from syndiff.studies.words import adjust, interval_text, sample_text

_Cases = Mapping[str, tuple[float, str | None]]
"""The average Dice of each case, and its group."""

_Item = tuple[bool, float]
"""Whether it is of the leaky split, and a case's Dice."""


def conclude(
    tables: Mapping[str, Sequence[Sequence[CaseRow]]],
    pairs: Mapping[str, str],
    sizes: Mapping[str, Sequence[int]],
    *,
    side: str,
) -> Conclusion:
    """Each leaky level of `pairs` beside its level by group; `sizes` are their numbers of training cases.

    A case counts once in a level, with its average over the splits that scored it. The leak is the difference of the
    means of all scored cases, as they would be published, in an interval that draws whole groups with their cases of
    both levels; and the paired difference over the cases that both have scored, which has a p-value.
    """
    cases = {level: _by_case(repeats) for level, repeats in tables.items()}
    content: dict[str, Any] = {}
    for level, found in cases.items():
        values, groups = [value for value, _ in found.values()], [group for _, group in found.values()]
        content[level] = {
            "dice": vars(score_interval(values, groups)),
            "repeats": [mean_case_dice(rows) for rows in tables[level]],
            "training_cases": list(sizes[level]),
        }
    there = {leaky: honest for leaky, honest in pairs.items() if leaky in cases and honest in cases}
    for leaky, honest in there.items():
        content[leaky] |= {
            "leak": vars(_leak(cases[leaky], cases[honest])),
            "same_cases": vars(_same_cases(cases[leaky], cases[honest])),
        }
    adjust([content[leaky]["same_cases"] for leaky in there])
    words = [_verdict(leaky, honest, content) for leaky, honest in there.items()]
    first = content[next(iter(cases))]
    words.append(sample_text(first["dice"], side, len(first["repeats"])))
    return Conclusion(_as_markdown(content), " ".join(words), {"side": side, "levels": content}, _draw(content))


def _by_case(repeats: Sequence[Sequence[CaseRow]]) -> dict[str, tuple[float, str | None]]:
    """The average Dice of each case, and its group."""
    found: dict[str, list[float]] = {}
    groups = {row.case: row.group for rows in repeats for row in rows}
    for row in (row for rows in repeats for row in rows):
        found.setdefault(row.case, []).append(row.metrics.dice)
    return {case: (float(np.mean(values)), groups[case]) for case, values in found.items()}


def _leak(leaky: _Cases, honest: _Cases) -> Any:
    """The difference of the two means; whole groups are drawn, each with its cases of both."""
    sides = ((True, leaky), (False, honest))
    items = [(is_leaky, value, group) for is_leaky, of in sides for value, group in of.values()]

    def difference(part: Sequence[_Item]) -> float | None:
        ours = [value for is_leaky, value in part if is_leaky]
        theirs = [value for is_leaky, value in part if not is_leaky]
        return float(np.mean(ours) - np.mean(theirs)) if ours and theirs else None

    return bootstrap([(is_leaky, value) for is_leaky, value, _ in items], [group for _, _, group in items], difference)


def _same_cases(leaky: _Cases, honest: _Cases) -> Any:
    both = [case for case in leaky if case in honest]
    ours, theirs = ([of[case][0] for case in both] for of in (leaky, honest))
    return paired_difference(ours, theirs, [leaky[case][1] for case in both])


def _verdict(leaky: str, honest: str, content: Mapping[str, Any]) -> str:
    """What the leak adds, in words that follow its interval."""
    found, same = content[leaky]["leak"], content[leaky]["same_cases"]
    ours, theirs = (content[level]["dice"]["mean"] for level in (leaky, honest))
    means = f"{ours:.3f} under the {leaky}, {theirs:.3f} under the {honest}"
    shown = interval_text(found, sign="+")
    if found["low"] is None:
        told = f"The leak adds {shown}, without an interval ({found['note']})."
    elif found["low"] > 0:
        told = f"Of the first, {interval_text(found)} is what the leak adds."
    elif found["high"] < 0:
        told = f"The leaky split is the harder one here: {shown}."
    else:
        told = f"That the leak adds anything could not be shown: {shown}."
    p_value = same.get("p_adjusted", same["p_value"])
    chance = "" if p_value is None else f", {p_words(p_value)}"
    paired = f" On the {same['cases']} cases scored under both: {interval_text(same, sign='+')}{chance}."
    return f"Dice: {means}. {told}{paired if same['cases'] else ' No case was scored under both.'}"


def _as_markdown(content: Mapping[str, Any]) -> str:
    heads = ["split", "training cases", "scored cases", "groups", "Dice", "leak", "on the same cases", "p"]
    heads.append("Dice of the splits")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for level, row in content.items():
        same = row.get("same_cases", {})
        cells = [
            level,
            ", ".join(map(str, dict.fromkeys(row["training_cases"]))),
            str(row["dice"]["cases"]),
            str(row["dice"]["groups"]),
            interval_text(row["dice"]),
            interval_text(row.get("leak"), sign="+"),
            interval_text(same or None, sign="+"),
            p_text(same.get("p_adjusted", same.get("p_value"))),
            ", ".join(f"{value:.3f}" for value in row["repeats"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _draw(content: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(6.4, 1.3 + 0.42 * len(content)), layout="constrained")
    axes = figure.subplots()
    for row, (level, found) in enumerate(content.items()):
        draw_interval(axes, found["dice"], row, across=True, colour="C0" if level.startswith("group") else "C3")
        axes.plot(found["repeats"], [row] * len(found["repeats"]), "o", color=INK, alpha=0.35, markersize=4)
    axes.set_yticks(range(len(content)), list(content))
    axes.set_ylim(len(content) - 0.5, -0.5)
    axes.set_xlabel("mean Dice (line: 95 % over groups; small dots: single splits)")
    return figure
