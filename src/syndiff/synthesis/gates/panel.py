"""All gates together: calibrated on real cases, kept with the samples they judged."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from syndiff.data.class_view import ClassView
from syndiff.data.dataset import Case, Dataset
from syndiff.data.masks import components, without_specks
from syndiff.documents import check_object, read_object, rebuild
from syndiff.errors import SyndiffError, shown
from syndiff.files import expanded, write_record
from syndiff.synthesis.gates import statistics
from syndiff.synthesis.gates.agreement import agreement
from syndiff.synthesis.gates.gate import REAL, REVIEWED, Bounds, Gate, Verdict
from syndiff.synthesis.gates.near_copy import Thumbnails
from syndiff.synthesis.gates.region import GateInput, Region
from syndiff.synthesis.gates.reviewed import Reviewed, tightened
from syndiff.synthesis.gates.settings import GatesSettings
from syndiff.synthesis.gates.text_image import TextImage

if TYPE_CHECKING:  # it brings torch, which most gates do without
    from syndiff.models.predictor import Predictor

_MIN_MEASURED = 64
"""Pixels of the smallest real lesion whose inside can be measured."""


@dataclass(frozen=True, kw_only=True)
class InpaintedArea:
    """What the gates need to know of the inpainter and of the compositing.

    `margin` is how far around a lesion is painted, as a share of its radius, `feather` the pixels over which
    painting fades in. `copies` says that the inpainter pastes real lesions on purpose.
    """

    margin: float = 0.0
    feather: float = 3.0
    copies: bool = False


@dataclass(frozen=True, kw_only=True)
class Segmenter:
    """A predictor for the gate `agreement`, and the hash of its weights."""

    predictor: "Predictor"
    fingerprint: str


@dataclass(frozen=True)
class Gates:
    """Gates with their bounds. `calibrated_on` says what the bounds come from; `left_out` why a gate is absent.

    `reviews` counts what reviewers rejected and accepted, and how many of either lie outside, where they were heard.
    """

    settings: GatesSettings
    area: InpaintedArea
    gates: tuple[Gate, ...]
    bounds: Mapping[str, Bounds]
    calibrated_on: Mapping[str, Any]
    left_out: Mapping[str, str] = field(default_factory=dict)
    reviews: Mapping[str, Any] | None = None

    @classmethod
    def calibrate(
        cls,
        dataset: Dataset,
        case_ids: Sequence[str],
        settings: GatesSettings,
        *,
        area: InpaintedArea | None = None,
        predictor: Segmenter | None = None,
        val_ids: Sequence[str] = (),
        kept: Path | None = None,
        reviewed: Reviewed | None = None,
        progress: bool = True,
    ) -> "Gates":
        """Measure every gate on the real lesions of `case_ids` (the training cases) and take quantiles as bounds.

        `predictor` is calibrated on `val_ids`, which it was not trained on, or on the training cases where
        none are given (gates.json says which). `kept` is the gates.json of an earlier run: where it exists
        its bounds are taken. What was `reviewed` draws the bounds closer (`tightened`). Reads one case at a
        time. Raises SyndiffError when `kept` was calibrated on something else.
        """
        cases = [dataset[case_id] for case_id in sorted(set(case_ids))]
        unseen = [dataset[case_id] for case_id in sorted(set(val_ids))] if predictor else []
        area = area or InpaintedArea()
        text = TextImage(expanded(settings.text_model)) if settings.text_model else None
        calibrated_on = {
            **({"paints": dataset.targets[0]} if isinstance(dataset, ClassView) else {}),
            "cases": len(cases),
            "fingerprint": dataset.fingerprint_of(cases),
            "checks": list(settings.checks),
            "quantile": settings.quantile,
            **asdict(area),
            "agreement": predictor
            and {
                "segmenter": predictor.fingerprint,
                "quantile": settings.agreement_quantile,
                "on": "validation cases" if unseen else "training cases, which the segmenter may have seen",
                "fingerprint": dataset.fingerprint_of(unseen or cases),
            },
            "text_image": text and {"model": text.fingerprint},
            "reviews": reviewed and reviewed.identity,
        }
        thumbnails = Thumbnails()
        gates, left_out = _choose(dataset, cases, settings, area, thumbnails, predictor, text)
        names = [gate.name for gate in gates]
        bounds = _read(kept, calibrated_on, names) if kept and kept.is_file() else None
        scores: dict[str, list[float | None]] = {name: [] for name in names}
        if bounds is None or "near_copy" in names:
            for region, case in _lesions(dataset, cases, area, progress):
                if "near_copy" in names:
                    thumbnails.add(region, case.group or case.id)
                if bounds is None:
                    for name in _PIXELS.keys() & scores.keys():
                        scores[name].append(_PIXELS[name].score(region))
        if bounds is None:
            if "near_copy" in names:
                scores["near_copy"] = thumbnails.among_themselves()
            for gate in gates:
                if gate.name == "agreement":
                    scores[gate.name] = [gate.score(each) for each in _whole(dataset, unseen or cases, progress)]
                elif gate.name == "text_image":
                    described = [case for case in cases if case.caption]
                    scores[gate.name] = [gate.score(each) for each in _whole(dataset, described, progress)]
            share = {"agreement": settings.agreement_quantile}
            bounds = {
                gate.name: gate.bounds(scores[gate.name], share.get(gate.name, settings.quantile)) for gate in gates
            }
            if reviewed:
                bounds = tightened(gates, bounds, reviewed)
        account = reviewed.account(bounds) if reviewed else None
        return cls(settings, area, tuple(gates), bounds, calibrated_on, left_out, account)

    def judge(self, sample: GateInput) -> list[Verdict]:
        """What each gate says of a finished sample. Scores are rounded to six digits, as the manifest keeps them."""
        region, drawn_from = Region(sample, self.area.feather), REVIEWED if self.reviews else REAL
        verdicts = []
        for gate in self.gates:
            score = gate.score(region)
            score = None if score is None else round(score, 6)
            verdicts.append(gate.judge(score, self.bounds[gate.name], drawn_from))
        return verdicts

    @property
    def refuses(self) -> bool:
        """Whether a failing gate refuses the sample; otherwise it is only reported."""
        return self.settings.mode == "on"

    def describe(self) -> dict[str, Any]:
        """What the manifest keeps with every sample."""
        bounds = {name: [each.low, each.high] for name, each in self.bounds.items()}
        told = {"reviews": dict(self.reviews)} if self.reviews else {}
        return {"mode": self.settings.mode, "bounds": bounds, **told}

    def write(self, path: Path) -> None:
        """Write gates.json: the bounds and what they were calibrated on."""
        bounds = {name: asdict(each) for name, each in self.bounds.items()}
        content: dict[str, Any] = {"bounds": bounds, "calibrated_on": self.calibrated_on, "left_out": self.left_out}
        if self.reviews:
            content["reviews"] = dict(self.reviews)
        write_record(path, content)


_PIXELS = {
    gate.name: gate
    for gate in (
        Gate(
            "seam",
            statistics.seam,
            too_high="a seam runs along the border of the inpainted area",
        ),
        Gate(
            "sharpness",
            statistics.sharpness,
            too_low="more blurred inside than around",
            too_high="sharper inside than around",
        ),
        Gate(
            "noise",
            statistics.noise,
            too_low="less grain inside than around",
            too_high="more grain inside than around",
        ),
        Gate(
            "contrast",
            statistics.contrast,
            too_low="the lesion hardly differs from its surroundings",
        ),
    )
}


def _choose(
    dataset: Dataset,
    cases: Sequence[Case],
    settings: GatesSettings,
    area: InpaintedArea,
    thumbnails: Thumbnails,
    predictor: Segmenter | None,
    text: TextImage | None,
) -> tuple[list[Gate], dict[str, str]]:
    """The gates that apply, in the order in which they refuse, and why the others do not."""
    gates = [_PIXELS[name] for name in settings.checks if name in _PIXELS]
    left_out = {}
    if "near_copy" in settings.checks:
        if area.copies:
            left_out["near_copy"] = "the inpainter copies real lesions by design"
        else:
            gates.append(
                Gate(
                    "near_copy",
                    thumbnails.nearest,
                    too_high="a training lesion repainted almost as it is",
                )
            )
    if predictor:
        gates.append(
            Gate(
                "agreement",
                lambda region: agreement(region.sample, predictor.predictor),
                too_low="a segmenter trained on real cases does not see what the label says",
            )
        )
    if text:
        gates.append(
            Gate(
                "text_image",
                lambda region: text.score(region.sample),
                too_low="the picture does not show what the prompt says",
            )
        )
        if not any(case.caption for case in cases):
            left_out["bound of text_image"] = f"{dataset.root} has no captions.csv: scored only"
    return gates, left_out


def _lesions(
    dataset: Dataset, cases: Sequence[Case], area: InpaintedArea, progress: bool
) -> Iterator[tuple[Region, Case]]:
    """Every real lesion as if it had been painted: with the inpainter's margin and the feather of compositing."""
    for case in tqdm(cases, desc="calibrating the gates", unit="case", disable=not progress):
        image, mask = dataset.load(case)
        labels, areas = components(mask)
        for label in without_specks(areas):
            if areas[label - 1] < _MIN_MEASURED:
                continue
            lesion = labels == label
            painted = lesion
            if area.margin:
                band = max(2.0, area.margin * float(np.sqrt(lesion.sum() / np.pi)))
                painted = (ndimage.distance_transform_edt(~lesion) <= band) & (lesion | ~mask)
            sample = GateInput(image=image, label=mask, lesion_mask=lesion, inpaint_mask=painted, case_id=case.id)
            yield Region(sample, area.feather), case


