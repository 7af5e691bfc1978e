"""Real lesions cut out of their frames, and turned, scaled and bent for another one."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from syndiff.data.dataset import Case
from syndiff.data.masks import bounding_box, components, without_specks
from syndiff.data.readers import to_unit
from syndiff.synthesis.placement.contour import contour_distance, grown
from syndiff.synthesis.placement.field import FieldOfView, to_pixels

_MOST_RING = 100
_WAVES = 3  # cosines along each side of a lesion that bend it: few, so that its contour stays smooth


@dataclass(frozen=True)
class Lesion:
    """One connected lesion of a case: its part of the frame (hxwx3), its mask, what is not its surroundings.

    `diagonal` is the frame's, in pixels.
    """

    case: Case
    image: NDArray[np.uint8] | NDArray[np.uint16]
    mask: NDArray[np.bool_]
    foreign: NDArray[np.bool_]  # other lesions and classes, and what lies outside the field of view
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
        """Signed distance in pixels from the lesion's contour, below 0 inside (hxw)."""
        return contour_distance(self.mask)

    @property
    def nbytes(self) -> int:
        """What it holds in memory, once its distances are known."""
        return self.image.nbytes + self.mask.nbytes + self.foreign.nbytes + 4 * self.mask.size


def cut_out(
    case: Case,
    image: NDArray[np.uint8] | NDArray[np.uint16],
    mask: NDArray[np.bool_],
    seen: FieldOfView,
    others: NDArray[np.bool_] | None = None,
) -> tuple[Lesion, ...]:
    """Return the lesions of a frame that are no specks and not cut off by the edge of the frame or of the view.

    Those that pixels of `others` (HxW), another class, hide in part are left out.
    """
    labels, areas = components(mask)
    field = to_pixels(seen.inner, seen.step, mask.shape)
    boxes = ndimage.find_objects(labels)
    found = []
    for label in without_specks(areas):
        rows, columns = boxes[label - 1]
        if not field[rows, columns][labels[rows, columns] == label].all():
            continue
        if others is not None and others[rows, columns][labels[rows, columns] == label].any():
            continue
        pad = 4 + max(rows.stop - rows.start, columns.stop - columns.start) // 3
        crop = (
            slice(max(rows.start - pad, 0), rows.stop + pad),
            slice(max(columns.start - pad, 0), columns.stop + pad),
        )
        lesion = labels[crop] == label
        foreign = (mask[crop] & ~lesion) | ~field[crop]
        if others is not None:
            foreign |= others[crop]
        found.append(Lesion(case, image[crop].copy(), lesion, foreign, float(np.hypot(*mask.shape))))
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Warp:
    """A lesion turned, scaled and bent for a frame, on a square of its own that holds it whatever the bend.

    Scaled by `pixels`, turned by `angle` degrees, flipped and bent. `bend` (2x3x3, see `draw_bend`) are the weights
    of the cosines that shift pixels down and right, as shares of the lesion's radius; `margin` is the width of the
    band painted around the lesion, as a share of its radius, two pixels at least.
    """

    lesion: Lesion
    pixels: float
    angle: float
    flipped: bool
    bend: NDArray[np.float64]
    margin: float

    @property
    def radius(self) -> float:
        """Radius in pixels of the lesion there."""
        return self.pixels * self.lesion.radius

    @property
    def band(self) -> float:
        """Pixels painted around the lesion."""
        return max(2.0, self.margin * self.radius) if self.margin else 0.0

    @cached_property
    def side(self) -> int:
        """Side of the square in pixels."""
        bent = np.abs(self.bend).sum(axis=(1, 2)).max() * self.radius
        return int(np.ceil(2 * (self.lesion.reach * self.pixels + bent + self.band))) + 8

    def source(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Where the square's pixels of these h rows and w columns come from in the lesion's own picture: 2xhxw."""
        sine, cosine = np.sin(np.deg2rad(self.angle)), np.cos(np.deg2rad(self.angle))
        back = np.array([[cosine, sine], [-sine, cosine]]) / self.pixels
        if self.flipped:
            back[1] *= -1
        down, right = (
            np.cos(np.pi * np.outer((along + 0.5) / self.side, np.arange(_WAVES))) for along in (rows, columns)
        )
        row, column = self.radius * (down @ self.bend @ right.T)
        row += rows[:, None] - (self.side - 1) / 2
        column += columns - (self.side - 1) / 2
        height, width = self.lesion.mask.shape
        return np.stack(
            [
                back[0, 0] * row + back[0, 1] * column + (height - 1) / 2,
                back[1, 0] * row + back[1, 1] * column + (width - 1) / 2,
            ]
        )

    def sketch(self, step: int) -> "Sketch | None":
        """See it on cells of `step` pixels, which is enough to look for a place and many times faster.

        None when no cell is left of it.
        """
        centres = np.arange(step // 2 - step, self.side + step, step)
        nearest = np.rint(self.source(centres, centres)).astype(np.int64)
        rows, columns = (at.clip(0, most - 1) for at, most in zip(nearest, self.lesion.mask.shape, strict=True))
        distance = self.lesion.distance[rows, columns] * self.pixels
        covered = distance <= self.band + 0.75 * step  # from its middle to a corner a cell measures 0.71
        covered &= (rows == nearest[0]) & (columns == nearest[1])  # it ends where the lesion's picture does
        covered &= (distance <= 0) | ~self.lesion.foreign[rows, columns]
        if not covered.any():
            return None
        window = bounding_box(covered)
        start = np.array([side.start for side in window])
        ring = np.argwhere(grown(covered) & ~covered)
        ring = ring[:: -(-len(ring) // _MOST_RING)]
        seam = self.lesion.image[rows[tuple(ring.T)], columns[tuple(ring.T)]]
        return Sketch(
            start=(int(start[0]) - 1, int(start[1]) - 1),  # the grid begins a cell before the square
            covered=covered[window],
            body=(covered & (distance <= 0))[window],
            painted=(covered & (distance <= self.band))[window],
            ring=ring - start,
            seam=to_unit(seam),
        )

    def render(self, rows: slice, columns: slice) -> "Patch":
        """See these rows and columns of the square in full."""
        there = self.source(np.arange(rows.start, rows.stop), np.arange(columns.start, columns.stop))
        distance = ndimage.map_coordinates(self.lesion.distance, there, order=1, cval=np.inf) * self.pixels
        paint = mask = distance < 0
        if self.band:
            near = (distance <= self.band) & ~mask
            foreign = self.lesion.foreign.astype(np.float32)
            near[near] = ndimage.map_coordinates(foreign, there[:, near], order=1, cval=1) == 0
            paint = mask | near
        return Patch(self.lesion, mask, paint, there)


@dataclass(frozen=True)
class Sketch:
    """A warped lesion on a grid of cells.

    `covered` (hxw) are the cells that painting may touch, `start` is where they begin on the warp's square; of those
    in `painted` (hxw) the middle is lesion or margin, in `body` (hxw) lesion. `ring` (nx2) are cells just outside of
    the covered ones, counted from their first, where lesion and frame have to meet, at most a hundred at even
    distances; `seam` (nx3 in [0, 1]) are the lesion's own surroundings there.
    """

    start: tuple[int, int]
    covered: NDArray[np.bool_]
    body: NDArray[np.bool_]
    painted: NDArray[np.bool_]
    ring: NDArray[np.int64]
    seam: NDArray[np.float32]


@dataclass(frozen=True)
class Patch:
    """A part of a warped lesion: the lesion (hxw), it with the margin around, and where each pixel comes from."""

    lesion: Lesion
    mask: NDArray[np.bool_]
    paint: NDArray[np.bool_]
    there: NDArray[np.float64]

    def colours(self) -> NDArray[np.float32]:
        """The lesion's picture: hxwx3 in [0, 1]. Cubic: linear interpolation would teach "blurred means lesion"."""
        picture = to_unit(self.lesion.image)
        channels = [ndimage.map_coordinates(picture[..., c], self.there, order=3, mode="nearest") for c in range(3)]
        return np.clip(np.stack(channels, axis=-1), 0, 1)


def draw_bend(rng: np.random.Generator, most: float) -> NDArray[np.float64]:
    """Weights for a `Warp`: no pixel is shifted by more than `most` lesion radii along either axis."""
    weights = rng.normal(size=(2, _WAVES, _WAVES))
    weights[:, 0, 0] = 0  # a shift as a whole bends nothing
    return most * weights / np.abs(weights).sum(axis=(1, 2), keepdims=True)
