"""Arms side by side: what each scored over its repeats, and how it differs from one of them, case by case."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from syndiff.evaluation.evaluate import CaseRow
from syndiff.evaluation.statistics import bootstrap_mean, paired_difference
from syndiff.studies.cells import interval_text, mean_dice

METRICS = {"dice": 3, "iou": 3, "hd95": 1}
"""What the table shows, with its decimals."""


def tabulate(tables: Mapping[str, Sequence[Sequence[CaseRow]]], reference: str) -> dict[str, Any]:
    """Means over cases with intervals over groups, and differences to the arm `reference`.

    `tables` has the rows of every arm in each of its repeats. A case counts once, with its average over the repeats in
    which it was scored; all arms must have scored the same cases in each repeat.
    """
    groups = {row.case: row.group for repeat in tables[reference] for row in repeat}
    averaged = {name: {metric: _averages(repeats, metric) for metric in METRICS} for name, repeats in tables.items()}
    content: dict[str, Any] = {}
    for name, repeats in tables.items():
        assert averaged[name]["dice"].keys() == groups.keys(), "every arm scores the same cases"
        means = {metric: bootstrap_mean([*of.values()], [*groups.values()]) for metric, of in averaged[name].items()}
        content[name] = {
            "repeats": [mean_dice(rows) for rows in repeats],
            **{metric: vars(interval) for metric, interval in means.items()},
        }
        if name != reference:
            content[name]["difference"] = {
                metric: vars(
                    paired_difference(
                        [of[case] for case in groups],
                        [averaged[reference][metric][case] for case in groups],
                        [*groups.values()],
                    )
                )
                for metric, of in averaged[name].items()
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


def _averages(repeats: Sequence[Sequence[CaseRow]], metric: str) -> dict[str, float | None]:
    """The metric of each case, averaged over the repeats in which it applies."""
    values: dict[str, list[float]] = {}
    for rows in repeats:
        for row in rows:
            found = getattr(row.metrics, metric)
            values.setdefault(row.case, []).extend([] if found is None else [found])
    return {case: float(np.mean(found)) if found else None for case, found in values.items()}
