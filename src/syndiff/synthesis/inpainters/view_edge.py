"""Where a lesion ends at the edge of the view, nothing lies beyond that it could be blended with."""

import numpy as np
from numpy.typing import NDArray

from syndiff.data.masks import bounding_box
from syndiff.synthesis.placement.contour import grown

_MOST = 400  # pixels of the border that are weighed; more would not change what is smooth


def carried_on(
    target: NDArray[np.float32], donor: NDArray[np.float32], mask: NDArray[np.bool_], in_view: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """`target` (HxWx3) for blending `donor` (HxWx3) into `mask` (HxW), without what lies beyond the view (`in_view`).

    Around the mask, pixels out of view would draw the black border into the lesion. They are given values as far from
    the donor as those on the rest of the border are, weighted by the inverse square of their distance (Shepard, 1968).
    A mask without any border in view is given the donor's own values there. Nothing else is changed.
    """
    window = bounding_box(mask, 1)
    border = grown(mask[window]) & ~mask[window]
    hidden = np.argwhere(border & ~in_view[window])
    if not len(hidden):
        return target
    known = np.argwhere(border & in_view[window])
    known = known[:: -(-len(known) // _MOST) or 1]
    result = target.copy()
    part, lent = result[window], donor[window]
    offset = np.zeros((len(hidden), part.shape[2]), np.float32)
    if len(known):
        difference = part[tuple(known.T)] - lent[tuple(known.T)]
        weights = 1.0 / ((hidden[:, None, :] - known[None, :, :]) ** 2).sum(axis=2)
        offset = (weights / weights.sum(axis=1, keepdims=True)) @ difference
    part[tuple(hidden.T)] = lent[tuple(hidden.T)] + offset
    return result
