"""The contour of a mask drawn over its picture, for the eye."""

import numpy as np
from numpy.typing import NDArray

from syndiff.imaging import class_colour, draw_legend
from syndiff.models.predictor import Prediction

MASK_COLOUR = class_colour(0)
"""Yellow: of the mask. With any colour vision it is told from `WIDE_COLOUR`, and both from mucosa."""

WIDE_COLOUR = (86, 180, 233)
"""Sky blue (Okabe and Ito): of the wide contour of a model of one class."""


def draw_answer(image: NDArray[np.uint8], answer: Prediction) -> NDArray[np.uint8]:
    """A copy of `image` (HxWx3) with the contours of an answer to it: of its mask and of the wide one, if there is one.

    Of several classes each has its own colour, on its own side of the border, since the next class may begin there; a
    legend says whose it is, and the wide contour is a thinner line of that colour.
    """
    for name, wide in answer.wides.items():
        index = answer.targets.names.index(name)
        colour, width = (class_colour(index), 1) if answer.targets.several else (WIDE_COLOUR, None)
        image = draw_contours(image, wide, colour, width)
    for index, mask in enumerate(answer.masks):
        image = draw_contours(image, mask, class_colour(index), inside=answer.targets.several)
    return draw_legend(image, answer.targets.names) if answer.targets.several else image


def draw_contours(
    image: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    colour: tuple[int, int, int],
    width: int | None = None,
    *,
    inside: bool = False,
) -> NDArray[np.uint8]:
    """A copy of `image` (HxWx3) with a line of `colour` along the border of `mask` (HxW), half inside, half outside.

    With `inside`, all of it is inside.

    `width` is that of the line in pixels, 1 or more; None takes `line_width`. The edge of the picture closes a
    contour, so that no mask is without one, and a mask without any pixel gives the picture as it is.
    """
    width = line_width(*mask.shape) if width is None else width
    drawn = image.copy()
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if rows.size:
        around = 0 if inside else width // 2
        top, left = max(0, rows[0] - around), max(0, columns[0] - around)
        window = slice(top, rows[-1] + around + 1), slice(left, columns[-1] + around + 1)
        within = mask[window]
        line = _grown(within, around, beyond=False) & _grown(~within, width - around, beyond=True)
        drawn[window][line] = colour
    return drawn


def line_width(height: int, width: int) -> int:
    """Pixels that a line takes in a picture of this size: 2 up to 600 rows, 4 or 5 in full HD."""
    return max(2, round(min(height, width) / 240))


def _grown(mask: NDArray[np.bool_], by: int, *, beyond: bool) -> NDArray[np.bool_]:
    """`mask` and all within `by` pixels in either direction; `beyond` says what lies outside of the array."""
    padded = np.pad(mask, by, constant_values=beyond)
    height, width = mask.shape
    across = np.logical_or.reduce([padded[:, shift : shift + width] for shift in range(2 * by + 1)])
    return np.logical_or.reduce([across[shift : shift + height] for shift in range(2 * by + 1)])
