"""How far two sets of pictures are apart as distributions: of feature vectors, one row a picture.

Every distance here but the unbiased kernel distance grows as samples get smaller, for two samples of one distribution
too. So figures are held against those of real pictures of other patients at the same sizes (`against_real`). There is
no bootstrap: a picture that is drawn twice is a neighbour at distance zero, which no new sample has.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from syndiff.errors import SyndiffError

Features = NDArray[np.float64]
Statistic = Callable[[Features, Features], float]

NEIGHBOURS = 3
"""k of `precision` and `recall`, as their authors advise."""

LEAST = NEIGHBOURS + 2
"""Pictures on each side that a comparison needs."""

MIN_GROUPS = 4
"""Groups of real pictures that a comparison needs: two on each side."""

_BLOCKS = 20


def frechet_distance(first: Features, second: Features) -> float:
    """Squared Fréchet distance of the normal distributions with the means and covariances of (n, d) and (m, d).

    |mean1 - mean2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)): Heusel et al., "GANs Trained by a Two Time-Scale Update Rule",
    NeurIPS 2017. Too large for small samples, by about 1/n + 1/m (Chong and Forsyth, CVPR 2020): compare only figures
    of the same sizes. n and m may be below d: the trace of the root is the sum of the singular values of the product
    of both centred samples.
    """
    parts = [sample - sample.mean(axis=0) for sample in (first, second)]
    scaled = [part / np.sqrt(len(part) - 1) for part in parts]
    cross = np.linalg.svd(scaled[0] @ scaled[1].T, compute_uv=False).sum()
    apart = first.mean(axis=0) - second.mean(axis=0)
    return max(0.0, float(apart @ apart + sum((part**2).sum() for part in scaled) - 2 * cross))


def kernel_distance(first: Features, second: Features) -> float:
    """Squared maximum mean discrepancy of (n, d) and (m, d), unbiased at any size: it may be a little below zero.

    Kernel (x y + 1)^3, that of the Kernel Inception Distance (Binkowski et al., "Demystifying MMD GANs", ICLR 2018),
    which divides x y by d; here the features come scaled (`Scale`).
    """
    within = 0.0
    for sample in (first, second):
        table = _cubic(sample, sample)
        within += (table.sum() - np.trace(table)) / (len(sample) * (len(sample) - 1))
    return float(within - 2 * _cubic(first, second).mean())


def _cubic(first: Features, second: Features) -> Features:
    table: Features = (first @ second.T + 1) ** 3
    return table


def precision(real: Features, new: Features) -> float:
    """Share of `new` (m, d) that lies among `real` (n, d): how many look real.

    A picture lies among real ones if one of these is nearer to it than to its own third neighbour (Kynkäänniemi et
    al., "Improved Precision and Recall Metric for Assessing Generative Models", NeurIPS 2019).
    """
    return float((distances(real, new) <= _radius(real)[:, None]).any(axis=0).mean())


def recall(real: Features, new: Features) -> float:
    """Share of `real` (n, d) that lies among `new` (m, d): how much of what is real is covered. As `precision`."""
    return precision(new, real)


def _radius(sample: Features) -> Features:
    """Distance of each row to its k-th neighbour in the same sample; itself is none."""
    apart = distances(sample, sample)
    np.fill_diagonal(apart, np.inf)
    return np.partition(apart, NEIGHBOURS - 1, axis=1)[:, NEIGHBOURS - 1]


def diversity(sample: Features) -> float:
    """Mean distance of two rows of (n, d)."""
    return float(distances(sample, sample).sum() / (len(sample) * (len(sample) - 1)))


def near_duplicates(sample: Features, within: float) -> float:
    """Share of the rows of (n, d) that have another one at a distance of `within` or less."""
    apart = distances(sample, sample)
    np.fill_diagonal(apart, np.inf)
    return float((apart.min(axis=1) <= within).mean())


def distances(first: Features, second: Features) -> Features:
    """Euclidean distances (n, m) of the rows of (n, d) and (m, d)."""
    squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * first @ second.T
    if first is second:
        np.fill_diagonal(squares, 0)
    apart: Features = np.sqrt(np.maximum(squares, 0))
    return apart


def wasserstein(first: Features, second: Features) -> float:
    """Wasserstein-1 distance of two samples (n, 1) of the same size."""
    return float(np.abs(np.sort(first[:, 0]) - np.sort(second[:, 0])).mean())


@dataclass(frozen=True)
class Scale:
    """Centres features at the mean of the real ones and gives each a variance there of 1 / d, so of 1 in all.

    So a Fréchet distance of 1 is the variance of the real pictures, and no feature counts more for its unit. One that
    is the same in all real pictures is left out.
    """

    mean: Features
    factor: Features

    @classmethod
    def of(cls, real: Features) -> "Scale":
        """Of real features (n, d). Raises SyndiffError where they are all equal."""
        spread = real.std(axis=0, ddof=1) if len(real) > 1 else np.zeros(real.shape[1])
        varies = spread > 1e-9 * np.abs(real).max(initial=0)
        if not varies.any():
            raise SyndiffError(
                f"The features of {len(real)} real cases are all the same; expected pictures that differ."
            )
        factor = np.where(varies, 1 / np.where(varies, spread, 1), 0) / np.sqrt(varies.sum())
        return cls(real.mean(axis=0), factor)

    def __call__(self, features: Features) -> Features:
        """Features (n, d), scaled."""
        scaled: Features = (features - self.mean) * self.factor
        return scaled


@dataclass(frozen=True)
class Sample:
    """Features (n, d) of pictures, and the group (patient or video) of each."""

    features: Features
    groups: Sequence[str]

    def __len__(self) -> int:
        return len(self.groups)


@dataclass(frozen=True)
class Against:
    """A statistic of new pictures, the same of real ones of other patients, and the difference with its interval.

    Both are means over the draws of `against_real`, at the same sizes; `size` is the median of these. low, high: 95 %,
    None where no jackknife could be made. All None where too few pictures are left.
    """

    value: float | None
    reference: float | None
    mean: float | None
    low: float | None
    high: float | None
    size: int


def against_real(
    real: Sample,
    new: Sample,
    statistics: Mapping[str, Statistic],
    *,
    joined: Mapping[str, Statistic] | None = None,
    draws: int = 16,
    seed: int = 0,
) -> dict[str, Against]:
    """Each of `statistics`: of real pictures and new ones, held against real pictures and other real ones.

    A draw divides the groups at random into halves A and B. A's real pictures are compared with B's real ones, and with
    the new ones that stem from B: the patients of both comparisons are the same, and no picture meets one of its own
    patient. Of all three as many pictures are taken, or sample size would be taken for distance. `joined` statistics,
    which must be unbiased at any size, compare all of A with all of B and with B and the new ones together.

    The interval is that of the delete-a-group jackknife (at most 20 blocks of groups) with Student's t.

    Raises SyndiffError where the real pictures are of fewer than four groups.
    """
    own = sorted(set(real.groups))
    if len(own) < MIN_GROUPS:
        raise SyndiffError(
            f"The real training cases are of {len(own)} groups; expected {MIN_GROUPS} or more, so that patients can be "
            "compared with other patients."
        )
    rng = np.random.default_rng(seed)
    halves = _Halves(real, new, rng, draws)
    names = [*statistics, *(joined or {})]
    whole, sizes = _values(halves, statistics, joined or {}, frozenset())
    every = rng.permutation([*halves.first_half])  # of real and of new pictures
    blocks = np.array_split(every, min(_BLOCKS, len(every)))
    without = [_values(halves, statistics, joined or {}, frozenset(block))[0] for block in blocks]
    found = {}
    for index, name in enumerate(names):
        if whole is None:
            found[name] = Against(None, None, None, None, None, 0)
            continue
        value, reference = (float(each) for each in whole[index])
        left = np.array([each[index, 0] - each[index, 1] for each in without if each is not None])
        low = high = None
        if len(left) == len(blocks):
            error = np.sqrt((len(left) - 1) / len(left) * ((left - left.mean()) ** 2).sum())
            reach = stdtrit(len(left) - 1, 0.975) * float(error)
            low, high = float(value - reference - reach), float(value - reference + reach)
        found[name] = Against(value, reference, value - reference, low, high, sizes)
    return found


class _Halves:
    """Random halves of the groups, and a fixed order in which pictures are taken."""

    def __init__(self, real: Sample, new: Sample, rng: np.random.Generator, draws: int) -> None:
        self.real, self.new = real, new
        own, foreign = sorted(set(real.groups)), sorted(set(new.groups) - set(real.groups))
        self.first_half = {name: np.zeros(draws, bool) for name in (*own, *foreign)}
        for draw in range(draws):
            for names in (own, foreign):
                for name in rng.permutation(names)[: (len(names) + draw % 2) // 2]:
                    self.first_half[str(name)][draw] = True
        self.order = [(rng.permutation(len(real)), rng.permutation(len(new))) for _ in range(draws)]

    def parts(self, draw: int, without: frozenset[str]) -> tuple[Features, Features, Features]:
        """A's real pictures, B's real ones, and new ones of B; groups `without` are left out."""
        kept = {name: bool(half[draw]) for name, half in self.first_half.items() if name not in without}
        mine, theirs = ({name for name, first in kept.items() if first is wanted} for wanted in (True, False))
        order = dict(zip(("real", "new"), self.order[draw], strict=True))
        return (
            _rows(self.real, order["real"], mine),
            _rows(self.real, order["real"], theirs),
            _rows(self.new, order["new"], theirs),
        )


def _rows(sample: Sample, order: NDArray[np.int64], groups: set[str]) -> Features:
    """The features of the pictures of some groups, in that order."""
    rows = [row for row in order if sample.groups[row] in groups]
    picked: Features = sample.features[rows]
    return picked


def _values(
    halves: _Halves, statistics: Mapping[str, Statistic], joined: Mapping[str, Statistic], without: frozenset[str]
) -> tuple[Features | None, int]:
    """(statistic, 2): of new and of other real pictures, mean over the draws that are large enough; median size."""
    rows, sizes = [], []
    for draw in range(len(halves.order)):
        first, second, new = halves.parts(draw, without)
        size = min(len(first), len(second), len(new))
        if size < LEAST:
            continue
        one, other, made = first[:size], second[:size], new[:size]
        row = [(each(one, made), each(one, other)) for each in statistics.values()]
        mixed = np.concatenate([second, new])
        row += [(each(first, mixed), each(first, second)) for each in joined.values()]
        rows.append(row)
        sizes.append(size)
    return (np.mean(rows, axis=0), int(np.median(sizes))) if rows else (None, 0)


def told_apart(real: Sample, new: Sample, *, folds: int = 5, seed: int = 0) -> tuple[list[bool], list[str]]:
    """A classifier two-sample test: is each picture rightly called real or new, by what was learned of other groups?

    As many of either kind, drawn at random; logistic regression (`fit_logistic`) on standardised features, cross-
    validated over groups. The share of hits is .5 where the two cannot be told apart (Lopez-Paz and Oquab, "Revisiting
    Classifier Two-Sample Tests", ICLR 2017). Also the groups, for an interval.

    Raises SyndiffError for fewer than five pictures of a kind, or pictures of a single group.
    """
    size, rng = min(len(real), len(new)), np.random.default_rng(seed)
    if size < LEAST:
        raise SyndiffError(f"{size} pictures are too few to train a classifier on; expected {LEAST} or more.")
    picked = [rng.permutation(len(each))[:size] for each in (real, new)]
    features = np.concatenate([each.features[rows] for each, rows in zip((real, new), picked, strict=True)])
    groups = [each.groups[row] for each, rows in zip((real, new), picked, strict=True) for row in rows]
    labels = np.repeat([0.0, 1.0], size)
    names = rng.permutation(sorted(set(groups)))
    if len(names) < 2:
        raise SyndiffError("All pictures are of one group; expected two groups or more to learn from and to judge.")
    hits = np.zeros(2 * size, bool)
    for part in np.array_split(names, min(folds, len(names))):
        held = np.isin(groups, part)
        mean, spread = features[~held].mean(axis=0), features[~held].std(axis=0)
        scaled = (features - mean) / np.where(spread > 0, spread, 1)
        weights, bias = fit_logistic(scaled[~held], labels[~held])
        hits[held] = (scaled[held] @ weights + bias > 0) == (labels[held] > 0.5)
    return hits.tolist(), groups


def fit_logistic(features: Features, labels: Features, *, penalty: float = 10.0) -> tuple[Features, float]:
    """Weights (d,) and bias of logistic regression: the minimum of sum of log losses + penalty |weights|^2 / 2.

    features (n, d); labels (n,), 0 or 1. The bias is not penalised. `penalty` is 1 / C of scikit-learn.
    """
    from scipy.optimize import minimize

    signs, width = 2 * labels - 1, features.shape[1]

    def loss(point: Features) -> tuple[float, Features]:
        weights = point[:width]
        margin = signs * (features @ weights + point[width])
        slope = -signs * np.exp(-np.logaddexp(0, margin))
        gradient = np.append(features.T @ slope + penalty * weights, slope.sum())
        return float(np.logaddexp(0, -margin).sum() + penalty * weights @ weights / 2), gradient

    best: Any = minimize(loss, np.zeros(width + 1), jac=True, method="L-BFGS-B", options={"gtol": 1e-6})
    return best.x[:width], float(best.x[width])


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> tuple[float | None, float | None]:
    """Spearman's correlation of paired values, and its p-value: the share of orders with one as large in size.

    All orders of up to seven pairs, 5,040 random ones of more. None, None for fewer than three pairs or
    where all values of one side are equal.
    """
    from scipy.stats import rankdata

    size = len(first)
    if size < 3 or len(set(first)) == 1 or len(set(second)) == 1:
        return None, None
    ranks = [rankdata(values) - (size + 1) / 2 for values in (first, second)]
    one, other = (centred / np.linalg.norm(centred) for centred in ranks)
    every = size <= 7
    rng = np.random.default_rng(0)
    orders = list(permutations(range(size))) if every else [rng.permutation(size) for _ in range(5040)]
    reached = np.abs(one[np.array(orders)] @ other) >= abs(one @ other) - 1e-12
    p_value = reached.mean() if every else (1 + reached.sum()) / (1 + len(orders))
    return float(one @ other), float(p_value)
