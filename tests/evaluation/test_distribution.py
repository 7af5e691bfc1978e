"""Distances of distributions against closed forms, SciPy, scikit-learn where it is at hand, and what must hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, stats

from syndiff.errors import SyndiffError
from syndiff.evaluation import distribution as dist


def normal(seed: int, count: int, width: int = 4, groups: int = 8, between: float = 0.7) -> dist.Sample:
    """Points of a normal distribution, alike within each of the groups."""
    random = np.random.default_rng(seed)
    group = np.arange(count) % groups
    features = between * random.normal(size=(groups, width))[group] + random.normal(size=(count, width))
    return dist.Sample(features, [f"patient-{number}" for number in group])


def test_the_frechet_distance_is_that_of_the_two_normal_distributions() -> None:
    first, second = normal(0, 30).features, 2 * normal(1, 25).features + 1
    c1, c2 = np.cov(first.T), np.cov(second.T)
    root = np.real(linalg.sqrtm(c1 @ c2))
    expected = ((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(c1 + c2 - 2 * root)
    assert dist.frechet_distance(first, second) == pytest.approx(expected)
    assert dist.frechet_distance(first, first + 3) == pytest.approx(9 * 4)  # moved by 3 in each of 4 dimensions
    few, wide = normal(2, 6, 50).features, normal(3, 6, 50).features  # fewer points than dimensions
    assert dist.frechet_distance(few, wide) > dist.frechet_distance(few, few) == pytest.approx(0, abs=1e-9)


def test_the_kernel_distance_is_unbiased_whatever_the_size_and_the_frechet_distance_is_not() -> None:
    pairs = [(normal(seed, 5, groups=5, between=0), normal(999 - seed, 8, groups=8, between=0)) for seed in range(200)]
    found = [dist.kernel_distance(one.features / 2, other.features / 2) for one, other in pairs]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found))
    assert min(dist.frechet_distance(one.features / 2, other.features / 2) for one, other in pairs) > 0.05
    one, other = pairs[0][0].features, pairs[0][1].features
    pairwise = [(x @ y + 1) ** 3 for i, x in enumerate(one) for j, y in enumerate(one) if i != j]
    among = [(x @ y + 1) ** 3 for i, x in enumerate(other) for j, y in enumerate(other) if i != j]
    across = [(x @ y + 1) ** 3 for x in one for y in other]
    expected = np.mean(pairwise) + np.mean(among) - 2 * np.mean(across)
    assert dist.kernel_distance(one, other) == pytest.approx(expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(5, 30), st.integers(5, 30))
def test_what_holds_for_any_two_samples(seed: int, few: int, many: int) -> None:
    first, second = normal(seed, few).features, normal(seed + 1, many).features
    for distance in (dist.frechet_distance, dist.kernel_distance):
        assert distance(first, second) == pytest.approx(distance(second, first), rel=1e-6, abs=1e-6)
    assert 0 <= dist.precision(first, second) <= 1 and dist.precision(first, second) == dist.recall(second, first)
    assert dist.precision(first, first) == dist.recall(first, first) == 1
    assert dist.near_duplicates(first, 0) == 0 and dist.near_duplicates(np.repeat(first, 2, axis=0), 1e-6) == 1
    assert np.allclose(dist.distances(first, second), np.linalg.norm(first[:, None] - second, axis=2))
    size = min(few, many)
    expected = stats.wasserstein_distance(first[:size, 0], second[:size, 0])
    assert dist.wasserstein(first[:size, :1], second[:size, :1]) == pytest.approx(expected)


def test_precision_falls_with_pictures_unlike_real_ones_and_recall_with_what_is_not_covered() -> None:
    real = normal(0, 100, between=0).features
    half = np.concatenate([normal(1, 50, between=0).features, normal(2, 50, between=0).features + 50])
    assert 0.3 < dist.precision(real, half) <= 0.5  # the other half lies far off
    narrow = 0.05 * normal(3, 100, between=0).features
    assert dist.precision(real, narrow) > 0.9 and dist.recall(real, narrow) < 0.2
    assert dist.diversity(narrow) < 0.1 * dist.diversity(real)


def test_features_are_scaled_by_the_real_ones_and_equal_ones_refused() -> None:
    real = 7 * normal(0, 40).features + 3
    scaled = dist.Scale.of(real)(real)
    assert np.allclose(scaled.mean(axis=0), 0) and scaled.var(axis=0, ddof=1).sum() == pytest.approx(1)
    with pytest.raises(SyndiffError, match="features of 4 real cases are all the same"):
        dist.Scale.of(np.ones((4, 2)))


def test_new_pictures_are_held_against_other_patients_at_the_same_size() -> None:
    statistics = {"frechet": dist.frechet_distance, "kernel": dist.kernel_distance}
    joined = {"joined": dist.kernel_distance}
    real = dist.Sample(normal(0, 80).features / 3, normal(0, 80).groups)
    like = dist.Sample(normal(0, 104).features[80:] / 3, normal(0, 104).groups[80:])  # other frames of the patients
    found = dist.against_real(real, like, statistics, joined=joined)
    for name in ("frechet", "kernel", "joined"):
        assert found[name].low < 0 < found[name].high, name
    assert found["frechet"].reference > 0.1 and found["frechet"].size == 12
    far = dist.Sample(like.features + 2, [f"other-{name}" for name in like.groups])  # of patients of their own
    found = dist.against_real(real, far, statistics, joined=joined)
    assert found["kernel"].low > 0 and found["frechet"].low > 0
    assert 0 < found["joined"].mean < found["kernel"].mean  # real ones are still among them
    few = dist.Sample(like.features[:3], like.groups[:3])
    assert dist.against_real(real, few, statistics)["kernel"].mean is None
    with pytest.raises(SyndiffError, match="of 2 groups; expected 4 or more"):
        dist.against_real(normal(0, 20, groups=2), like, statistics)


def test_a_classifier_tells_apart_what_differs_and_only_that() -> None:
    real, like = normal(0, 60), normal(0, 120)
    hits, groups = dist.told_apart(real, dist.Sample(like.features[60:], like.groups[60:]))
    assert 0.3 < np.mean(hits) < 0.7 and len(groups) == len(hits) == 120
    hits, _ = dist.told_apart(real, dist.Sample(like.features[60:] + 3, like.groups[60:]))
    assert np.mean(hits) > 0.95
    with pytest.raises(SyndiffError, match="4 pictures are too few"):
        dist.told_apart(real, dist.Sample(like.features[:4], like.groups[:4]))
    with pytest.raises(SyndiffError, match="of one group"):
        dist.told_apart(normal(0, 9, groups=1), normal(1, 9, groups=1))


def test_logistic_regression_is_that_of_scikit_learn() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model", exc_type=ImportError)
    features = np.concatenate([normal(0, 30).features, normal(1, 30).features + 0.5])
    labels = np.repeat([0.0, 1.0], 30)
    weights, bias = dist.fit_logistic(features, labels, penalty=10.0)
    oracle = linear_model.LogisticRegression(C=0.1, tol=1e-8).fit(features, labels)
    assert np.allclose(weights, oracle.coef_[0], atol=1e-4) and bias == pytest.approx(oracle.intercept_[0], abs=1e-4)


def test_the_rank_correlation_counts_every_order_of_few_points() -> None:
    first, second = [1, 2, 3, 4, 5], [1, 3, 2, 5, 40]
    assert dist.rank_correlation(first, second)[0] == pytest.approx(stats.spearmanr(first, second).statistic)
    assert dist.rank_correlation([1, 2, 3, 4], [5, 6, 7, 8])[1] == pytest.approx(2 / 24)
    tied = [1, 1, 2, 3, 3, 4]
    assert dist.rank_correlation(tied, tied[::-1])[0] == pytest.approx(stats.spearmanr(tied, tied[::-1]).statistic)
    exact = stats.permutation_test(
        (first,),
        lambda one: stats.spearmanr(one, second).statistic,
        n_resamples=120,
        permutation_type="pairings",
        vectorized=False,
    )
    assert dist.rank_correlation(first, second)[1] == pytest.approx(exact.pvalue)
    many = list(range(12))
    assert dist.rank_correlation(many, [*many[6:], *many[:6]])[1] > 0.05 > dist.rank_correlation(many, many)[1]
    assert dist.rank_correlation([1, 2], [1, 2]) == dist.rank_correlation([1, 1, 1], [1, 2, 3]) == (None, None)
