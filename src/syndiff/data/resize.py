"""The resize rule `stretch`: any image to a square and the prediction back to the original size.

Every function resamples with Pillow's antialiased bilinear filter, whose pixel centres sit at (i + 1/2): an
enlargement interpolates, a reduction averages over the area a new pixel covers, and nothing shifts. The
aspect ratio is not kept; `restore_probability` undoes that, so masks come back at the original size.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_BILINEAR = Image.Resampling.BILINEAR


def resize_image(image_hwc: NDArray[np.uint8] | NDArray[np.uint16], size: int) -> NDArray[np.uint8]:
    """Resize an HxWx3 image to `size` x `size` x 3, uint8.

    16-bit images are brought to 8 bits by the maximum of the data type (65535 becomes 255), never by the
    image's own maximum, so that brightness keeps its meaning from case to case.
    """
    resized = Image.fromarray(_to_bytes(image_hwc)).resize((size, size), _BILINEAR)
    return np.array(resized)


def resize_mask(mask_hw: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Resize an HxW mask to `size` x `size`: foreground where it covers at least half of the new pixel."""
    grey = Image.fromarray(mask_hw.astype(np.uint8) * np.uint8(255))
    return np.asarray(grey.resize((size, size), _BILINEAR)) >= 128


def resize_masks(masks_khw: NDArray[np.bool_], size: int, *, exclusive: bool) -> NDArray[np.bool_]:
    """`resize_mask` of masks (K, H, W) of several classes: (K, size, size).

    Where classes are `exclusive`, a pixel that two of them halve goes to the first.
    """
    resized = np.stack([resize_mask(mask, size) for mask in masks_khw])
    if exclusive:
        resized[1:] &= ~np.logical_or.accumulate(resized)[:-1]
    return resized


def resize_to(
    image_hwc: NDArray[np.uint8] | NDArray[np.uint16], mask_hw: NDArray[np.bool_], largest: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Image (HxWx3, to uint8) and mask (HxW) shrunk so that the longer side has `largest` pixels at most."""
    image_hwc = _to_bytes(image_hwc)
    height, width = mask_hw.shape
    scale = min(1.0, largest / max(height, width))
    if scale == 1:
        return image_hwc, mask_hw
    size = max(1, round(width * scale)), max(1, round(height * scale))
    grey = Image.fromarray(mask_hw.astype(np.uint8) * np.uint8(255)).resize(size, _BILINEAR)
    return np.array(Image.fromarray(image_hwc).resize(size, _BILINEAR)), np.asarray(grey) >= 128


def restore_probability(prob_hw: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Resize a map of probabilities in [0, 1] (any HxW) to `height` x `width`, float32 in [0, 1].

    This is the way back from the model's square to the original image; threshold the result, not the square.
    """
    field = Image.fromarray(np.ascontiguousarray(prob_hw, dtype=np.float32))
    # The filter's weights sum to one only up to rounding.
    return np.clip(np.asarray(field.resize((width, height), _BILINEAR)), 0.0, 1.0)


def _to_bytes(image_hwc: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    if image_hwc.dtype == np.uint16:
        return np.rint(image_hwc / np.float32(257)).astype(np.uint8)
    assert image_hwc.dtype == np.uint8, image_hwc.dtype
    return image_hwc.astype(np.uint8, copy=False)
