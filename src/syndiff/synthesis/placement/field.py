"""Where a frame shows a wall that can carry a lesion: in view, no inset, no dark lumen, no highlight.

Everything is judged on a coarse grid of about 160 cells along the frame's diagonal, so that a frame of any size
costs the same milliseconds, and relative to the frame's own brightness, so that bit depth does not matter.
"""

from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from syndiff.synthesis.placement.contour import grown

_CELLS = 160
_DARK = 0.13  # of the frame's brightest cell: border, insets
_LUMEN = 0.4  # of the median brightness in view; below it, smoothed, lies the lumen
_WHITE = 0.8  # of the frame's brightest cell, in its weakest channel: specular highlights, overlaid text
_DIRECTIONS = 32  # sides of the polygon around the view
_SPARSE = 2 / 3  # of a row or column; where less is in view, it is cut off
_RARE = 0.15  # of the view: what covers more is no highlight but the subject (histology, glare)


@dataclass(frozen=True)
class FieldOfView:
    """A frame's verdict on a grid of cells of `step` pixels (all hxw).

    `field` is the field of view, `wall` what of it is well lit tissue. `dark` is the lumen and deep shadow within the
    field, `outside` what lies beyond the edge of the view, where a lesion may be cut off, `barred` what no lesion may
    touch: insets, and dark notches of the view that are no edge of it.
    """

    step: int
    field: NDArray[np.bool_]
    wall: NDArray[np.bool_]
    dark: NDArray[np.bool_]
    outside: NDArray[np.bool_]
    barred: NDArray[np.bool_]

    @cached_property
    def inner(self) -> NDArray[np.bool_]:
        """The field without the cells at its edge: a lesion that lies in it is whole."""
        return ~grown(np.pad(~self.field, 1, constant_values=True))[1:-1, 1:-1]

    @cached_property
    def rim(self) -> NDArray[np.bool_]:
        """Cells at the edge of the view and beyond."""
        return grown(np.pad(self.outside, 1, constant_values=True))[1:-1, 1:-1]

    @cached_property
    def centre(self) -> tuple[float, float]:
        """Row and column, in cells, of the middle of the view."""
        rows, columns = np.nonzero(self.field)
        return float(rows.mean()), float(columns.mean())

    @cached_property
    def radius(self) -> float:
        """Radius in cells of the disc of the view's area."""
        return float(np.sqrt(self.field.sum() / np.pi))


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
        return FieldOfView(step, everywhere, everywhere, ~everywhere, ~everywhere, ~everywhere)
    smooth = ndimage.gaussian_filter(brightness, 0.01 * _CELLS)
    black = brightness <= _DARK * brightness.max()
    dark = (smooth < _LUMEN * np.median(brightness[field])) | black
    weakest = np.minimum(np.minimum(image[..., 0], image[..., 1]), image[..., 2])
    white = _cells(weakest, step, np.maximum) > _WHITE * brightness.max()
    if white[field].mean() > _RARE:
        white[:] = False
    hull = _hull(field)
    barred = hull & (~field | grown(inset) | _touching((black | inset) & hull, inset & hull))
    return FieldOfView(step, field, field & ~dark & ~white & ~grown(inset), field & dark, ~hull, barred)


def field_of_view(image: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Return where an endoscope's frame (HxWx3) shows something: HxW, to a cell of the grid (see `judge_view`)."""
    seen = judge_view(image)
    return to_pixels(seen.field, seen.step, image.shape[:2])


def view_box(image: NDArray[np.uint8] | NDArray[np.uint16]) -> tuple[slice, slice]:
    """Rows and columns of a frame (HxWx3) that its view fills: without black borders and insets beside the view.

    From the box around the field of view the outermost row or column goes, the emptiest one first, while less than two
    thirds of it are in view: where an inset reaches into the picture. Corners of a round view stay.
    """
    seen = judge_view(image)
    top, left = 0, 0
    bottom, right = seen.field.shape
    while True:
        part = seen.field[top:bottom, left:right]
        shares = [part[0].mean(), part[-1].mean(), part[:, 0].mean(), part[:, -1].mean()]
        side = int(np.argmin(shares))
        if shares[side] >= _SPARSE or min(part.shape) < 2:
            break
        top, bottom, left, right = top + (side == 0), bottom - (side == 1), left + (side == 2), right - (side == 3)
    height, width = image.shape[:2]
    return (
        slice(top * seen.step, min(bottom * seen.step, height)),
        slice(left * seen.step, min(right * seen.step, width)),
    )


def view_pixels(image: NDArray[np.uint8] | NDArray[np.uint16], seen: FieldOfView) -> NDArray[np.bool_]:
    """What of a frame (HxWx3) is in view, to the pixel: at the view's edge, cells are cut where the frame is black."""
    field, inner = (to_pixels(cells, seen.step, image.shape[:2]) for cells in (seen.field, seen.inner))
    brightness = image.max(axis=2)
    lit = brightness > _DARK * brightness.max()
    return field & (inner | lit)


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


def _hull(field: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The field with its notches: an endoscope's view is convex, so what is dark in a notch is no edge of it."""
    down, right = np.arange(field.shape[0], dtype=np.float32), np.arange(field.shape[1], dtype=np.float32)
    rows = np.flatnonzero(field.any(axis=1))
    first, last = field[rows].argmax(axis=1), field.shape[1] - 1 - field[rows, ::-1].argmax(axis=1)
    hull = np.ones(field.shape, bool)
    for angle in np.arange(_DIRECTIONS) * (2 * np.pi / _DIRECTIONS):
        cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        furthest = (cosine * down[rows] + np.maximum(sine * right[first], sine * right[last])).max()
        hull &= (cosine * down)[:, None] + sine * right <= furthest + 1e-3
    return hull


def _touching(regions: NDArray[np.bool_], seeds: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The connected `regions` that hold one of the `seeds`: the box around a drawing of the machine."""
    if not seeds.any():
        return seeds
    labels, _ = ndimage.label(regions)
    return np.isin(labels, np.unique(labels[seeds & regions])) & regions


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
