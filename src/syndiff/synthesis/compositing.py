"""Putting inpainted pixels into a frame so that nothing outside the mask changes."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from syndiff.data.masks import bounding_box
from syndiff.synthesis.grain import match_grain
from syndiff.synthesis.settings import SynthesisSettings


def put(
    frame: NDArray[np.uint8] | NDArray[np.uint16],
    painted: NDArray[np.float32],
    mask: NDArray[np.bool_],
    settings: SynthesisSettings,
    *,
    seed: int,
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """`painted` (HxWx3 in [0, 1]) inside `mask` (HxW) of `frame` (HxWx3), as the settings have grain and feather.

    `seed` draws the grain. Outside the mask the frame's own bits stay.
    """
    if settings.grain:
        painted = match_grain(frame, painted, mask, seed=seed)
    return composite(frame, painted, mask, feather=settings.feather)


def composite(
    source: NDArray[np.uint8] | NDArray[np.uint16],
    painted: NDArray[np.float32],
    mask: NDArray[np.bool_],
    *,
    feather: float,
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Blend `painted` (HxWx3 in [0, 1]) over `source` (HxWx3) inside `mask` (HxW); NaN and infinities become 0 or 1.

    The weight of the inpainted pixels rises from the border of the mask inwards over `feather` pixels
    (0: a hard edge); a mask thinner than that still reaches full weight at its middle. Returns the dtype of
    `source`, equal to it bit for bit outside the mask. Inpainters re-encode the whole frame and shift
    every pixel a little, which is why nothing of them is taken outside.
    """
    result = source.copy()
    if not mask.any():
        return result
    largest = np.iinfo(source.dtype).max
    window = bounding_box(mask, 1)  # of a mask that often is a hundredth of the frame
    inside = mask[window]
    weight = _feather_weight(inside, feather)[inside, None]
    below = source[window][inside].astype(np.float64)
    above = np.clip(np.nan_to_num(painted[window][inside].astype(np.float64)), 0, 1) * largest
    result[window][inside] = np.rint(below + weight * (above - below)).astype(source.dtype)
    return result


def _feather_weight(mask: NDArray[np.bool_], feather: float) -> NDArray[np.float64]:
    """Weights in (0, 1] inside a mask and its surroundings. The frame's own edge is no border of the mask."""
    if mask.all():
        return np.ones(mask.shape)
    depth = ndimage.distance_transform_edt(mask)  # 1 on the outermost pixels of the mask
    ramp = min(feather + 1, depth.max())
    return np.clip(depth / ramp, 0, 1)
