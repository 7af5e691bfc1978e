"""How segmenters bear altered lesions: the frames are altered once, every segmenter is scored on all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from tqdm import tqdm

from syndiff.config.settings import Settings
from syndiff.data.dataset import Dataset
from syndiff.data.splits import Split
from syndiff.data.tables import write_table
from syndiff.documents import digest, read_object
from syndiff.evaluation.evaluate import CaseRow, evaluate
from syndiff.evaluation.statistics import Interval, mean_interval, p_text, p_words, paired_difference, score_interval
from syndiff.files import write_bytes, write_json
from syndiff.imaging import encode_exactly
from syndiff.models.noise import case_seed
from syndiff.models.prediction import SegmenterPredictor
from syndiff.pipeline.factories import make_inpainter
from syndiff.studies.altering import (
    MOVED,
    ORIGINAL,
    PATCH,
    PUT_BACK,
    REMOVED,
    Altered,
    Change,
    Instrument,
    Paler,
    Shrunk,
    control_of,
)
from syndiff.studies.choices import Side
from syndiff.studies.figures import INK, draw_interval
from syndiff.studies.grid import Conclusion, Findings, Outcome
from syndiff.studies.scoring import Run
from syndiff.studies.shared import once
from syndiff.studies.sheet import draw_sheet
from syndiff.studies.words import adjust, holm_text, interval_text, sample_text, verdicts
from syndiff.synthesis.placement.album import LoadedCase
from syndiff.synthesis.prompts.grammar import Grammar

_SHOWN = 8


@dataclass(frozen=True)
class Altering:
    """The shared step that alters the cases of a side that have a lesion: a dataset folder for each change.

    Its folder is named by what decides the pictures, so that another inpainter's never get among them. Later changes
    join. `sheet.png` shows some of the cases with every change.
    """

    study: Path
    data: Path
    split: Split
    side: Side
    settings: Settings
    backend: Mapping[str, Any]
    changes: tuple[Change, ...]
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"altered/{self.side}-{digest(self.recipe())[:8]}"

    def recipe(self) -> dict[str, Any]:
        """What a picture depends on, but for its change."""
        chosen = self.settings.synthesis
        look = {"grain": chosen.grain, "feather": chosen.feather}
        return {"backend": dict(self.backend), **look, "split": self.split.hash, "side": self.side, "seed": self.seed}

    def decides(self) -> dict[str, Any]:
        """The recipe and the changes."""
        return {**self.recipe(), "changes": [str(change) for change in self.changes]}

    def folder(self, change: Change) -> Path:
        """The dataset folder of a change."""
        return self.study / self.name / folder_of(change)

    def make(self, folder: Path, *, progress: bool) -> None:
        """Alter what is not altered yet."""
        dataset = Dataset.open(self.data)
        grammar = Grammar.for_dataset(dataset, self.settings.synthesis.prompts)
        instrument = Instrument(make_inpainter(self.settings), grammar, self.settings.synthesis)
        cases = getattr(self.split, self.side)
        for case_id in tqdm(cases, desc="altered frames", unit="case", disable=not progress):
            self._alter(dataset, case_id, instrument, folder)
        kept = [(case, self._kept(folder, case)) for case in cases]
        for change in self.changes:
            if mine := [dataset[case] for case, found in kept if found.get(str(change))]:
                if all(case.group is not None for case in mine):
                    write_table(self.folder(change) / "groups.csv", "group", [(case.id, case.group) for case in mine])
                about = {"name": dataset.name, "mask_threshold": 127, "licence": dataset.licence}
                write_json(self.folder(change) / "dataset.json", {**about, "notes": f"every lesion altered: {change}"})
        altered = [case for case, found in kept if found]
        shown = sorted({i * len(altered) // _SHOWN for i in range(_SHOWN)} & {*range(len(altered))})
        write_bytes(folder / "sheet.png", self._sheet([altered[i] for i in shown]))

    def _alter(self, dataset: Dataset, case_id: str, instrument: Instrument, folder: Path) -> None:
        """Write what is missing of a case; which changes were possible is written last."""
        kept = self._kept(folder, case_id)
        missing = [change for change in self.changes if str(change) not in kept]
        frame = LoadedCase(dataset[case_id], *dataset.load(dataset[case_id]))
        if not missing or not frame.own.any():
            return
        found = instrument.alter(frame, missing, seed=case_seed(self.seed, case_id))
        for change, altered in found.items():
            _write(self.folder(change), case_id, altered)
        possible = {str(change): change in found for change in missing}
        write_json(folder / "cases" / f"{case_id}.json", {"possible": {**kept, **possible}})

    @staticmethod
    def _kept(folder: Path, case_id: str) -> dict[str, bool]:
        """Which changes of a case were tried, and which of them were possible."""
        path = folder / "cases" / f"{case_id}.json"
        return dict(read_object(path, {"possible": dict})["possible"]) if path.is_file() else {}

    def _sheet(self, cases: Sequence[str]) -> bytes:
        """The cases as rows, the changes as columns."""
        opened = [Dataset.open(self.folder(c)) for c in self.changes if self.folder(c).is_dir()]
        shown = {part.root: {x.id: part.load(x)[0] for x in part.cases if x.id in cases} for part in opened}
        rows = [[shown.get(self.folder(change), {}).get(case) for change in self.changes] for case in cases]
        return draw_sheet([str(change) for change in self.changes], rows)


@dataclass(frozen=True)
class AlteredScoring:
    """A cell that scores a run on the frames of one change, as the run predicts."""

    run: Run
    altering: Altering
    change: Change

    def decides(self) -> dict[str, Any]:
        """Weights, and what the pictures depend on."""
        return {"weights": self.run.weights, **self.altering.recipe(), "change": str(self.change)}

    def do(self, folder: Path, *, progress: bool) -> Outcome:
        """Alter the frames, where nobody has, and score."""
        once(self.altering, progress=progress)
        if not self.altering.folder(self.change).is_dir():
            return Outcome()  # no case can be altered so
        dataset = Dataset.open(self.altering.folder(self.change))
        predictor = SegmenterPredictor.load(self.run.checkpoint, name=self.run.short, seed=self.altering.seed)
        cases, out = [case.id for case in dataset.cases], folder / self.altering.side
        evaluate(predictor, dataset, cases, out, provenance={"weights": self.run.weights}, progress=progress)
        return Outcome(tables={"": out / "per_case.csv"})


def changes_of(sizes: Sequence[float], contrasts: Sequence[float]) -> tuple[Change, ...]:
    """The original, the controls, and every change, in the order of the table."""
    shrunk, paler = sorted(map(Shrunk, sizes), reverse=True), sorted(map(Paler, contrasts), reverse=True)
    return (ORIGINAL, PUT_BACK, *shrunk, *paler, PATCH, MOVED, REMOVED)


def folder_of(change: Change) -> str:
    """A change as a folder name."""
    return str(change).replace(" ", "-")


def conclude(found: Findings, about: Mapping[str, Any]) -> Conclusion:
    """Each run's scores after every change, beside those after its control, over the cases that have both."""
    content: dict[str, Any] = {}
    words = []
    for short in found.repeats():
        cells: list[tuple[Any, Outcome]] = [
            (cell.work, outcome) for cell, outcome in found if cell.repeat == short and outcome.tables
        ]
        rows = {work.change: outcome.rows() for work, outcome in cells}
        content[short] = {"weights": cells[0][0].run.weights, "changes": (scores := _compare(rows))}
        words.append(f"{short}, Dice. {_told(scores)} {sample_text(scores[ORIGINAL]['dice'], about['side'])}")
    left = [cell.level for cell, outcome in found if not outcome.tables and cell.repeat == found.repeats()[0]]
    if left:
        words.append(f"No case could be altered so: {', '.join(left)}.")
    return Conclusion(_as_markdown(content), "\n\n".join(words), {**about, "runs": content}, _draw(content))


