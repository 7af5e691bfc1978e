"""Arms side by side: what each scored over its repeats, and how it differs from one of them, case by case."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from syndiff.evaluation.evaluate import CaseRow, metric_interval, side_by_side
from syndiff.evaluation.statistics import paired_difference
from syndiff.studies.cells import interval_text, mean_case_dice

METRICS = {"dice": 3, "iou": 3, "hd95": 1}
"""What the table shows, with its decimals."""


def tabulate(tables: Mapping[str, Sequence[Sequence[CaseRow]]], reference: str) -> dict[str, Any]:
    """Means over cases with intervals over groups, and differences to the arm `reference`.

    `tables` has the rows of every arm in each of its repeats. A case counts once, with its average over the repeats in
    which it was scored; all arms must have scored the same cases in each repeat.
    """
    content: dict[str, Any] = {}
    for name, repeats in tables.items():
        groups = [*{row.case: row.group for rows in repeats for row in rows}.values()]
        means = {metric: metric_interval(metric, _averages([repeats], metric)[0], groups) for metric in METRICS}
        content[name] = {
            "repeats": [mean_case_dice(rows) for rows in repeats],
            **{metric: vars(interval) for metric, interval in means.items()},
        }
        if name != reference:
            pairs = {metric: _averages([repeats, tables[reference]], metric) for metric in METRICS}
            content[name]["difference"] = {
                metric: vars(paired_difference(ours, theirs, groups, distances=metric == "hd95"))
                for metric, (ours, theirs) in pairs.items()
            }
    return content


def as_markdown(content: dict[str, Any], reference: str) -> str:
    """One row an arm: the means, how each differs from `reference`, and its `added` cases where it has a count."""
    counted = ["added"] if "added" in content[reference] else []
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


def _averages(tables: Sequence[Sequence[Sequence[CaseRow]]], metric: str) -> list[list[float | None]]:
    """The metric of every case in each of `tables`, averaged over the repeats that scored it, as the first has them.

    `side_by_side` says what a case without a lesion counts, here over all repeats of these tables and no others.
    """
    found: dict[str, list[list[CaseRow]]] = {}
    for number, repeats in enumerate(tables):
        for row in (row for rows in repeats for row in rows):
            found.setdefault(row.case, [[] for _ in tables])[number].append(row)
    averages: list[list[float | None]] = [[] for _ in tables]
    for arms in found.values():
        assert len({len(rows) for rows in arms}) == 1, "all arms score the same cases in each repeat"
        values = iter(side_by_side([[row] for rows in arms for row in rows], metric))
        for average, rows in zip(averages, arms, strict=True):
            scores = [value for _ in rows for value in next(values) if value is not None]
            average.append(float(np.mean(scores)) if scores else None)
    return averages
