"""How far a mean over cases can be trusted, when cases come in groups (patients, videos).

Frames of one video are alike, so cases are not the unit of chance: whole groups are. The bootstrap draws
groups with replacement and takes the mean over all their cases, a ratio of sums. Without groups each case
is its own group. A difference of two models has a t interval that knows of groups.
benchmarks/interval_coverage.py measures how often each holds the truth.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from syndiff.errors import SyndiffError

METHOD = "expanded percentile bootstrap of the mean over cases, resampling whole groups"
DIFFERENCE_METHOD = (
    "t interval of the mean over cases, with the cluster-robust error CR2 of whole groups and Satterthwaite's "
    "degrees of freedom"
)
FEW_GROUPS = 10
_DRAWS_AT_ONCE = 2_000_000
_HELD = ((6, "63 to 87"), (10, "80 to 90"), (30, "81 to 92"), (60, "88 to 94"))
"""Below how many groups intervals of scores are too narrow, and how often they hold the truth: results/intervals.md."""
T = TypeVar("T")


@dataclass(frozen=True)
class Interval:
    """A mean over cases and its confidence interval.

    mean: None when the value applies to no case.
    low, high: None when fewer than two groups are left, because chance cannot be told from one.
    cases, groups: how many cases with a value, in how many groups (cases, where there are no groups).
    not_applicable: how many cases had no value (None) and were left out.
    note: what a reader must know about the interval, None when nothing.
    """

    mean: float | None
    low: float | None
    high: float | None
    cases: int
    groups: int
    not_applicable: int
    note: str | None

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None) or (self.mean is None and self.low is not None):
            raise SyndiffError("an interval has both bounds, and a mean, or no bound.")


@dataclass(frozen=True)
class Difference(Interval):
    """The mean over cases of first - second, its interval and a p-value.

    p_value: two-sided sign-flip permutation test over groups: were the two models interchangeable, each
        group's difference could as well have the other sign; p is the share of all sign patterns whose mean
        difference is at least as large in size as the one found. Exact for up to 13 groups at the default
        resamples, sampled above. It cannot be smaller than 2 / 2**groups; None with fewer than two groups.
        A p-value of the bootstrap would be too small with few groups, as its intervals are too narrow there.
        Interval and test can differ: a difference is one where both say so.
    """

    p_value: float | None


def bootstrap_mean(
    values: Sequence[float | None],
    groups: Sequence[str | None] | None,
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """The mean of `values` (one per case; None = not applicable) and its bootstrap interval over `groups`.

    groups: the group of each case; a case with None is its own group, as are all when `groups` is None.

    The percentile interval is expanded (Hesterberg, "What teachers should know about the bootstrap",
    The American Statistician 69, 2015): tails of alpha/2 become Phi(-sqrt(n/(n-1)) * t(1-alpha/2, n-1)) for
    n groups. The plain interval is too narrow when groups are few. The expanded one still is where scores are
    skewed, as Dice is; the note says how much.

    Raises SyndiffError for a confidence outside (0, 1) or fewer than 100 resamples.
    """
    _check(confidence, resamples)
    sums, counts = _group_sums(values, groups)
    cases, size = int(counts.sum()), len(sums)
    mean = float(sums.sum() / cases) if cases else None
    low = high = None
    if size > 1:
        draws = _resampled_means(sums, counts, resamples, np.random.default_rng(seed))
        low, high = _expanded(draws, size, confidence)
    return Interval(mean, low, high, cases, size, len(values) - cases, _note(size, _unit(groups), scores=True))


def bootstrap(
    cases: Sequence[T],
    groups: Sequence[str | None] | None,
    statistic: Callable[[Sequence[T]], float | None],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """A statistic of all `cases` that is no mean, with the same kind of interval as `bootstrap_mean`.

    Resamples in which the statistic does not exist (None) are left out, and the note says how many.
    """
    keys = groups if groups is not None else [None] * len(cases)
    members: dict[str | int, list[T]] = {}
    for index, (case, group) in enumerate(zip(cases, keys, strict=True)):
        members.setdefault(group if group is not None else index, []).append(case)
    parts, size = list(members.values()), len(members)
    unit = _unit(groups)
    low = high = None
    note = _note(size, unit, scores=False)
    value = statistic(cases)
    if size > 1 and value is not None:
        drawn = np.random.default_rng(seed).integers(0, size, (resamples, size))
        found = [statistic([case for part in row for case in parts[part]]) for row in drawn]
        draws = np.array([one for one in found if one is not None])
        low, high = _expanded(draws, size, confidence)
        if missing := resamples - len(draws):
            missed = f"it does not exist in {missing} of {resamples} resamples"
            note = f"{note}; {missed}" if note else missed
    return Interval(value, low, high, len(cases), size, 0, note)


def paired_difference(
    first: Sequence[float | None],
    second: Sequence[float | None],
    groups: Sequence[str | None] | None,
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """The mean of first - second over the same cases, positive where the first is larger.

    A case where either value is None is left out and counted. Settings and errors as in `bootstrap_mean`.
    """
    differences = [None if a is None or b is None else a - b for a, b in zip(first, second, strict=True)]
    _check(confidence, resamples)
    sums, counts = _group_sums(differences, groups)
    size, cases = len(sums), int(counts.sum())
    mean = float(sums.sum() / cases) if cases else None
    low = high = p_value = None
    if size > 1:
        low, high = _robust(sums, counts, confidence)
        p_value = _sign_flip_p(sums, resamples, np.random.default_rng(seed))
    note = None if size > 1 else _note(size, _unit(groups), scores=False)
    return Difference(mean, low, high, cases, size, len(differences) - cases, note, p_value)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """The p-values of a family of comparisons, adjusted so that one false alarm among all of them is as rare as alpha.

    A family is every comparison that is shown side by side to answer one question; each adjusted value may be held
    against the usual .05. The k-th smallest of m is multiplied by m - k + 1 and never falls below a smaller one's
    (Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979); it
    holds however the comparisons depend on each other. None, of a comparison without a p-value, stays None and does
    not count.

    Raises SyndiffError for a value outside [0, 1].
    """
    for value in p_values:
        if value is not None and not 0 <= value <= 1:
            raise SyndiffError(f"a p-value is {value}; expected one from 0 to 1, or None where there is none.")
    ranked = sorted((value, place) for place, value in enumerate(p_values) if value is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (value, place) in enumerate(ranked):
        largest = max(largest, min(1.0, (len(ranked) - rank) * value))
        adjusted[place] = largest
    return adjusted


def _group_sums(
    values: Sequence[float | None], groups: Sequence[str | None] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and number of the applicable values of each group that has any, in order of first appearance."""
    keys = groups if groups is not None else [None] * len(values)
    totals: dict[str | int, tuple[float, int]] = {}
    for index, (value, group) in enumerate(zip(values, keys, strict=True)):
        if value is not None:
            key = group if group is not None else index
            total, count = totals.get(key, (0.0, 0))
            totals[key] = (total + value, count + 1)
    table = np.array(list(totals.values()), dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _expanded(draws: NDArray[np.float64], size: int, confidence: float) -> tuple[float, float]:
    """The expanded percentile interval of bootstrap draws over `size` groups; see `bootstrap_mean`."""
    student = stdtrit(size - 1, (1 + confidence) / 2)
    tail = ndtr(-np.sqrt(size / (size - 1)) * student)
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def _resampled_means(
    sums: NDArray[np.float64], counts: NDArray[np.float64], resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Means over cases of `resamples` draws of groups; drawn in slices so that memory stays small."""
    size = len(sums)
    means = []
    for rows in _slices(resamples, size):
        drawn = rng.integers(0, size, (rows, size))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return np.concatenate(means)


def _robust(sums: NDArray[np.float64], counts: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """The t interval of a mean over cases whose error comes from the spread of two groups or more.

    A group of share w of the cases, whose mean lies e from the whole mean, adds w^2 e^2 / (1 - w) to the variance
    (CR2). The degrees of freedom are Satterthwaite's, for group means of equal variance; few groups, or one that
    outweighs the others, leave few. For groups of one size it is the t interval of their means (Bell and McCaffrey,
    "Bias reduction in standard errors for linear regression with multi-stage samples", Survey Methodology 28, 2002).
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
    width = stdtrit(expected**2 / squares, (1 + confidence) / 2) * np.sqrt(variance)
    return float(mean - width), float(mean + width)


def _sign_flip_p(sums: NDArray[np.float64], resamples: int, rng: np.random.Generator) -> float:
    """Two-sided p-value of the sum of `sums` among those of all (or `resamples` random) sign patterns."""
    size = len(sums)
    found = abs(sums.sum()) - 1e-9 * np.abs(sums).sum()  # rounding must not turn a tie into a miss
    if 2**size <= resamples:
        signs = 1 - 2 * (np.arange(2**size)[:, None] >> np.arange(size) & 1)
        return float(np.mean(np.abs(signs @ sums) >= found))
    reached = sum(
        np.count_nonzero(np.abs((1 - 2 * rng.integers(0, 2, (rows, size))) @ sums) >= found)
        for rows in _slices(resamples, size)
    )
    return (1 + reached) / (1 + resamples)


def _check(confidence: float, resamples: int) -> None:
    """Raise SyndiffError for a confidence outside (0, 1) or fewer than 100 resamples."""
    if not 0 < confidence < 1:
        raise SyndiffError(f"confidence is {confidence}; give a number between 0 and 1, such as 0.95.")
    if resamples < 100:
        raise SyndiffError(f"resamples is {resamples}; an interval needs at least 100, better 10000.")


def _slices(rows: int, width: int) -> list[int]:
    """`rows` cut into counts whose tables of `width` columns stay under a fixed size."""
    most = max(1, _DRAWS_AT_ONCE // width)
    return [min(most, rows - start) for start in range(0, rows, most)]


def _unit(groups: Sequence[str | None] | None) -> str:
    """What is resampled: groups, where any is known."""
    return "case" if groups is None or all(group is None for group in groups) else "group"


def _note(size: int, unit: str, *, scores: bool) -> str | None:
    """The sentence that goes with a bootstrap interval over `size` groups or cases, of scores or of something else."""
    if size == 0:
        return "not applicable to any case"
    if size == 1:
        return f"no interval: only one {unit}"
    if scores:
        held = next((held for below, held in _HELD if size < below), None)
        return held and f"only {size} {unit}s: of intervals of simulated scores, {held} in 100 held the truth, not 95"
    return f"only {size} {unit}s: the interval is rough and may be too narrow" if size < FEW_GROUPS else None