def _compare(rows: Mapping[Change, Sequence[CaseRow]]) -> dict[str, Any]:
    """Means after each change and paired differences to its control; p-values after Holm, a family each metric."""
    scores: dict[str, Any] = {}
    for change, mine in rows.items():
        groups = [row.group for row in mine]
        values = {name: [_value(row, name) for row in mine] for name in _METRICS}
        scores[str(change)] = {
            name: vars((_count_interval if name == "false" else score_interval)(found, groups))
            for name, found in values.items()
        }
        control = control_of(change)
        if change == ORIGINAL or control not in rows:
            continue
        before = {row.case: row for row in rows[control]}
        both = [row for row in mine if row.case in before]
        pairs = [(row, before[row.case]) for row in both]
        scores[str(change)] |= {
            "control": control,
            "difference": {
                name: vars(
                    paired_difference(
                        [_value(row, name) for row, _ in pairs],
                        [_value(row, name) for _, row in pairs],
                        [row.group for row in both],
                    )
                )
                for name in _METRICS
                if name == "false" or change != REMOVED
            },
        }
    for name in _METRICS:
        differences = [each["difference"] for each in scores.values() if "difference" in each]
        adjust([each[name] for each in differences if name in each])
    return scores


def _count_interval(values: Sequence[float | None], groups: Sequence[str | None]) -> Interval:
    """The mean of counts: `mean_interval`, from zero on."""
    found = mean_interval(values, groups)
    return found if found.low is None else replace(found, low=max(0.0, found.low))


_METRICS = ("dice", "missed", "false")


