"""Intervals of a mean over cases that come in groups (patients, videos), from the sum and the number of each group.

Frames of one video are alike, so cases are not the unit of chance: whole groups are.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, stdtrit

Floats = NDArray[np.float64]

UNSEEN_CASES = 0.5
"""How many cases of the worst and of the best score a bound of `share_interval` allows for beside those seen."""


def group_sums(values: Sequence[float | None], groups: Sequence[str | None] | None) -> tuple[Floats, Floats]:
    """Sum and number of the applicable values of each group that has any, in order of first appearance.

    groups: of each value; a value with None is its own group, as are all when `groups` is None.
    """
    keys = groups if groups is not None else [None] * len(values)
    totals: dict[str | int, tuple[float, int]] = {}
    for index, (value, group) in enumerate(zip(values, keys, strict=True)):
        if value is not None:
            key = group if group is not None else index
            total, count = totals.get(key, (0.0, 0))
            totals[key] = (total + value, count + 1)
    table = np.array(list(totals.values()), dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def t_interval(sums: Floats, counts: Floats, confidence: float) -> tuple[float, float]:
    """The t interval of the mean over all cases of two groups or more: symmetric, with the error of `_error`.

    For groups of one size it is the t interval of their means.
    """
    mean, error, freedom = _error(sums, counts)
    width = stdtrit(freedom, (1 + confidence) / 2) * error
    return float(mean - width), float(mean + width)


def share_interval(
    sums: Floats, counts: Floats, confidence: float, unseen: float = UNSEEN_CASES
) -> tuple[float, float]:
    """The t interval of a mean over all cases of values in [0, 1]; two groups or more.

    It is symmetric on the logit scale, with the error of `_error` by the delta method, so it stays in [0, 1]. A test
    set may lack the rare case that counts most, such as a lesion that is missed. So the lower bound is that of a set
    with `unseen` cases more, a group of their own, of value 0; the upper bound of one with as many of value 1. That
    gives means of 0 and 1 an interval too. Half a case is what the logit of a share is usually corrected by (Haldane,
    "The estimation and significance of the logarithm of a ratio of frequencies", Annals of Human Genetics 20, 1956).
    """
    cases = counts if not unseen else np.append(counts, unseen)
    low, high = (
        _logit_bounds(sums if not unseen else np.append(sums, value * unseen), cases, confidence)[side]
        for side, value in enumerate((0.0, 1.0))
    )
    return low, high


def _logit_bounds(sums: Floats, counts: Floats, confidence: float) -> tuple[float, float]:
    mean, error, freedom = _error(sums, counts)
    if mean in (0.0, 1.0):
        return mean, mean
    width = stdtrit(freedom, (1 + confidence) / 2) * error / (mean * (1 - mean))
    return float(expit(logit(mean) - width)), float(expit(logit(mean) + width))


def _error(sums: Floats, counts: Floats) -> tuple[float, float, float]:
    """The mean over all cases, its standard error, and the degrees of freedom of that.

    A group of share w of the cases, whose mean lies e from the whole mean, adds w^2 e^2 / (1 - w) to the variance
    (CR2). The degrees of freedom are Satterthwaite's, for group means of equal variance; few groups, or one that
    outweighs the others, leave few (Bell and McCaffrey, "Bias reduction in standard errors for linear regression with
    multi-stage samples", Survey Methodology 28, 2002). The mean over cases estimates that over all cases of the
    population: a group counts by its size.
    """
    mean, share = sums.sum() / counts.sum(), counts / counts.sum()
    weight = share**2 / (1 - share)
    variance = weight @ (sums / counts - mean) ** 2
    # The covariance of two e is `common` - share_g - share_h, and 1 more for g = h. What follows are weight @ its
    # diagonal and weight @ its squares @ weight, without the whole matrix.
    common, total, first, second = share @ share, weight.sum(), weight @ share, weight @ share**2
    expected = weight @ (1 + common - 2 * share)
    squares = (common * total) ** 2 + 2 * total * second + 2 * first**2 - 4 * common * total * first
    squares += weight**2 @ (1 + 2 * common - 4 * share)
    return float(mean), float(np.sqrt(variance)), float(expected**2 / squares)
