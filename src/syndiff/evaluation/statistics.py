"""How far a mean over cases can be trusted, when cases come in groups (patients, videos).

Frames of one video are alike, so cases are not the unit of chance: whole groups are. The bootstrap draws
groups with replacement and takes the mean over all their cases, a ratio of sums. Without groups each case
is its own group. A difference of two models has the interval of the sign-flip test over groups.
benchmarks/interval_coverage.py measures how often each holds the truth.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from syndiff.errors import SyndiffError

METHOD = "expanded percentile bootstrap of the mean over cases, resampling whole groups"
DIFFERENCE_METHOD = (
    "values that a two-sided sign-flip test over whole groups does not refuse; with too few groups for such a test, "
    f"{METHOD}"
)
FEW_GROUPS = 10
_DRAWS_AT_ONCE = 2_000_000
_ROUNDING = 1e-9
_HELD = ((10, "60 to 92"), (30, "80 to 95"), (100, "88 to 95"))
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
    low, high: from six groups on (for 95 %) they are the test's own, and hold zero where p is above .05; with fewer
        they are the bootstrap's, as no difference could be refused.
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
    if not 0 < confidence < 1:
        raise SyndiffError(f"confidence is {confidence}; give a number between 0 and 1, such as 0.95.")
    if resamples < 100:
        raise SyndiffError(f"resamples is {resamples}; an interval needs at least 100, better 10000.")
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
    sums, counts = _group_sums(differences, groups)
    size, cases = len(sums), int(counts.sum())
    if size < 2:
        alone = bootstrap_mean(differences, groups, confidence=confidence, resamples=resamples, seed=seed)
        return Difference(**vars(alone), p_value=None)
    signs = _SignFlips(sums, counts, resamples, seed)
    if 2 / 2**size <= 1 - confidence + _ROUNDING:
        low, high = signs.interval(confidence)
        found = Interval(float(sums.sum() / cases), low, high, cases, size, len(differences) - cases, None)
    else:
        found = bootstrap_mean(differences, groups, confidence=confidence, resamples=resamples, seed=seed)
        found = replace(found, note=_few_differences(size, _unit(groups)))
    return Difference(**vars(found), p_value=signs.p_value)


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


class _SignFlips:
    """The sign-flip test of `sums` over `counts` cases of each group: all sign patterns, or `resamples` random ones.

    A pattern cuts the groups into the kept and the flipped. Under the value t it reaches what was found exactly when t
    lies between the means over cases of both parts, so that the values which the test does not refuse need no search
    (Hartigan, "Using subsample values as typical values", Journal of the American Statistical Association 64, 1969).
    """

    def __init__(self, sums: NDArray[np.float64], counts: NDArray[np.float64], resamples: int, seed: int) -> None:
        size, rng = len(sums), np.random.default_rng(seed)
        everything = 2**size <= resamples
        patterns = (
            [np.arange(2**size)[:, None] >> np.arange(size) & 1]
            if everything
            else (rng.integers(0, 2, (rows, size)) for rows in _slices(resamples, size))
        )
        total, cases = sums.sum(), counts.sum()
        found = abs(total) - _ROUNDING * np.abs(sums).sum()  # rounding must not turn a tie into a miss
        reached, parts = 0, []
        for flipped in patterns:
            part, size_of_part = flipped @ sums, flipped @ counts
            reached += int(np.count_nonzero(np.abs(total - 2 * part) >= found))
            cut = (size_of_part > 0) & (size_of_part < cases)
            part, size_of_part = part[cut], size_of_part[cut]
            parts.append(np.stack([part / size_of_part, (total - part) / (cases - size_of_part)], 1))
        means = np.concatenate(parts)
        self._low, self._high = np.sort(means.min(1)), np.sort(means.max(1))[::-1]
        # what was found is itself one of the sampled patterns
        self._patterns = 2**size if everything else resamples + 1
        self.p_value = (reached if everything else reached + 1) / self._patterns

    def interval(self, confidence: float) -> tuple[float, float]:
        """The least and the greatest value that the test does not refuse."""
        needed = int((1 - confidence) * self._patterns + _ROUNDING) + 1  # so many patterns are too many to refuse
        place = needed - (self._patterns - len(self._low)) - 1  # those that cut nothing reach under every value
        return float(self._low[place]), float(self._high[place])


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


def _few_differences(size: int, unit: str) -> str:
    """The sentence that goes with a difference over fewer groups than the sign-flip test needs."""
    return f"only {size} {unit}s: of intervals of simulated differences, 70 to 91 in 100 held the truth, not 95"
