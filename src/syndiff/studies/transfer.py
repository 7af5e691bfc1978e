"""What `study transfer` comes to: the matrix of what was trained on against what was tested on."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from syndiff.data.dataset import Dataset
from syndiff.errors import SyndiffError
from syndiff.evaluation.evaluate import CaseRow, metric_interval
from syndiff.evaluation.statistics import p_words, paired_difference
from syndiff.pipeline.provenance import folder_name
from syndiff.studies.grid import Conclusion, Findings
from syndiff.studies.table import METRICS, averages
from syndiff.studies.words import adjust, holm_text, interval_text, sample_text, verdict


def check_apart(datasets: Sequence[Dataset]) -> None:
    """Raise SyndiffError for two datasets of one name, or with a picture in common."""
    names: dict[str, Dataset] = {}
    pictures: dict[str, tuple[Dataset, str]] = {}
    for dataset in datasets:
        other = names.setdefault(folder_name(dataset.name), dataset)
        if other is not dataset:
            raise SyndiffError(
                f"{dataset.root} and {other.root} are both called {dataset.name}; give each a name of its own in its "
                "dataset.json, and each folder once."
            )
        for case in dataset.cases:
            there, known = pictures.setdefault(dataset.content(case), (dataset, case.id))
            if there is not dataset:
                raise SyndiffError(
                    f"{dataset.root} and {there.root} have a picture in common ({case.id} and {known}), so that one "
                    "cannot test what was trained on the other; remove it from one of them."
                )


def conclude(found: Findings, *, side: str, seed: int) -> Conclusion:
    """Dice of each pair; for each tested dataset the paired difference to the segmenter that was trained at home."""
    tables: dict[str, dict[str, list[list[CaseRow]]]] = {}
    for cell, outcome in found:
        for name in outcome.tables:
            tables.setdefault(name or cell.level, {}).setdefault(cell.level, []).append(outcome.rows(name))
    content: dict[str, Any] = {}
    for tested, by_training in tables.items():
        content[tested] = {trained: _cell(rows) for trained, rows in by_training.items()}
        for trained, rows in by_training.items():
            if trained != tested and tested in by_training:
                home = by_training[tested]
                ours, theirs = averages([rows, home], "dice")
                groups = [*{row.case: row.group for part in rows for row in part}.values()]
                content[tested][trained]["difference"] = vars(paired_difference(ours, theirs, groups))
    differences = [each["difference"] for row in content.values() for each in row.values() if "difference" in each]
    adjust(differences)
    words = [
        verdict(each["difference"], f"On {tested}, trained on {trained}", "training at home")
        for tested, row in content.items()
        for trained, each in row.items()
        if "difference" in each
    ]
    words.append(holm_text(differences))
    for tested, row in content.items():
        first = next(iter(row.values()))
        words.append(f"{tested}: {sample_text(first['dice'], side, len(first['repeats']))}")
    if side == "val":
        words.append("The segmenter at home has its checkpoint chosen on these very cases, which flatters it.")
    levels = found.levels()
    about = {"side": side, "seed": seed, "tested": content}
    return Conclusion(_as_markdown(content, levels), " ".join(filter(None, words)), about, _draw(content, levels))


def _cell(repeats: Sequence[Sequence[CaseRow]]) -> dict[str, Any]:
    groups = [*{row.case: row.group for rows in repeats for row in rows}.values()]
    means = {metric: vars(metric_interval(metric, averages([repeats], metric)[0], groups)) for metric in METRICS}
    return {**means, "repeats": [float(np.mean([row.metrics.dice for row in rows])) for rows in repeats]}


def _as_markdown(content: Mapping[str, Any], levels: Sequence[str]) -> str:
    heads = ["trained on", *(f"tested on {tested}" for tested in content)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for trained in levels:
        cells = [trained]
        for row in content.values():
            text, differs = interval_text(row[trained]["dice"]), row[trained].get("difference")
            if differs:
                p_value = differs.get("p_adjusted", differs["p_value"])
                text += f"; {interval_text(differs, sign='+')}" + (f", {p_words(p_value)}" if p_value else "")
            cells.append(text)
        lines.append(f"| {' | '.join(cells)} |")
    told = "Dice; after it the difference to the segmenter that was trained on the tested dataset, p after Holm."
    return "\n".join(lines) + f"\n\n{told}\n"


def _draw(content: Mapping[str, Any], levels: Sequence[str]) -> Figure:
    values = np.array([[content[tested][trained]["dice"]["mean"] for tested in content] for trained in levels])
    figure = Figure(figsize=(2.6 + 1.4 * len(content), 1.6 + 0.8 * len(levels)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row in range(len(levels)):
        for column in range(len(content)):
            value = values[row, column]
            colour = "white" if value > 0.6 else "black"
            axes.text(column, row, f"{value:.3f}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(content)), list(content))
    axes.set_yticks(range(len(levels)), list(levels))
    axes.set(xlabel="tested on", ylabel="trained on", title="mean Dice")
    return figure
