"""Prompts whose size and shape words come from the mask, so that they never contradict the label."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SIZES = ((0.01, "diminutive"), (0.04, "small"), (0.12, "medium-sized"))
"""Upper bounds of the lesion's share of the frame. The paper gives none: chosen to split CVC-ClinicDB evenly."""

_POLYP_TEMPLATES = (
    "colonoscopy photograph of a {size} {shape} sessile polyp on the colon wall, moist pink mucosa, sharp focus",
    "white light endoscopy, a {size} {shape} sessile polyp with a smooth surface, specular highlights",
    "a {size} {shape} sessile polyp with a granular surface and fine vessels, colonoscopy, natural colours",
)
_POLYP_NEGATIVE = (
    "cartoon, drawing, text, watermark, instrument, blurred, hard outline, pasted, oversaturated, black area"
)
_OTHER_TEMPLATES = ("{modality} image of a {size} {shape} {name}, sharp focus, natural texture",)
_OTHER_NEGATIVE = "cartoon, drawing, text, watermark, blurred, hard outline, pasted, oversaturated"


@dataclass(frozen=True)
class Prompt:
    """What to paint and what to avoid, in words."""

    text: str
    negative: str


def write_prompt(mask: NDArray[np.bool_], rng: np.random.Generator, *, name: str = "", modality: str = "") -> Prompt:
    """Word a prompt for the lesion that fills `mask` (HxW, not empty).

    `name` is the dataset's class ("polyp", "nucleus"; empty: "lesion") and `modality` its kind of image
    (empty: "medical"). Of the paper's prompts only the phrase "sessile polyp" is known; the rest is ours.
    """
    polyp = name.strip().lower() in ("polyp", "polyps")
    template = rng.choice(_POLYP_TEMPLATES if polyp else _OTHER_TEMPLATES)
    text = str(template).format(
        size=size_word(mask), shape=shape_word(mask), name=name or "lesion", modality=modality or "medical"
    )
    return Prompt(text, _POLYP_NEGATIVE if polyp else _OTHER_NEGATIVE)


def background_prompt(*, name: str = "", modality: str = "") -> Prompt:
    """Word the prompt that paints healthy tissue over a lesion; `name` and `modality` as in `write_prompt`."""
    if name.strip().lower() in ("polyp", "polyps"):
        return Prompt("colonoscopy photograph of healthy colon mucosa, moist and pink", f"polyp, {_POLYP_NEGATIVE}")
    text = f"{modality or 'medical'} image of healthy tissue, sharp focus, natural texture"
    return Prompt(text, f"{name or 'lesion'}, {_OTHER_NEGATIVE}")


def size_word(mask: NDArray[np.bool_]) -> str:
    """Name the share of the frame that the lesion covers: diminutive, small, medium-sized or large."""
    share = mask.mean()
    return next((word for bound, word in _SIZES if share < bound), "large")


def shape_word(mask: NDArray[np.bool_]) -> str:
    """Name the ratio of the lesion's two principal axes: round, oval or elongated."""
    points = np.argwhere(mask).astype(float)
    if len(points) < 3:
        return "round"
    shortest, longest = np.linalg.eigvalsh(np.cov(points.T) + np.eye(2) / 12)  # a pixel has a width too
    elongation = np.sqrt(longest / shortest)
    return "round" if elongation < 1.25 else "oval" if elongation < 1.9 else "elongated"