def _whole(dataset: Dataset, cases: Sequence[Case], progress: bool) -> Iterator[Region]:
    """Every real case that has a lesion, its whole mask as one, with its caption as prompt."""
    for case in tqdm(cases, desc="calibrating the gates", unit="case", disable=not progress):
        image, mask = dataset.load(case)
        if mask.any():
            sample = GateInput(
                image=image, label=mask, lesion_mask=mask, inpaint_mask=mask, prompt=case.caption or "", case_id=case.id
            )
            yield Region(sample, 0.0)


def _read(path: Path, calibrated_on: Mapping[str, Any], names: Sequence[str]) -> dict[str, Bounds]:
    """The bounds of gates.json, once it is clear that calibrating again would give them again."""
    mend = "Restore it, or delete it and the gates are calibrated anew."
    content = read_object(path, {"bounds": dict, "calibrated_on": dict}, mend=mend)
    there = content["calibrated_on"]
    stored = check_object(f"{path}: bounds", content["bounds"], dict.fromkeys(names, dict), mend=mend)
    bounds = {name: rebuild(Bounds, stored[name], f"{path}: bounds.{name}", mend=mend) for name in names}
    here = json.loads(json.dumps(calibrated_on))
    for key in here:
        if there.get(key) != here[key]:
            raise SyndiffError(
                f"{path} was calibrated with {key} {shown(there.get(key))}, and is now asked for {shown(here[key])}. "
                "Repeat the old settings to go on, or synthesize into another folder."
            )
    return bounds
