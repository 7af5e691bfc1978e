"""Arms side by side: what each scored over its repeats, and how it differs from one of them, case by case."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from syndiff.evaluation.evaluate import CaseRow, side_by_side
from syndiff.evaluation.statistics import bootstrap_mean, paired_difference
from syndiff.studies.cells import interval_text, mean_dice

METRICS = {"dice": 3, "iou": 3, "hd95": 1}
"""What the table shows, with its decimals."""


def tabulate(tables: Mapping[str, Sequence[Sequence[CaseRow]]], reference: str) -> dict[str, Any]:
    """Means over cases with intervals over groups, and differences to the arm `reference`.

    `tables` has the rows of every arm in each of its repeats. A case counts once, with its average over the repeats in
    which it was scored; all arms must have scored the same cases in each repeat.
    """
    groups = {row.case: row.group for repeat in next(iter(tables.values())) for row in repeat}
    averaged = {metric: _averages(tables, metric) for metric in METRICS}
    content: dict[str, Any] = {}
    for name, repeats in tables.items():
        means = {metric: bootstrap_mean(arms[name], [*groups.values()]) for metric, arms in averaged.items()}
        content[name] = {
            "repeats": [mean_dice(rows) for rows in repeats],
            **{metric: vars(interval) for metric, interval in means.items()},
        }
        if name != reference:
            content[name]["difference"] = {
                metric: vars(paired_difference(arms[name], arms[reference], [*groups.values()]))
                for metric, arms in averaged.items()
            }
    return content


def as_markdown(content: dict[str, Any], reference: str) -> str:
    """One row an arm: the means, how each differs from `reference`, and its `painted` cases where it has a count."""
    counted = ["painted"] if "painted" in content[reference] else []
    heads = ["arm", *counted, "Dice", f"Dice - {reference}", "IoU", "HD95, pixels", f"HD95 - {reference}"]
    heads.append("Dice of the repeats")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, arm in content.items():
        differs = arm.get("difference", {})
        cells = [
            name,
            *(str(arm[head]) for head in counted),
            interval_text(arm["dice"], 3),
            interval_text(differs.get("dice"), 3, sign="+"),
            interval_text(arm["iou"], 3),
            interval_text(arm["hd95"], 1),
            interval_text(differs.get("hd95"), 1, sign="+"),
            ", ".join(f"{value:.3f}" for value in arm["repeats"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _averages(tables: Mapping[str, Sequence[Sequence[CaseRow]]], metric: str) -> dict[str, list[float | None]]:
    """The metric of every case in each arm, averaged over the repeats that scored it, cases as the first arm has them.

    `side_by_side` says what a case without a lesion counts, here over all arms and repeats.
    """
    found: dict[str, dict[str, list[CaseRow]]] = {}
    for name, repeats in tables.items():
        for row in (row for rows in repeats for row in rows):
            found.setdefault(row.case, {}).setdefault(name, []).append(row)
    averages: dict[str, list[float | None]] = {name: [] for name in tables}
    for arms in found.values():
        assert arms.keys() == tables.keys() and len({len(rows) for rows in arms.values()}) == 1, "all score the same"
        values = iter(side_by_side([[row] for rows in arms.values() for row in rows], metric))
        for name, rows in arms.items():
            scores = [value for _ in rows for value in next(values) if value is not None]
            averages[name].append(float(np.mean(scores)) if scores else None)
    return averages
