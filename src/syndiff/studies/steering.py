"""Whether the words steer the painting: the same places and the same noise, one word exchanged, the result measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from tqdm import tqdm

from syndiff.config.settings import Settings
from syndiff.data.attributes import measure_lesion
from syndiff.data.dataset import Dataset
from syndiff.data.inspection import open_checked
from syndiff.data.splits import Split
from syndiff.errors import SyndiffError
from syndiff.evaluation.statistics import mean_interval, paired_difference
from syndiff.files import write_bytes
from syndiff.pipeline.factories import make_inpainter
from syndiff.pipeline.provenance import check_inpainter
from syndiff.studies.figures import draw_interval
from syndiff.studies.grid import Cell, Conclusion, Findings, Outcome
from syndiff.studies.sheet import around_lesion, draw_sheet
from syndiff.studies.words import interval_text
from syndiff.synthesis.gates.failure import inpainting_failure
from syndiff.synthesis.placement.search import PlacementRules
from syndiff.synthesis.prompts.grammar import Grammar
from syndiff.synthesis.prompts.pack import Slot
from syndiff.synthesis.studio import Plan, Studio

_ROWS = 6


@dataclass(frozen=True)
class Painting:
    """A synthetic frame (HxWx3), its new lesion (HxW), and what was measured; why the painting failed, if it did."""

    image: NDArray
    lesion: NDArray[np.bool_]
    group: str
    measured: float
    failed: str | None


@dataclass(frozen=True)
class Steering:
    """A cell that paints `count` lesions once for every word of a slot that is measured on lesions.

    Lesions are placed as `synthesize` places them, in training frames; prompts are captions of the pack, and place,
    noise and all other words are the same for the words of a slot. Places where one of the words fails technically
    (NaN, black, unchanged) are left out and counted; gates refuse nothing. Size, shape and place are not asked about:
    they are the mask's, which the label repeats. It leaves a picture beside the study's table.
    """

    study: Path
    data: Path
    split: Split
    settings: Settings
    backend: Mapping[str, Any]
    count: int
    seed: int
    slot: str

    def decides(self) -> dict[str, Any]:
        """The inpainter, settings, places and prompts."""
        recorded = self.settings.recorded()
        used = {section: dict(recorded[section]) for section in ("synthesis", "compact", "sdxl")}
        del used["synthesis"]["model"]
        asked = {"split": self.split.hash, "count": self.count, "seed": self.seed, "slot": self.slot}
        return {**used, "backend": dict(self.backend), **asked}

    def do(self, folder: Path, *, progress: bool) -> Outcome:
        """Paint and measure. Raises SyndiffError where fewer than two places are left."""
        dataset = Dataset.open(self.data)
        studio = Studio(
            dataset,
            self.split.train,
            make_inpainter(self.settings),
            self.settings.synthesis,
            seed=self.seed,
            rules=PlacementRules(),
            grammar=Grammar.for_dataset(dataset, self.settings.synthesis.prompts),
        )
        plans = list(islice((plan for index in range(5 * self.count) if (plan := studio.plan(index))), self.count))
        if len(plans) < self.count:
            raise SyndiffError(f"Only {len(plans)} places were found for {self.count} lesions; lower --count.")
        slot = studio.grammar.pack.slots[self.slot]
        paintings = _without_failures([_paint(studio, plans, self.slot, word.text) for word in slot.words])
        write_bytes(self.study / f"{self.slot}.png", _sheet(slot, paintings))
        about = {"backend": studio.backend, "settings": studio.settings}
        rows = _rows(self.slot, slot, found := _tabulate(slot, paintings))
        return Outcome({**about, "found": found, "rows": rows}, {"picture": self.study / f"{self.slot}.png"})


def cells(study: Path, data: Path, split_file: Path, settings: Settings, *, count: int, seed: int) -> list[Cell]:
    """A cell for each slot that is measured on lesions.

    Raises SyndiffError for an inpainter that does not paint from text or may have seen held-out cases, and for a pack
    without such a slot.
    """
    dataset = open_checked(data, one_class_for="syndiff study steering")
    split = Split.read(split_file)
    split.check(dataset)
    inpainter = make_inpainter(settings)
    check_inpainter(settings, split, dataset)
    if not inpainter.capabilities.paints_from_text:
        raise SyndiffError(f"{inpainter.name} paints nothing from text; choose the inpainter compact or sdxl.")
    grammar = Grammar.for_dataset(dataset, settings.synthesis.prompts)
    slots = [name for name in grammar.pack.caption.names if grammar.pack.slots[name].kind == "lesion"]
    if not slots:
        raise SyndiffError(
            f"The caption of the prompt pack {grammar.pack.name} names no slot of the kind lesion, so no word of it is "
            "measured on what is painted."
        )
    for text in grammar.longest(measured_only=True):
        inpainter.check_prompt(text)
    backend = {**inpainter.describe(), "prompts": grammar.describe()}
    works = [Steering(study, data, split, settings, backend, count, seed, name) for name in slots]
    return [Cell(work.slot, "0", f"cells/{work.slot}", work) for work in works]


def conclude(found: Findings, *, count: int, seed: int) -> Conclusion:
    """The mean measure of each word, how many would be called so, and the difference of the last word to the first."""
    slots = {cell.level: outcome.scores["found"] for cell, outcome in found}
    first = next(iter(found))[1].scores
    content = {"count": count, "seed": seed, "backend": first["backend"], "settings": first["settings"]}
    lines = ["| slot | asked | measured | called so | last word - first word |", "|---|---|---|---|---|"]
    for _, outcome in found:
        lines += outcome.scores["rows"]
    words = [_verdict(name, slot) for name, slot in slots.items()]
    words.append(f"{next(iter(slots.values()))['places']} places.")
    return Conclusion("\n".join(lines) + "\n", " ".join(words), {**content, "slots": slots}, _draw(slots))


def _verdict(name: str, slot: Mapping[str, Any]) -> str:
    """Whether the last word of a slot gives more of its measure than the first."""
    difference, (first, *_, last) = slot["difference"], slot["words"]
    shown = f"{slot['measure']} {interval_text(difference, sign='+')}, {last!r} against {first!r}"
    if difference["low"] is None or difference["low"] <= 0 <= difference["high"]:
        return f"{name}: that the words change it could not be shown: {shown}."
    return f"{name}: the words {'steer it' if difference['low'] > 0 else 'turn it the wrong way'}: {shown}."


def _draw(slots: Mapping[str, Mapping[str, Any]]) -> Figure:
    """The measure of each word, one part of the picture for each slot."""
    figure = Figure(figsize=(3.4 * len(slots), 3), layout="constrained")
    for axes, (name, slot) in zip(figure.subplots(1, len(slots), squeeze=False)[0], slots.items(), strict=True):
        for place, word in enumerate(slot["words"].values()):
            draw_interval(axes, word["measured"], place)
        axes.set_xticks(range(len(slot["words"])), list(slot["words"]), fontsize=7, rotation=20, ha="right")
        axes.set(title=name, ylabel=slot["measure"])
    return figure


def _paint(studio: Studio, plans: Sequence[Plan], name: str, word: str) -> list[Painting]:
    """Every plan painted with `word` in the slot `name`."""
    grammar, measure = studio.grammar, studio.grammar.pack.slots[name].measure
    asked = []
    for plan in plans:
        place = plan.placement
        worded = grammar.prompt(plan.index, studio.seed, place.lesion_mask, place.image, measured_only=True)
        asked.append(replace(plan, prompt=grammar.reword(worded, name, word)))
    paintings = []
    size = studio.inpainter.capabilities.batch_size
    for start in tqdm(range(0, len(asked), size), desc=f"{name}: {word}", unit="batch"):
        for plan, painted, _ in studio.paint(asked[start : start + size]):
            place = plan.placement
            image = studio.put(place.image, painted, place.inpaint_mask, seed=plan.seed)
            attributes = measure_lesion(image, place.lesion_mask, place.label)
            value = {**vars(attributes), "contrast": attributes.contrast}[measure]
            group = place.background.group or place.background.id
            _, failed = inpainting_failure(place.image, painted, place.inpaint_mask)
            paintings.append(Painting(image, place.lesion_mask, group, value, failed))
    return paintings


def _without_failures(paintings: Sequence[Sequence[Painting]]) -> list[list[Painting]]:
    """Only the places where the painting succeeded for every word."""
    whole = [all(one.failed is None for one in place) for place in zip(*paintings, strict=True)]
    if sum(whole) < 2:
        reasons = sorted({one.failed for painted in paintings for one in painted if one.failed})
        raise SyndiffError(
            f"Of {len(whole)} places {sum(whole)} could be painted for every word ({'; '.join(reasons)}); expected 2 "
            "or more. Look at what `syndiff synthesize` makes with this inpainter."
        )
    return [[one for one, kept in zip(painted, whole, strict=True) if kept] for painted in paintings]


def _tabulate(slot: Slot, paintings: Sequence[Sequence[Painting]]) -> dict[str, Any]:
    """For each word the mean measure and the share called by it; the paired difference of the last and the first."""
    groups = [painting.group for painting in paintings[0]]
    words = {}
    for word, painted in zip(slot.words, paintings, strict=True):
        called = [slot.word(painting.measured) for painting in painted]
        words[word.text] = {
            "measured": vars(mean_interval([painting.measured for painting in painted], groups)),
            "called": {each.text: called.count(each.text) for each in slot.words},
        }
    first, last = ([painting.measured for painting in painted] for painted in (paintings[0], paintings[-1]))
    return {
        "measure": slot.measure,
        "places": len(groups),
        "words": words,
        "difference": vars(paired_difference(last, first, groups)),
    }


def _rows(name: str, slot: Slot, found: dict[str, Any]) -> list[str]:
    rows = []
    for word in slot.words:
        row = found["words"][word.text]
        total = sum(row["called"].values())
        last = interval_text(found["difference"], sign="+") if word is slot.words[-1] else ""
        share = f"{row['called'][word.text]} of {total}"
        rows.append(
            f"| {name} | {word.text} | {slot.measure} {interval_text(row['measured'], sign='+')} | {share} | {last} |"
        )
    return rows


def _sheet(slot: Slot, paintings: Sequence[Sequence[Painting]]) -> bytes:
    """A PNG: a row for each of the first places, a column for each word, cut around the lesion."""
    rows = min(_ROWS, len(paintings[0]))
    return draw_sheet(
        [word.text for word in slot.words],
        [[around_lesion(painted[row].image, painted[row].lesion) for painted in paintings] for row in range(rows)],
    )
