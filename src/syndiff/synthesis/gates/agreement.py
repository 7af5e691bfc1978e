"""Agreement: does a segmenter trained on real cases see what the label says?"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from syndiff.synthesis.gates.region import GateInput

if TYPE_CHECKING:  # it brings torch
    from syndiff.models.predictor import Predictor


def agreement(sample: GateInput, predictor: "Predictor") -> float:
    """Dice in [0, 1] between the lesion to judge and what the segmenter predicts in the finished picture.

    Where the frame has lesions of its own, each predicted pixel belongs to the lesion it is nearest to, so
    that a large old lesion found well does not hide a new one that nobody sees.
    """
    predicted = predictor.predict(sample.image, case_id=sample.case_id).mask
    lesion, own = sample.lesion_mask, sample.label & ~sample.lesion_mask
    if own.any():
        predicted = predicted & (_distance_to(lesion) <= _distance_to(own))
    return float(2 * (predicted & lesion).sum() / (predicted.sum() + lesion.sum()))


def _distance_to(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    return ndimage.distance_transform_edt(~mask)
