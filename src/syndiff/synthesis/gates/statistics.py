"""What the gates measure in the pixels of a lesion and its surroundings. Every score is a number without unit."""

from itertools import pairwise

import numpy as np
from scipy import ndimage

from syndiff.synthesis.gates.region import LEAST, Region

_FLOOR = 0.05 / 255
"""A twentieth of a grey value of 8 bits, so that a flat area has a finite logarithm."""


def seam(region: Region) -> float | None:
    """Step across the border of the inpainted area against steps parallel to it: log ratio.

    Neighbouring pixels are sorted by the depth at which they lie, and their absolute colour differences are
    averaged by depth, weighted by how far they lead inwards. Painting fades inside the mask, so the largest
    mean between the border and the end of the fade is taken, against the mean on both sides of that zone.
    """
    offset = int(region.reach) + 1
    sums, weights = np.zeros(2 * offset + 1), np.zeros(2 * offset + 1)
    colours = [np.ascontiguousarray(region.colour[..., channel]) for channel in range(3)]
    for here, there in _NEIGHBOURS:
        level = np.rint((region.depth[here] + region.depth[there]) / 2)
        counted = region.usable[here] & region.usable[there] & (np.abs(level) <= offset)
        index = level[counted].astype(np.intp) + offset
        inwards = np.abs(region.depth[here] - region.depth[there])[counted]
        step = sum(np.abs(colour[here] - colour[there]) for colour in colours)[counted] / 3
        weights += np.bincount(index, inwards, len(weights))
        sums += np.bincount(index, inwards * step, len(sums))
    depth = np.arange(-offset, offset + 1)
    fade = (depth >= 0) & (depth <= np.ceil(region.feather) + 1) & (weights > 0)
    away = (depth <= -3) | (depth >= np.ceil(region.feather) + 4)
    if not fade.any() or weights[away].sum() < LEAST:
        return None
    return _log_ratio((sums[fade] / weights[fade]).max(), sums[away].sum() / weights[away].sum())


def sharpness(region: Region) -> float | None:
    """Share of the finest detail in all detail, inside against ring: log ratio.

    Detail below a pixel or two over detail of two to four, each the mean absolute value of a band. A lesion
    may well have more texture than the mucosa around it, but in one picture both are equally sharp.
    """
    halves = region.halves()
    if halves is None:
        return None
    levels = [region.light, *(ndimage.gaussian_filter(region.light, sigma, truncate=3) for sigma in (0.8, 1.6))]
    bands = [np.abs(finer - coarser) for finer, coarser in pairwise(levels)]
    fine, coarse = (_log_ratio(*(band[half].mean() for half in halves)) for band in bands)
    return fine - coarse


def noise(region: Region) -> float | None:
    """Grain of single pixels, inside against ring: log ratio.

    The mean absolute second difference along both axes, blind to planes and to edges along an axis
    (Immerkaer, "Fast noise variance estimation", CVIU 1996).
    """
    halves = region.halves()
    if halves is None:
        return None
    along_rows = ndimage.convolve1d(region.light, [1, -2, 1], axis=0)
    grain = np.abs(ndimage.convolve1d(along_rows, [1, -2, 1], axis=1)) / 6
    return _log_ratio(*(grain[half].mean() for half in halves))


def contrast(region: Region) -> float | None:
    """Colour difference between the inside and the ring: length of the log ratio of the mean channels, 0 or more.

    A ratio, since half the light on a lesion and its surroundings alike makes it no less visible.
    """
    halves = region.halves()
    if halves is None:
        return None
    inside, ring = (region.colour[half].mean(axis=0) + 0.05 for half in halves)  # 0.05: black is like black
    return float(np.linalg.norm(np.log(inside / ring)))


def _log_ratio(inside: float, outside: float) -> float:
    return float(np.log((inside + _FLOOR) / (outside + _FLOOR)))


_ALL, _FIRST, _SECOND = slice(None), slice(None, -1), slice(1, None)
_NEIGHBOURS = (((_FIRST, _ALL), (_SECOND, _ALL)), ((_ALL, _FIRST), (_ALL, _SECOND)))
"""The first and the second of every two neighbours along the columns, and along the rows."""
