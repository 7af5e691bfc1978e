"""Parts of a frame: the box around a lesion. No torch."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Box(NamedTuple):
    """Part of a frame, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns of the frame."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def scaled(self, of: tuple[int, int], to: tuple[int, int]) -> "Box":
        """The same part of a picture of another size: (height, width) `of` this one and of the other; rounded out."""
        (top, bottom), (left, right) = (
            (start * there // here, -(-(start + length) * there // here))
            for start, length, here, there in zip(self[:2], self[2:], of, to, strict=True)
        )
        return Box(top, left, bottom - top, right - left)


def crop_box(mask: NDArray[np.bool_], context: float, smallest: int) -> Box:
    """The box around what is True in `mask` (HxW): `context` times its longer side, at least `smallest` pixels.

    It is centred on the mask as far as the frame allows and holds all of it. It is square unless the mask is
    longer than the frame's shorter side. `context` 0, or an empty mask, gives the whole frame.
    """
    height, width = mask.shape
    if not context or not mask.any():
        return Box(0, 0, height, width)
    ranges = [np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0)]
    lows, highs = ([int(found[end]) for found in ranges] for end in (0, -1))
    extent = max(high - low + 1 for low, high in zip(lows, highs, strict=True))
    side = min(max(int(np.ceil(context * extent)), smallest), max(min(height, width), extent))
    sides = min(side, height), min(side, width)
    starts = [
        min(max((low + high + 1 - length) // 2, 0), limit - length)
        for low, high, length, limit in zip(lows, highs, sides, mask.shape, strict=True)
    ]
    return Box(starts[0], starts[1], sides[0], sides[1])
