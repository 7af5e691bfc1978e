"""Where a frame shows a wall that can carry a lesion: in view, no inset, no dark lumen, no highlight.

Everything is judged on a coarse grid of about 160 cells along the frame's diagonal, so that a frame of any size
costs the same milliseconds, and relative to the frame's own brightness, so that bit depth does not matter.
"""

from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from syndiff.synthesis.placement.contour import grown

_CELLS = 160
_DARK = 0.13  # of the frame's brightest cell: border, insets
_LUMEN = 0.4  # of the median brightness in view; below it, smoothed, lies the lumen
_WHITE = 0.8  # of the frame's brightest cell, in its weakest channel: specular highlights, overlaid text
_RARE = 0.15  # of the view: what covers more is no highlight but the subject (histology, glare)


@dataclass(frozen=True)
class FieldOfView:
    """A frame's verdict on a grid of cells of `step` pixels: the field of view, and the wall within it (hxw)."""

    step: int
    field: NDArray[np.bool_]
    wall: NDArray[np.bool_]


def grid_step(height: int, width: int) -> int:
    """Side in pixels of a grid's cell."""
    return max(1, int(np.hypot(height, width)) // _CELLS)


def any_in_cells(mask: NDArray[np.bool_], step: int) -> NDArray[np.bool_]:
    """Which cells hold a True pixel; the last ones may reach over the edge."""
    return _cells(mask, step, np.maximum) > 0


def judge_view(image: NDArray[np.uint8] | NDArray[np.uint16]) -> FieldOfView:
    """Judge a frame (HxWx3). One that is dark by nature (fluorescence) is in view and wall as a whole.

    The field of view is the largest bright region with its holes filled; insets such as the position box of
    some endoscopes are dark or greener than any tissue of the frame and stay outside where they reach the
    border. The wall is the field without dark holes (the lumen, an inset inside the picture), highlights and
    overlaid text.
    """
    step = grid_step(*image.shape[:2])
    cells = _cells(image, step, np.add) / step**2
    brightness = np.maximum(np.maximum(cells[..., 0], cells[..., 1]), cells[..., 2])  # many times faster than max()
    inset = _inset(cells)
    field = _largest((brightness > _DARK * brightness.max()) & ~inset)
    if field is None:
        everywhere = np.ones(brightness.shape, bool)
        return FieldOfView(step, everywhere, everywhere)
    smooth = ndimage.gaussian_filter(brightness, 0.01 * _CELLS)
    dark = (smooth < _LUMEN * np.median(brightness[field])) | (brightness <= _DARK * brightness.max())
    weakest = np.minimum(np.minimum(image[..., 0], image[..., 1]), image[..., 2])
    white = _cells(weakest, step, np.maximum) > _WHITE * brightness.max()
    if white[field].mean() > _RARE:
        white[:] = False
    return FieldOfView(step, field, field & ~dark & ~white & ~grown(inset))


def field_of_view(image: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Return where an endoscope's frame (HxWx3) shows something: HxW, to a cell of the grid (see `judge_view`)."""
    seen = judge_view(image)
    return to_pixels(seen.field, seen.step, image.shape[:2])


def to_pixels(cells: NDArray[np.bool_], step: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Spread cells over the pixels of a frame of `shape` (H, W)."""
    return cells.repeat(step, axis=0).repeat(step, axis=1)[: shape[0], : shape[1]]


def _inset(cells: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Cells greener than red and much greener than their frame: drawings of the machine."""
    red, green = cells[..., 0] + 1, cells[..., 1] + 1  # + 1: black has no colour
    greenness = np.log(green / red)
    return greenness > max(np.log(1.2), np.median(greenness) + 0.5)


def _largest(bright: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """The largest region of `bright` without its holes; None when it is not most of what one would look at."""
    kept = ~grown(grown(~bright))  # an opening; beyond the frame's edge it goes on as it is there
    regions, count = ndimage.label(grown(grown(kept)))  # of cells, not of a mask: a corner opens no view
    if not count:
        return None
    field = _filled(regions == 1 + np.argmax(np.bincount(regions.ravel())[1:]))
    return field if field.mean() > 0.4 else None


def _filled(field: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The field with its holes: what lies outside of it and does not reach the frame's edge."""
    around, count = ndimage.label(~field)  # a corner lets no outside in
    outside = np.zeros(count + 1, bool)
    outside[np.concatenate([around[0], around[-1], around[:, 0], around[:, -1]])] = True
    outside[0] = False  # the field itself
    return ~outside[around]


def _cells(values: NDArray, step: int, join: np.ufunc) -> NDArray:
    """Join the pixels of each cell: HxW(x3) to hxw(x3), the last cells filled up with the edge's values."""
    height, width = values.shape[:2]
    if height % step or width % step:
        pads = [(0, -height % step), (0, -width % step)] + [(0, 0)] * (values.ndim - 2)
        values = np.pad(values, pads, mode="edge")
    joined = values.astype(np.uint32) if join is np.add else values
    # a row and a column of every cell at a time, which NumPy does at full speed
    rows = reduce(join, (joined[i::step] for i in range(step)))
    return reduce(join, (rows[:, i::step] for i in range(step)))
