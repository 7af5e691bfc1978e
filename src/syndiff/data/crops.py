"""A box around a lesion, cut out of a frame at a network's resolution and put back where it was."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from syndiff.data.boxes import Box


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
