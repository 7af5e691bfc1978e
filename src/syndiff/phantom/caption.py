"""What a clinician would write under a frame, from what was really drawn in it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from syndiff.phantom.lesion import Polyp

SMALL, LARGE = 0.03, 0.09  # of the visible area


def describe(
    lesions: Sequence[Polyp], owner: NDArray[np.uint8], shiny: NDArray[np.bool_], visible: NDArray[np.bool_]
) -> str:
    """One sentence about the polyps in a frame.

    `owner` (height, width) is k + 1 where lesion k is seen, `shiny` True on highlights, `visible` True where
    the endoscope shows a picture.
    """
    parts = []
    for number, lesion in enumerate(lesions, start=1):
        here = owner == number
        if here.any():
            parts.append(_one(lesion, here, shiny, visible))
    if not parts:
        return "a colonoscopy frame without a polyp"
    return " and ".join(parts)


def _one(lesion: Polyp, here: NDArray[np.bool_], shiny: NDArray[np.bool_], visible: NDArray[np.bool_]) -> str:
    share = here.sum() / visible.sum()
    size = "small" if share < SMALL else "large" if share > LARGE else "medium-sized"
    text = f"a {size} {lesion.shape} polyp, {colour_word(lesion)}, {_place(here)}"
    extras = []
    if lesion.roughness > 1.6:
        extras.append("a granular surface")
    if (here & shiny).sum() > 0.002 * here.sum():
        extras.append("specular highlights")
    return text + (", with " + " and ".join(extras) if extras else "")


def colour_word(lesion: Polyp) -> str:
    """How the polyp's own colour differs from the mucosa's."""
    red, green, _ = lesion.tint
    if green / red < 0.92:
        return "redder than the surrounding mucosa"
    if green / red > 1.06:
        return "paler than the surrounding mucosa"
    return "of the colour of the surrounding mucosa"


def _place(here: NDArray[np.bool_]) -> str:
    rows, columns = np.nonzero(here)
    height, width = here.shape
    down, across = rows.mean() / height, columns.mean() / width
    vertical = "upper" if down < 0.4 else "lower" if down > 0.6 else ""
    horizontal = "left" if across < 0.42 else "right" if across > 0.58 else ""
    if not vertical and not horizontal:
        return "in the centre"
    if not horizontal:
        return f"in the {vertical} part"
    return f"at the {vertical} {horizontal}" if vertical else f"on the {horizontal}"
