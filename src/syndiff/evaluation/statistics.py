"""How far a mean over cases can be trusted, when cases come in groups (patients, videos).

Scores and differences of two models have t intervals that know of groups; a statistic that is no mean has a bootstrap
that draws whole groups. Without groups each case is its own group. benchmarks/interval_coverage.py measures how often
the intervals of means hold the truth.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from syndiff.errors import SyndiffError
from syndiff.evaluation.intervals import group_sums, share_interval, t_interval

METHOD = (
    "t interval of the mean over cases on the logit scale, with the cluster-robust error CR2 of whole groups and "
    "Satterthwaite's degrees of freedom; the lower bound allows for half a case more of score 0, the upper of score 1; "
    "a mean HD95 has none"
)
DIFFERENCE_METHOD = (
    "t interval of the mean over cases, with the cluster-robust error CR2 of whole groups and Satterthwaite's "
    "degrees of freedom"
)
ENOUGH_CASES, ENOUGH_GROUPS = 60, 6
"""From how many on intervals of scores hold the truth about as often as they say; from so many cases, of differences
too, and the report calls a difference one: on fewer, chance alone does so too often where two models differ in kind."""
DISTANCE_GROUPS = 120
"""From how many groups on the interval of a difference of distances does."""
FEW_GROUPS = 10
"""Below, the interval of a statistic that is no mean is rough, and its note says so."""
_DRAWS_AT_ONCE = 2_000_000
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
        Interval and test can differ: a difference is one where both say so.
    """

    p_value: float | None


def score_interval(
    values: Sequence[float | None], groups: Sequence[str | None] | None, *, confidence: float = 0.95
) -> Interval:
    """The mean of scores in [0, 1] (one per case; None = not applicable) with its `share_interval` over `groups`.

    groups: the group of each case; a case with None is its own group, as are all when `groups` is None.

    Raises SyndiffError for a score outside [0, 1] and a confidence outside (0, 1).
    """
    for value in values:
        if value is not None and not 0 <= value <= 1:
            raise SyndiffError(f"a score is {value}; expected one from 0 to 1, or None where it does not apply.")
    return _interval(values, groups, confidence, share_interval, _score_note)


def mean_interval(
    values: Sequence[float | None], groups: Sequence[str | None] | None, *, confidence: float = 0.95
) -> Interval:
    """The mean of any values (one per case; None = not applicable) with its `t_interval` over `groups`.

    For measures without bounds, such as a colour. Raises SyndiffError for a confidence outside (0, 1).
    """
    return _interval(values, groups, confidence, t_interval, _rough_note)


def distance_mean(values: Sequence[float | None], groups: Sequence[str | None] | None) -> Interval:
    """The mean of distances such as HD95, without an interval: the few missed lesions make most of it.

    No interval that was tried held the truth often enough in simulations, however many groups there were.
    """
    sums, counts = group_sums(values, groups)
    cases, size = int(counts.sum()), len(sums)
    note = "no interval: a mean distance hangs on the few missed lesions" if size > 1 else _none_note(size, groups)
    return Interval(float(sums.sum() / cases) if cases else None, None, None, cases, size, len(values) - cases, note)


