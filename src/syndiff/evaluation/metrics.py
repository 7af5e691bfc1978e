"""Overlap, surface distance and lesion counts of one predicted mask against one annotated mask.

The rules for empty masks are fixed here, because tools differ and a lenient rule rewards finding less
(MONAI answers NaN for the HD95 of a missed lesion and leaves it out of the mean):

==============  =================  =====================  =====================
                both masks empty   only the target empty  only the prediction empty
==============  =================  =====================  =====================
Dice, IoU       1                  0                      0
precision       not applicable     0                      not applicable
recall          not applicable     not applicable         0
HD95            not applicable     image diagonal         image diagonal
NSD             not applicable     0                      0
==============  =================  =====================  =====================

"Not applicable" is None: left out of the mean, and counted beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from syndiff.data.masks import components
from syndiff.errors import SyndiffError

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class CaseMetrics:
    """The metrics of one case; None = not applicable.

    dice, iou, precision, recall, nsd: in [0, 1], 1 is perfect.
    hd95: pixels, 0 is perfect.
    lesions: connected components of the annotation (8-connected: pixels that meet at a corner are one).
    missed_lesions: those without a single predicted pixel.
    false_lesions: connected components of the prediction without a single annotated pixel.
    intersection, predicted, annotated: pixel counts, for pooling over cases.
    """

    dice: float
    iou: float
    precision: float | None
    recall: float | None
    hd95: float | None
    nsd: float | None
    lesions: int
    missed_lesions: int
    false_lesions: int
    intersection: int
    predicted: int
    annotated: int


def case_metrics(prediction: Mask, target: Mask, *, tolerance: float = 2.0) -> CaseMetrics:
    """Compare two HxW boolean masks of one size; `tolerance` is that of the NSD, in pixels.

    Raises SyndiffError when the masks are not boolean images of one size or the tolerance is negative.
    """
    for role, mask in (("prediction", prediction), ("target", target)):
        if mask.dtype != np.bool_ or mask.ndim != 2 or mask.size == 0:
            raise SyndiffError(
                f"The {role} is an array of {mask.dtype} with shape {mask.shape}; metrics expect a boolean "
                "HxW mask. Threshold it first."
            )
    if prediction.shape != target.shape:
        raise SyndiffError(
            f"The prediction has shape {prediction.shape} and the target {target.shape}; "
            "bring the prediction back to the size of the annotation first."
        )
    if not tolerance >= 0:
        raise SyndiffError(f"tolerance is {tolerance}; the surface tolerance is 0 or more pixels.")

    diagonal = math.hypot(*target.shape)
    predicted, annotated = int(prediction.sum()), int(target.sum())
    prediction, target = _crop_to_union(prediction, target)
    intersection = int((prediction & target).sum())
    dice, iou = overlap(intersection, predicted, annotated) or (1.0, 1.0)
    hd95, nsd = _surface_agreement(prediction, target, tolerance, diagonal)
    lesions, missed = _components_apart(target, prediction)
    _, false = _components_apart(prediction, target)
    return CaseMetrics(
        dice=dice,
        iou=iou,
        precision=intersection / predicted if predicted else None,
        recall=intersection / annotated if annotated else None,
        hd95=hd95,
        nsd=nsd,
        lesions=lesions,
        missed_lesions=missed,
        false_lesions=false,
        intersection=intersection,
        predicted=predicted,
        annotated=annotated,
    )


def mean_metrics(classes: Sequence[CaseMetrics]) -> CaseMetrics:
    """Those of several classes of one case as one: the mean of each score over the classes it is applicable to.

    Counts of lesions and pixels are summed.
    """
    if len(classes) == 1:
        return classes[0]
    together: dict[str, Any] = {}
    for field in fields(CaseMetrics):
        values = [value for each in classes if (value := getattr(each, field.name)) is not None]
        whole = sum(values)
        together[field.name] = whole if field.type is int else whole / len(values) if values else None
    return CaseMetrics(**together)


def overlap(intersection: int, predicted: int, annotated: int) -> tuple[float, float] | None:
    """Dice and IoU from pixel counts, of one case or summed over many; None when both masks are empty."""
    if predicted + annotated == 0:
        return None
    return 2 * intersection / (predicted + annotated), intersection / (predicted + annotated - intersection)


def surface(mask: Mask) -> Mask:
    """The surface of an HxW mask: its pixels with a 4-neighbour outside the mask.

    That is the mask less its erosion by the cross; beyond the border of the image everything is outside,
    so mask pixels on the border belong to the surface.
    """
    around = np.pad(mask, 1)
    return mask & ~(around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:])


def _surface_agreement(
    prediction: Mask, target: Mask, tolerance: float, diagonal: float
) -> tuple[float | None, float | None]:
    """HD95 and NSD: the larger directed 95th percentile, and the share of both surfaces within tolerance.

    The percentile interpolates linearly between order statistics, as in NumPy and MONAI.
    """
    if not prediction.any() and not target.any():
        return None, None
    if not prediction.any() or not target.any():
        return diagonal, 0.0
    # Trees over the surface pixels: exact, and several times faster than distance maps of the whole frame.
    ours, theirs = np.argwhere(surface(prediction)), np.argwhere(surface(target))
    to_target, _ = KDTree(theirs).query(ours)
    to_prediction, _ = KDTree(ours).query(theirs)
    hd95 = max(np.percentile(to_target, 95), np.percentile(to_prediction, 95))
    within = np.count_nonzero(to_target <= tolerance) + np.count_nonzero(to_prediction <= tolerance)
    return float(hd95), within / (len(ours) + len(theirs))


def _components_apart(mask: Mask, other: Mask) -> tuple[int, int]:
    """The number of connected components of `mask`, and how many of them share no pixel with `other`."""
    labels, areas = components(mask)
    met = np.unique(labels[mask & other])
    return len(areas), len(areas) - met.size


def _crop_to_union(prediction: Mask, target: Mask) -> tuple[Mask, Mask]:
    """Both masks cut to the bounding box of their union, which holds every surface; empty ones stay whole."""
    union = prediction | target
    rows, columns = np.flatnonzero(union.any(axis=1)), np.flatnonzero(union.any(axis=0))
    if rows.size == 0:
        return prediction, target
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return prediction[box], target[box]
