"""Test-time views: the same square image mirrored and turned, segmented several times and averaged."""

from itertools import combinations
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_ORDER = ((0, False), (0, True), (2, False), (2, True), (1, False), (1, True), (3, False), (3, True))
"""Quarter turns, and whether the turned image is then mirrored left to right."""

T = TypeVar("T", bound=np.generic)


def make_views(image_hwc: NDArray[T], count: int) -> NDArray[T]:
    """`count` (1, 2, 4 or 8) views (count, h, w, c) of one square image (h, w, c); the first is the image."""
    views = []
    for turns, mirrored in _ORDER[:count]:
        view = np.rot90(image_hwc, turns)
        views.append(view[:, ::-1] if mirrored else view)
    return np.stack(views)


def undo_views(view_bhw: NDArray[T]) -> NDArray[T]:
    """Turn maps (b, ..., h, w) of the views that `make_views` made back to the orientation of the image."""
    maps = []
    for view, (turns, mirrored) in zip(view_bhw, _ORDER, strict=False):
        maps.append(np.rot90(view[..., ::-1] if mirrored else view, -turns, axes=(-2, -1)))
    return np.stack(maps)


def disagreement(members_nhw: NDArray[np.float32]) -> float:
    """1 minus the mean Dice between any two of n >= 2 answers (probabilities), each cut at 0.5; in [0, 1].

    Two empty answers agree fully.
    """
    masks = members_nhw.reshape(len(members_nhw), -1) > 0.5
    areas = masks.sum(1)
    scores = []
    for i, j in combinations(range(len(masks)), 2):
        total = areas[i] + areas[j]
        scores.append(2 * np.count_nonzero(masks[i] & masks[j]) / total if total else 1.0)
    return float(1 - np.mean(scores))
