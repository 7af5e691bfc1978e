"""A square around a lesion, cut out of a frame at a network's resolution and put back where it was."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate


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
    top, left = (
        min(max((low + high + 1 - length) // 2, 0), limit - length)
        for low, high, length, limit in zip(lows, highs, sides, mask.shape, strict=True)
    )
    return Box(top, left, *sides)


def cut(picture: NDArray, box: Box, size: int) -> Tensor:
    """The `box` of `picture` (HxW or HxWxC, in [0, 1]) as (C, size, size), float32 in [0, 1]."""
    part = np.atleast_3d(picture[box.slices]).astype(np.float32)
    return _resize(torch.from_numpy(part).movedim(2, 0), (size, size)).clamp(0, 1)


def paste(frame: NDArray[np.float32], picture: Tensor, box: Box) -> NDArray[np.float32]:
    """A copy of `frame` (HxWxC) with `picture` (C, h, w), resized, in its `box`; not a bit differs outside."""
    result = frame.copy()
    resized = _resize(picture.float().cpu(), (box.height, box.width)).clamp(0, 1)
    result[box.slices] = resized.movedim(0, 2).numpy()
    return result


def _resize(picture_chw: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic, smoothed where it shrinks."""
    if picture_chw.shape[1:] == size:
        return picture_chw
    return interpolate(picture_chw[None], size, mode="bicubic", antialias=True)[0]
