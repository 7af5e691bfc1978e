"""Test-time views: the same square image mirrored and turned, segmented several times and averaged."""

import torch
from torch import Tensor

_ORDER = ((0, False), (0, True), (2, False), (2, True), (1, False), (1, True), (3, False), (3, True))
"""Quarter turns, and whether the turned image is then mirrored left to right."""


def make_views(image_1chw: Tensor, count: int) -> Tensor:
    """`count` (1, 2, 4 or 8) views (count, c, h, w) of one square image (1, c, h, w); the first is the image."""
    views = []
    for turns, mirrored in _ORDER[:count]:
        view = torch.rot90(image_1chw, turns, (2, 3))
        views.append(view.flip(3) if mirrored else view)
    return torch.cat(views)


def undo_views(view_bchw: Tensor) -> Tensor:
    """Turn maps (b, c, h, w) of the views that `make_views` made back to the orientation of the image."""
    maps = []
    for view, (turns, mirrored) in zip(view_bchw.split(1), _ORDER, strict=False):
        maps.append(torch.rot90(view.flip(3) if mirrored else view, -turns, (2, 3)))
    return torch.cat(maps)
