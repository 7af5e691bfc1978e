"""Several answers for one image: how sure they are, how far to believe it, and whether doubt finds the errors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

BINS = 15


@dataclass(frozen=True)
class Reliability:
    """Pixels counted by their predicted probability, in `BINS` equal bins of [0, 1].

    pixels: how many fell into each bin; probability, frequency: the sums over them of the predicted probability and of
    the annotation. Counts of several cases add up.
    """

    pixels: NDArray[np.float64]
    probability: NDArray[np.float64]
    frequency: NDArray[np.float64]

    @classmethod
    def of(cls, probability_hw: NDArray[np.float32], target_hw: NDArray[np.bool_]) -> "Reliability":
        """Count one case."""
        index = np.minimum((probability_hw * BINS).astype(np.int64), BINS - 1).ravel()
        return cls(
            np.bincount(index, minlength=BINS).astype(np.float64),
            np.bincount(index, probability_hw.ravel(), BINS).astype(np.float64),
            np.bincount(index, target_hw.ravel(), BINS).astype(np.float64),
        )

    def __add__(self, other: "Reliability") -> "Reliability":
        return Reliability(
            self.pixels + other.pixels, self.probability + other.probability, self.frequency + other.frequency
        )

    @property
    def error(self) -> float:
        """Expected calibration error: the mean over pixels of |frequency - probability| of their bin."""
        return float(np.abs(self.frequency - self.probability).sum() / self.pixels.sum())


def mean_variance(members_nhw: NDArray[np.float32]) -> float:
    """Variance over the n answers, averaged over the pixels that any of them marks; 0 where none does."""
    marked = (members_nhw > 0.5).any(0)
    return float(members_nhw.var(0)[marked].mean()) if marked.any() else 0.0


def detection_auc(doubt: Sequence[float], wrong: Sequence[bool]) -> float | None:
    """Chance that a wrong case has more doubt than a right one (area under the ROC curve); None without both."""
    bad = [value for value, is_wrong in zip(doubt, wrong, strict=True) if is_wrong]
    good = [value for value, is_wrong in zip(doubt, wrong, strict=True) if not is_wrong]
    if not bad or not good:
        return None
    return float(stats.mannwhitneyu(bad, good).statistic / (len(bad) * len(good)))
