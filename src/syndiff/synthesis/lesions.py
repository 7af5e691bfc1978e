"""Real lesions cut out of their frames, and turned, scaled and bent for another one."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from syndiff.data.dataset import Case
from syndiff.data.readers import to_unit
from syndiff.synthesis.field import View, to_pixels

_CONNECTIVITY = np.ones((3, 3))
_FEWEST_PIXELS = 16
_WAVES = 3  # cosines along each side of a lesion that bend it: few, so that its outline stays smooth


@dataclass(frozen=True)
class Lesion:
    """One connected lesion of a case: its part of the frame (hxwx3), its mask, what is not its surroundings.

    `diagonal` is the frame's, in pixels.
    """

    case: Case
    image: NDArray[np.uint8] | NDArray[np.uint16]
    mask: NDArray[np.bool_]
    foreign: NDArray[np.bool_]  # other lesions, and what lies outside the field of view
    diagonal: float

    @cached_property
    def radius(self) -> float:
        """Radius in pixels of the disc of the same area."""
        return float(np.sqrt(self.mask.sum() / np.pi))

    @cached_property
    def reach(self) -> float:
        """Largest distance in pixels of a lesion's pixel from the middle of its picture."""
        middle = (np.array(self.mask.shape) - 1) / 2
        return float(np.linalg.norm(np.argwhere(self.mask) - middle, axis=1).max())

    @cached_property
    def distance(self) -> NDArray[np.float32]:
        """Signed distance in pixels from the lesion's outline, below 0 inside (hxw)."""
        outside = ndimage.distance_transform_edt(~self.mask)
        return (outside - ndimage.distance_transform_edt(self.mask)).astype(np.float32)

    @property
    def nbytes(self) -> int:
        """What it holds in memory, once its distances are known."""
        return self.image.nbytes + self.mask.nbytes + self.foreign.nbytes + 4 * self.mask.size


def relative_sizes(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Square roots of the areas of a mask's (HxW) lesions, specks left out, relative to the frame's diagonal."""
    _, areas, kept = _label(mask)
    return np.sqrt(areas[kept]) / np.hypot(*mask.shape)


def cut_out(
    case: Case, image: NDArray[np.uint8] | NDArray[np.uint16], mask: NDArray[np.bool_], seen: View
) -> tuple[Lesion, ...]:
    """Return the lesions of a frame that are no specks and not cut off by the edge of the frame or of the view."""
    regions, _, kept = _label(mask)
    field = to_pixels(ndimage.binary_erosion(seen.field), seen.step, mask.shape)  # False along the frame's edge too
    boxes = ndimage.find_objects(regions)
    found = []
    for number in kept:
        rows, columns = boxes[number]
        if not field[rows, columns][regions[rows, columns] == number + 1].all():
            continue
        pad = 4 + max(rows.stop - rows.start, columns.stop - columns.start) // 3
        crop = (
            slice(max(rows.start - pad, 0), rows.stop + pad),
            slice(max(columns.start - pad, 0), columns.stop + pad),
        )
        lesion = regions[crop] == number + 1
        foreign = (mask[crop] & ~lesion) | ~field[crop]
        found.append(Lesion(case, image[crop].copy(), lesion, foreign, float(np.hypot(*mask.shape))))
    return tuple(found)


def _label(mask: NDArray[np.bool_]) -> tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.integer]]:
    """The regions of a mask, their areas, and the numbers (from 0) of those that are no specks beside the others."""
    regions, count = ndimage.label(mask, _CONNECTIVITY)
    areas = np.bincount(regions.ravel(), minlength=count + 1)[1:]
    return regions, areas, np.flatnonzero(areas >= max(_FEWEST_PIXELS, areas.max(initial=0) / 20))


@dataclass(frozen=True)
class Patch:
    """A lesion turned, scaled and bent for a frame, not yet at a position.

    `mask` (hxw) is the lesion, `paint` it with the margin around, `there` (2xhxw) where each pixel comes from
    in the lesion's own picture.
    """

    lesion: Lesion
    mask: NDArray[np.bool_]
    paint: NDArray[np.bool_]
    there: NDArray[np.float64]

    @cached_property
    def ring(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of the pixels just outside what is painted, where lesion and frame have to meet."""
        rows, columns = np.nonzero(ndimage.binary_dilation(self.paint) & ~self.paint)
        return rows, columns

    @cached_property
    def seam(self) -> NDArray[np.float32]:
        """The lesion's own surroundings on the ring: nx3 in [0, 1]."""
        return self._colours(self.there[:, *self.ring], order=1)

    def donor(self) -> NDArray[np.float32]:
        """The lesion's picture: hxwx3 in [0, 1]. Cubic: linear interpolation would teach "blurred means lesion"."""
        return np.clip(self._colours(self.there, order=3), 0, 1)

    def _colours(self, there: NDArray[np.float64], order: Literal[1, 3]) -> NDArray[np.float32]:
        picture = to_unit(self.lesion.image)
        channels = [ndimage.map_coordinates(picture[..., c], there, order=order, mode="nearest") for c in range(3)]
        return np.stack(channels, axis=-1)


def move(
    lesion: Lesion,
    *,
    pixels: float,
    angle: float,
    flipped: bool,
    bend: NDArray[np.float64],
    margin: float,
) -> Patch | None:
    """Scale by `pixels`, turn by `angle` degrees, flip and bend; None when too little of the lesion is left.

    `bend` (2x3x3, see `draw_bend`) are the weights of the cosines that shift pixels down and right, as shares of
    the lesion's radius; `margin` is the width of the band painted around the lesion, as a share of its radius, two
    pixels at least.
    """
    height, width = lesion.mask.shape
    radius = pixels * lesion.radius
    band = max(2.0, margin * radius) if margin else 0.0
    side = int(np.ceil(2 * (lesion.reach * pixels + np.abs(bend).sum(axis=(1, 2)).max() * radius + band))) + 8
    sine, cosine = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
    back = np.array([[cosine, sine], [-sine, cosine]]) / pixels  # from the patch to the cut-out
    if flipped:
        back[1] *= -1
    centre = np.array([height - 1, width - 1]) / 2
    grid = np.mgrid[:side, :side] - (side - 1) / 2
    waves = np.cos(np.pi * np.outer((np.arange(side) + 0.5) / side, np.arange(_WAVES)))
    there = np.tensordot(back, grid + radius * (waves @ bend @ waves.T), 1) + centre[:, None, None]
    distance = ndimage.map_coordinates(lesion.distance, there, order=1, cval=np.inf)
    mask = distance < 0
    if mask.sum() < _FEWEST_PIXELS:
        return None
    paint = mask
    if band:
        near = (distance * pixels <= band) & ~mask
        near[near] = ndimage.map_coordinates(lesion.foreign.astype(np.float32), there[:, near], order=1, cval=1) == 0
        paint = mask | near
    rows, columns = ndimage.find_objects(paint.astype(np.uint8))[0]
    crop = (
        slice(max(rows.start - 2, 0), rows.stop + 2),
        slice(max(columns.start - 2, 0), columns.stop + 2),
    )
    return Patch(lesion, mask[crop], paint[crop], there[:, *crop])


def draw_bend(rng: np.random.Generator, most: float) -> NDArray[np.float64]:
    """Weights for `move`: no pixel is shifted by more than `most` lesion radii along either axis."""
    weights = rng.normal(size=(2, _WAVES, _WAVES))
    weights[:, 0, 0] = 0  # a shift as a whole bends nothing
    return most * weights / np.abs(weights).sum(axis=(1, 2), keepdims=True)