def bootstrap(
    cases: Sequence[T],
    groups: Sequence[str | None] | None,
    statistic: Callable[[Sequence[T]], float | None],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """A statistic of all `cases` that is no mean, and its bootstrap interval over `groups`, drawn with replacement.

    The percentile interval is expanded (Hesterberg, "What teachers should know about the bootstrap",
    The American Statistician 69, 2015): tails of alpha/2 become Phi(-sqrt(n/(n-1)) * t(1-alpha/2, n-1)) for
    n groups. The plain interval is too narrow when groups are few. Resamples in which the statistic does not exist
    (None) are left out, and the note says how many.
    """
    keys = groups if groups is not None else [None] * len(cases)
    members: dict[str | int, list[T]] = {}
    for index, (case, group) in enumerate(zip(cases, keys, strict=True)):
        members.setdefault(group if group is not None else index, []).append(case)
    parts, size = list(members.values()), len(members)
    low = high = None
    note = _rough_note(len(cases), size, groups)
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
    distances: bool = False,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """The mean of first - second over the same cases, positive where the first is larger, with its `t_interval`.

    A case where either value is None is left out and counted. `distances`, such as HD95, have no interval below
    DISTANCE_GROUPS groups: there it would be too narrow where one model misses more lesions than the other.

    Raises SyndiffError for a confidence outside (0, 1) or fewer than 100 resamples.
    """
    if resamples < 100:
        raise SyndiffError(f"resamples is {resamples}; a p-value needs at least 100, better 10000.")
    differences = [None if a is None or b is None else a - b for a, b in zip(first, second, strict=True)]
    found = _interval(differences, groups, confidence, t_interval, _difference_note)
    if distances and 1 < found.groups < DISTANCE_GROUPS:
        note = f"no interval: of distances it needs {DISTANCE_GROUPS} {_unit(groups)}s, here {found.groups}"
        found = replace(found, low=None, high=None, note=note)
    sums, _ = group_sums(differences, groups)
    p_value = _sign_flip_p(sums, resamples, np.random.default_rng(seed)) if found.groups > 1 else None
    return Difference(**vars(found), p_value=p_value)


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


def p_text(value: float | None) -> str:
    """A p-value for a table: two decimals, three below 0.1; "" for none."""
    if value is None:
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def p_words(value: float | None) -> str:
    """A p-value within a sentence, `p = 0.030` or `p < 0.001`; "" for none."""
    return "" if value is None else f"p {p_text(value)}" if value < 0.001 else f"p = {p_text(value)}"


def _interval(
    values: Sequence[float | None],
    groups: Sequence[str | None] | None,
    confidence: float,
    bounds: Callable[[NDArray[np.float64], NDArray[np.float64], float], tuple[float, float]],
    note: Callable[[int, int, Sequence[str | None] | None], str | None],
) -> Interval:
    """The mean of `values` with the bounds that `bounds` gives to the sums and numbers of two groups or more."""
    if not 0 < confidence < 1:
        raise SyndiffError(f"confidence is {confidence}; give a number between 0 and 1, such as 0.95.")
    sums, counts = group_sums(values, groups)
    cases, size = int(counts.sum()), len(sums)
    mean = float(sums.sum() / cases) if cases else None
    low, high = bounds(sums, counts, confidence) if size > 1 else (None, None)
    return Interval(mean, low, high, cases, size, len(values) - cases, note(cases, size, groups))


def _expanded(draws: NDArray[np.float64], size: int, confidence: float) -> tuple[float, float]:
    """The expanded percentile interval of bootstrap draws over `size` groups; see `bootstrap`."""
    student = stdtrit(size - 1, (1 + confidence) / 2)
    tail = ndtr(-np.sqrt(size / (size - 1)) * student)
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


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


def _slices(rows: int, width: int) -> list[int]:
    """`rows` cut into counts whose tables of `width` columns stay under a fixed size."""
    most = max(1, _DRAWS_AT_ONCE // width)
    return [min(most, rows - start) for start in range(0, rows, most)]


def _unit(groups: Sequence[str | None] | None) -> str:
    """What chance draws: groups, where any is known."""
    return "case" if groups is None or all(group is None for group in groups) else "group"


def _none_note(size: int, groups: Sequence[str | None] | None) -> str | None:
    """Why there is no interval over so few groups; None where there can be one."""
    if size == 0:
        return "not applicable to any case"
    return f"no interval: only one {_unit(groups)}" if size == 1 else None


def _score_note(cases: int, size: int, groups: Sequence[str | None] | None) -> str | None:
    if size < 2 or (cases >= ENOUGH_CASES and size >= ENOUGH_GROUPS):
        return _none_note(size, groups)
    return f"only {_counted(cases, size, groups)}: the interval of a score may be wider than it need be"


def _difference_note(cases: int, size: int, groups: Sequence[str | None] | None) -> str | None:
    if size < 2 or cases >= ENOUGH_CASES:
        return _none_note(size, groups)
    told = "where one model misses more lesions than the other, the interval of their difference may be too narrow"
    return f"only {_counted(cases, size, groups)}: {told}"


def _rough_note(cases: int, size: int, groups: Sequence[str | None] | None) -> str | None:
    if size < 2 or size >= FEW_GROUPS:
        return _none_note(size, groups)
    return f"only {size} {_unit(groups)}s: the interval is rough and may be too narrow"


def _counted(cases: int, size: int, groups: Sequence[str | None] | None) -> str:
    return f"{cases} cases" if _unit(groups) == "case" else f"{cases} cases in {size} groups"
