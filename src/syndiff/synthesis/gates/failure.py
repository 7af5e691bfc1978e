"""Technical failures, which no calibration is needed for: NaN, black, unchanged."""

import numpy as np
from numpy.typing import NDArray

from syndiff.data.masks import bounding_box


def inpainting_failure(
    source: NDArray, painted: NDArray[np.float32], mask: NDArray[np.bool_]
) -> tuple[dict[str, float | None], str | None]:
    """Find out whether a painting failed technically: NaN, black or unchanged inside the mask.

    `source` is the frame (HxWx3, uint8 or uint16), `painted` the inpainter's answer. Returns the scores and
    the reason, None when it passes. `finite`: share of usable values; `brightness` and `change`: the 99th
    percentile of the painting and its mean absolute difference to the source, both as a share of the
    frame's 99th percentile, so that dark modalities and 12-bit data in 16 bits are judged alike.
    """
    window = bounding_box(mask, 1)
    inside, before = painted[window][mask[window]], source[window][mask[window]]
    finite = float(np.isfinite(inside).mean())
    scores: dict[str, float | None] = {"finite": round(finite, 6), "brightness": None, "change": None}
    if finite < 1:
        return scores, "painted NaN or infinity"
    largest = np.iinfo(source.dtype).max
    white = max(float(np.percentile(source[::4, ::4], 99)) / largest, 1 / largest)
    brightness = float(np.percentile(inside, 99)) / white
    change = float(np.abs(inside - before / np.float32(largest)).mean()) / white
    scores |= {"brightness": round(brightness, 6), "change": round(change, 6)}
    if brightness < 0.05:
        return scores, "painted black"
    if change < 0.005:
        return scores, "left the frame unchanged"
    return scores, None