def _value(row: CaseRow, name: str) -> float | None:
    """Dice; the share of lesions that was missed; false lesions. Without a lesion only the last says something."""
    metrics = row.metrics
    if name == "false":
        return float(metrics.false_lesions)
    if not metrics.lesions:
        return None
    return metrics.dice if name == "dice" else metrics.missed_lesions / metrics.lesions


def _told(scores: Mapping[str, Any]) -> str:
    """The differences in Dice to each control, then false lesions where the lesion was removed."""
    sentences = []
    for control in dict.fromkeys(each["control"] for each in scores.values() if "control" in each):
        mine = {name: each for name, each in scores.items() if each.get("control") == control}
        dice = {name: each["difference"]["dice"] for name, each in mine.items() if "dice" in each["difference"]}
        if dice:
            what = "What the inpainter's trace alone does: " if control == ORIGINAL else ""
            sentences.append(f"{what}{verdicts(dice, control, holm_told=False)}")
    differences = [each.get("difference", {}) for each in scores.values()]
    sentences.append(holm_text([each["dice"] for each in differences if "dice" in each]))
    if removed := scores.get(REMOVED):
        sentences.append(_false_lesions(removed))
    return " ".join(filter(None, sentences))


def _false_lesions(removed: Mapping[str, Any]) -> str:
    """Whether more is marked where a lesion was removed than where a patch of healthy wall was painted over."""
    false = removed["false"]
    told = f"With its lesion removed a frame has {interval_text(false, 2)} false lesions ({false['cases']} frames)"
    difference = removed.get("difference", {}).get("false")
    if difference is None or difference["mean"] is None:
        return f"{told}; there is no control for it."
    shown = f"{interval_text(difference, 2, '+')} over {difference['cases']} frames"
    p_value = difference.get("p_adjusted", difference.get("p_value"))
    chance = f", {p_words(p_value)}" if p_value is not None else ""
    if difference["low"] is None or difference["low"] <= 0 <= difference["high"]:
        return f"{told}; that this differs from the control ({PATCH}) could not be shown: {shown}{chance}."
    more = "more" if difference["low"] > 0 else "fewer"
    return f"{told}, {more} than its control ({PATCH}): {shown}{chance}."


def _as_markdown(content: Mapping[str, Any]) -> str:
    heads = ["run", "change", "cases", "Dice", "control", "Dice - control", "p (Holm)"]
    heads += ["missed lesions", "missed - control", "false lesions a frame", "false - control", "p (Holm)"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for short, run in content.items():
        for change, row in run["changes"].items():
            difference = row.get("difference", {})
            dice, missed, false = (difference.get(name) for name in _METRICS)
            cells = [
                *(short, change, str(row["false"]["cases"]), interval_text(row["dice"]), row.get("control", "")),
                *(_with_count(dice, row), _p(dice), interval_text(row["missed"], 2)),
                *(interval_text(missed, 2, "+"), interval_text(row["false"], 2)),
                *(interval_text(false, 2, "+"), _p(false)),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _with_count(difference: Mapping[str, Any] | None, row: Mapping[str, Any]) -> str:
    """The difference, and on how many cases it stands where these are not all."""
    shown = interval_text(difference, sign="+")
    fewer = difference is not None and difference["cases"] < row["dice"]["cases"]
    return f"{shown} ({difference['cases']} cases)" if difference and fewer else shown


def _p(difference: Mapping[str, Any] | None) -> str:
    return p_text(difference.get("p_adjusted", difference.get("p_value"))) if difference else ""


def _draw(content: Mapping[str, Any]) -> Figure:
    """The difference in Dice of every change to its control, a colour for each run."""
    changes = {
        name: each["control"]
        for run in content.values()
        for name, each in run["changes"].items()
        if "dice" in each.get("difference", {})
    }
    figure = Figure(figsize=(7, 1.4 + 0.38 * len(changes)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color=INK, linewidth=0.8)
    for number, (short, run) in enumerate(content.items()):
        axes.plot([], [], "o", color=f"C{number}", label=short)
        shift = 0.5 * ((number + 0.5) / len(content) - 0.5)
        for place, name in enumerate(changes):
            found = run["changes"].get(name, {}).get("difference", {}).get("dice")
            if found:
                draw_interval(axes, found, place + shift, across=True, colour=f"C{number}")
    axes.set_yticks(range(len(changes)), [f"{name} - {control}" for name, control in changes.items()])
    axes.set_ylim(len(changes) - 0.5, -0.5)
    axes.set_xlabel("difference in Dice (line: 95 % interval over groups)", fontsize=8)
    if len(content) > 1:
        figure.legend(loc="outside upper center", ncols=min(4, len(content)))
    return figure


def _write(folder: Path, case_id: str, altered: Altered) -> None:
    content, extension = encode_exactly(altered.image)
    write_bytes(folder / "masks" / f"{case_id}.png", encode_exactly(altered.label)[0])
    write_bytes(folder / "images" / f"{case_id}{extension}", content)
