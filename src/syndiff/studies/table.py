"""Arms side by side: what each scored over its repeats, and how it differs from one of them, case by case."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from syndiff.evaluation.evaluate import CaseRow, metric_interval, side_by_side
from syndiff.evaluation.statistics import p_text, paired_difference
from syndiff.studies.figures import draw_differences
from syndiff.studies.grid import Conclusion
from syndiff.studies.scoring import mean_case_dice
from syndiff.studies.words import adjust, interval_text, sample_text, verdicts

METRICS = {"dice": 3, "iou": 3, "hd95": 1}
"""What the table shows, with its decimals."""


def conclude_arms(
    tables: Mapping[str, Sequence[Sequence[CaseRow]]],
    reference: str,
    about: Mapping[str, Any],
    *,
    side: str,
    added: Mapping[str, int] | None = None,
) -> Conclusion:
    """The conclusion of a study of trainings: `tabulate`, its table, its words and its picture.

    about: what the JSON says of the study itself. added: how many cases each arm has beside the real ones.
    """
    content = tabulate(tables, reference)
    if added is not None:
        content = {name: {"added": added[name], **arm} for name, arm in content.items()}
    differences = {name: arm["difference"]["dice"] for name, arm in content.items() if name != reference}
    repeats = max(len(arm["repeats"]) for arm in content.values())
    words = f"Dice. {verdicts(differences, reference)} {sample_text(content[reference]['dice'], side, repeats)}"
    return Conclusion(
        as_markdown(content, reference), words, {**about, "arms": content}, draw_differences(content, reference)
    )


def tabulate(tables: Mapping[str, Sequence[Sequence[CaseRow]]], reference: str) -> dict[str, Any]:
    """Means over cases with intervals over groups, and differences to the arm `reference`.

    `tables` has the rows of every arm in each of its repeats. A case counts once, with its average over the repeats in
    which it was scored; all arms must have scored the same cases in each repeat. Where there are several differences,
    their p-values have Holm's adjusted ones beside them, one family for each metric.
    """
    content: dict[str, Any] = {}
    for name, repeats in tables.items():
        groups = [*{row.case: row.group for rows in repeats for row in rows}.values()]
        means = {metric: metric_interval(metric, averages([repeats], metric)[0], groups) for metric in METRICS}
        content[name] = {
            "repeats": [mean_case_dice(rows) for rows in repeats],
            **{metric: vars(interval) for metric, interval in means.items()},
        }
        if name != reference:
            pairs = {metric: averages([repeats, tables[reference]], metric) for metric in METRICS}
            content[name]["difference"] = {
                metric: vars(paired_difference(ours, theirs, groups, distances=metric == "hd95"))
                for metric, (ours, theirs) in pairs.items()
            }
    for metric in METRICS:
        adjust([arm["difference"][metric] for name, arm in content.items() if name != reference])
    return content


def as_markdown(content: dict[str, Any], reference: str) -> str:
    """One row an arm: the means, how each differs from `reference`, and its `added` cases where it has a count.

    The p-value of the difference in Dice is Holm's where there are several.
    """
    counted = ["added"] if "added" in content[reference] else []
    several = "p (Holm)" if len(content) > 2 else "p"
    heads = ["arm", *counted, "Dice", f"Dice - {reference}", several, "IoU", "HD95, pixels", f"HD95 - {reference}"]
    heads.append("Dice of the repeats")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, arm in content.items():
        differs = arm.get("difference", {})
        dice = differs.get("dice", {})
        cells = [
            name,
            *(str(arm[head]) for head in counted),
            interval_text(arm["dice"], 3),
            interval_text(differs.get("dice"), 3, sign="+"),
            p_text(dice.get("p_adjusted", dice.get("p_value"))),
            interval_text(arm["iou"], 3),
            interval_text(arm["hd95"], 1),
            interval_text(differs.get("hd95"), 1, sign="+"),
            ", ".join(f"{value:.3f}" for value in arm["repeats"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def averages(tables: Sequence[Sequence[Sequence[CaseRow]]], metric: str) -> list[list[float | None]]:
    """The metric of every case in each of `tables`, averaged over the repeats that scored it, as the first has them.

    `side_by_side` says what a case without a lesion counts, here over all repeats of these tables and no others.
    """
    found: dict[str, list[list[CaseRow]]] = {}
    for number, repeats in enumerate(tables):
        for row in (row for rows in repeats for row in rows):
            found.setdefault(row.case, [[] for _ in tables])[number].append(row)
    found_averages: list[list[float | None]] = [[] for _ in tables]
    for arms in found.values():
        assert len({len(rows) for rows in arms}) == 1, "all arms score the same cases in each repeat"
        values = iter(side_by_side([[row] for rows in arms for row in rows], metric))
        for average, rows in zip(found_averages, arms, strict=True):
            scores = [value for _ in rows for value in next(values) if value is not None]
            average.append(float(np.mean(scores)) if scores else None)
    return found_averages
