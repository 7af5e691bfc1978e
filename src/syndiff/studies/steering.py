"""Whether the words steer the painting: the same places and the same noise, one word exchanged, the result measured."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from syndiff.config.settings import Settings
from syndiff.config.uses import check_use
from syndiff.data.attributes import measure_lesion
from syndiff.data.inspection import open_checked
from syndiff.data.masks import bounding_box
from syndiff.data.splits import Split
from syndiff.errors import SyndiffError
from syndiff.evaluation.statistics import mean_interval, paired_difference
from syndiff.files import write_bytes, write_json, write_text
from syndiff.imaging import as_shown, encode_png
from syndiff.pipeline.factories import make_inpainter
from syndiff.pipeline.provenance import check_inpainter
from syndiff.studies.cells import interval_text
from syndiff.synthesis.gates.failure import inpainting_failure
from syndiff.synthesis.placement.search import PlacementRules
from syndiff.synthesis.prompts.grammar import Grammar
from syndiff.synthesis.prompts.pack import Slot
from syndiff.synthesis.studio import Plan, Studio

_ROWS, _TILE, _HEADER = 6, 160, 20


@dataclass(frozen=True)
class Painting:
    """A synthetic frame (HxWx3), its new lesion (HxW), and what was measured; why the painting failed, if it did."""

    image: NDArray
    lesion: NDArray[np.bool_]
    group: str
    measured: float
    failed: str | None


def steering(data: Path, split_file: Path, out: Path, settings: Settings, *, count: int, seed: int) -> str:
    """Paint `count` lesions once for every word of every slot that is measured on lesions; returns a Markdown table.

    Lesions are placed as `synthesize` places them, in training frames; prompts are captions of the pack, and place,
    noise and all other words are the same for the words of a slot. Places where one of the words fails technically
    (NaN, black, unchanged) are left out and counted; gates refuse nothing. Size, shape and place are not asked about:
    they are the mask's, which the label repeats. Writes steering.json, steering.md and a picture for each slot.

    Raises SyndiffError for an inpainter that does not paint from text, a pack without such a slot, and when fewer than
    two places are left.
    """
    check_use(settings, "study steering")
    if count < 2:
        raise SyndiffError(f"--count is {count}; expected 2 or more.")
    dataset, split = open_checked(data), Split.read(split_file)
    split.check(dataset)
    inpainter = make_inpainter(settings)
    check_inpainter(settings, split, dataset)
    if not inpainter.capabilities.paints_from_text:
        raise SyndiffError(f"{inpainter.name} paints nothing from text; choose the inpainter compact or sdxl.")
    grammar = Grammar.for_dataset(dataset, settings.synthesis.prompts)
    slots = {name: slot for name in grammar.pack.caption.names if (slot := grammar.pack.slots[name]).kind == "lesion"}
    if not slots:
        raise SyndiffError(
            f"The caption of the prompt pack {grammar.pack.name} names no slot of the kind lesion, so no word of it is "
            "measured on what is painted."
        )
    studio = Studio(
        dataset,
        split.train,
        inpainter,
        settings.synthesis,
        seed=seed,
        rules=PlacementRules(),
        grammar=grammar,
    )
    for text in grammar.longest(measured_only=True):
        inpainter.check_prompt(text)
    plans = list(islice((plan for index in range(5 * count) if (plan := studio.plan(index))), count))
    if len(plans) < count:
        raise SyndiffError(f"Only {len(plans)} places were found for {count} lesions; lower --count.")
    content: dict[str, Any] = {
        "count": count,
        "seed": seed,
        "backend": studio.backend,
        "settings": studio.settings,
        "slots": {},
    }
    lines = ["| slot | asked | measured | called so | last word - first word |", "|---|---|---|---|---|"]
    for name, slot in slots.items():
        paintings = _without_failures([_paint(studio, plans, name, word.text) for word in slot.words])
        content["slots"][name] = found = _tabulate(slot, paintings)
        lines += _rows(name, slot, found)
        write_bytes(out / f"{name}.png", _sheet(slot, paintings))
    write_json(out / "steering.json", content)
    text = "\n".join(lines) + "\n"
    write_text(out / "steering.md", text)
    return text


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
    sheet = Image.new("RGB", (_TILE * len(slot.words), _HEADER + rows * _TILE), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for column, (word, painted) in enumerate(zip(slot.words, paintings, strict=True)):
        pen.text(((column + 0.5) * _TILE, _HEADER / 2), word.text, fill="black", font=font, anchor="mm")
        for row, painting in enumerate(painted[:rows]):
            sheet.paste(_tile(painting), (column * _TILE, _HEADER + row * _TILE))
    return encode_png(sheet)


def _tile(painting: Painting) -> Image.Image:
    """The lesion in the middle of twice its own size, at most of the frame's."""
    rows, columns = bounding_box(painting.lesion)
    height, width = painting.lesion.shape
    side = min(2 * max(rows.stop - rows.start, columns.stop - columns.start), height, width)
    top = min(max((rows.start + rows.stop - side) // 2, 0), height - side)
    left = min(max((columns.start + columns.stop - side) // 2, 0), width - side)
    cut = as_shown(painting.image)[top : top + side, left : left + side]
    return Image.fromarray(cut).resize((_TILE, _TILE), Image.Resampling.BICUBIC)
