"""Grain: what a camera puts into every pixel and a network or a warp leaves out of what it paints."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_REACH = 0.5
"""Width of the band around the mask whose grain is taken, in radii of the mask."""
_LARGEST_GAIN = 3.0
_OUTLIER = 4.0
"""Standard deviations beyond which a residual is an edge or a highlight rather than grain."""


def match_grain(
    source: NDArray[np.uint8] | NDArray[np.uint16], painted: NDArray[np.float32], mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """`painted` (HxWx3 in [0, 1]) with as much grain inside `mask` (HxW) as `source` (HxWx3) has just outside it.

    The grain is the source's own: its residual after a Gaussian of one pixel, mirrored at the border of the mask and
    scaled so that the median second difference (Immerkaer, CVIU 1996) inside becomes that of the surroundings. A
    network that paints at a lower resolution and a lesion that was turned and scaled are smoother than the frame, and
    a segmenter would learn that smooth means lesion. Nothing is taken away where there is grain enough, and nothing
    happens when there is nothing to take it from.
    """
    if not mask.any() or mask.all():
        return painted
    rows, columns = ndimage.find_objects(mask.astype(np.uint8))[0]
    radius = np.sqrt(mask.sum() / np.pi)
    pad = int(np.ceil(max(8.0, radius))) + 2
    window = (slice(max(rows.start - pad, 0), rows.stop + pad), slice(max(columns.start - pad, 0), columns.stop + pad))
    frame = source[window].astype(np.float32) / np.iinfo(source.dtype).max
    inside = mask[window]
    distance, nearest = ndimage.distance_transform_edt(inside, return_indices=True)
    ring = ~inside & (ndimage.distance_transform_edt(~inside) <= max(6.0, _REACH * radius))
    wanted, found = _grain(frame, ring), _grain(painted[window], inside & (distance > 1))
    if not found < wanted:  # a painting with NaN is judged elsewhere
        return painted
    residual = frame - ndimage.gaussian_filter(frame, (1, 1, 0))
    limit = _OUTLIER * 1.4826 * np.median(np.abs(residual[ring]), axis=0)
    residual = np.clip(residual, -limit, limit)
    mirrored = 2 * nearest - np.indices(inside.shape)
    for axis, length in enumerate(inside.shape):  # a mirror image beyond the frame is mirrored again at its edge
        mirrored[axis] = np.abs(mirrored[axis])
        mirrored[axis] = np.clip((length - 1) - np.abs((length - 1) - mirrored[axis]), 0, length - 1)
    grain = np.where(inside[..., None], residual[mirrored[0], mirrored[1]], np.float32(0))
    brought = _grain(grain, inside & (distance > 1))
    if brought == 0:
        return painted
    gain = min(_LARGEST_GAIN, float(np.sqrt(wanted**2 - found**2)) / brought)
    result = painted.copy()
    result[window] += np.float32(gain) * grain
    return np.clip(result, 0, 1)


def _grain(picture: NDArray[np.floating[Any]], where: NDArray[np.bool_]) -> float:
    """Median absolute second difference, along both axes, of the light of a picture (hxwx3); 0 where nothing is."""
    if not where.any():
        return 0.0
    along_rows = ndimage.convolve1d(picture.mean(axis=2), [1, -2, 1], axis=0)
    return float(np.median(np.abs(ndimage.convolve1d(along_rows, [1, -2, 1], axis=1)[where]))) / 6
