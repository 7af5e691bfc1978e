import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from syndiff.errors import SyndiffError
from syndiff.evaluation.statistics import bootstrap_mean, holm, paired_difference

Study = tuple[list[float], list[str]]


def study(rng: np.random.Generator, groups: int, between: float = 0.2, within: float = 0.1) -> Study:
    """Cases of unequal groups whose group means differ; the true mean over cases is 0."""
    values: list[float] = []
    names: list[str] = []
    for group in range(groups):
        size = int(rng.integers(2, 12))
        values += list(rng.normal(0, between) + rng.normal(0, within, size))
        names += [f"g{group}"] * size
    return values, names


def test_the_mean_is_over_cases_not_over_groups() -> None:
    interval = bootstrap_mean([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"])
    assert interval.mean == 0.75
    assert (interval.cases, interval.groups, interval.not_applicable) == (4, 2, 0)


@pytest.mark.parametrize(("groups", "lowest"), [(30, 0.90), (5, 0.84)])
def test_a_95_percent_interval_covers_the_truth_about_that_often(groups: int, lowest: float) -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for repeat in range(300):
        interval = bootstrap_mean(*study(rng, groups), resamples=500, seed=repeat)
        assert interval.low is not None and interval.high is not None
        covered += interval.low <= 0 <= interval.high
    assert lowest <= covered / 300 <= 0.98


def test_grouped_cases_give_a_wider_interval_than_the_same_cases_alone() -> None:
    values, groups = study(np.random.default_rng(2), 30)
    grouped, alone = bootstrap_mean(values, groups), bootstrap_mean(values, None)
    assert grouped.mean == pytest.approx(alone.mean)
    assert grouped.high - grouped.low > 1.5 * (alone.high - alone.low)
    assert alone.groups == alone.cases == len(values)


def test_cases_alone_agree_with_the_normal_interval_when_there_are_many() -> None:
    values = np.random.default_rng(3).normal(5, 1, 400)
    interval = bootstrap_mean(values.tolist(), None)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.05)


def test_the_interval_narrows_with_confidence_and_repeats_with_the_seed() -> None:
    values, groups = study(np.random.default_rng(4), 12)
    wide, narrow = bootstrap_mean(values, groups), bootstrap_mean(values, groups, confidence=0.5)
    assert wide == bootstrap_mean(values, groups)
    assert wide != bootstrap_mean(values, groups, seed=1)
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.none() | st.floats(0, 1), st.none() | st.sampled_from("abcd")), max_size=20))
def test_any_values_give_an_interval_within_their_range_or_say_why_not(
    cases: list[tuple[float | None, str | None]],
) -> None:
    values, groups = [value for value, _ in cases], [group for _, group in cases]
    interval = bootstrap_mean(values, groups, resamples=100)
    present = [value for value in values if value is not None]
    assert interval.cases == len(present)
    assert interval.not_applicable == len(values) - len(present)
    if interval.groups > 1:
        assert min(present) - 1e-9 <= interval.low <= interval.high <= max(present) + 1e-9
    else:
        assert interval.low is interval.high is None
        assert interval.note


def test_what_has_no_interval_says_so() -> None:
    assert bootstrap_mean([], None).note == "not applicable to any case"
    assert bootstrap_mean([None, None], ["a", "b"]).mean is None
    assert bootstrap_mean([0.5], None).note == "no interval: only one case"
    assert bootstrap_mean([0.5], [None]).note == "no interval: only one case"
    one = bootstrap_mean([0.5, 0.7, None], ["a", "a", "b"])
    assert one.note == "no interval: only one group"
    assert (one.mean, one.low, one.high, one.not_applicable) == (pytest.approx(0.6), None, None, 1)
    assert "only 3 groups" in (bootstrap_mean([0.1, 0.2, 0.3], list("abc")).note or "")


def test_a_paired_difference_sees_what_two_separate_intervals_hide() -> None:
    rng = np.random.default_rng(5)
    values, groups = study(rng, 20)
    better = [value + 0.05 + noise for value, noise in zip(values, rng.normal(0, 0.02, len(values)), strict=True)]
    assert bootstrap_mean(better, groups).low < bootstrap_mean(values, groups).mean
    difference = paired_difference(better, values, groups)
    assert difference.mean == pytest.approx(0.05, abs=0.01)
    assert difference.low > 0
    assert difference.p_value < 0.001


def test_exchanging_the_models_turns_the_difference_round() -> None:
    (first, groups), second = study(np.random.default_rng(6), 9), 0.1
    forth = paired_difference(first, [second] * len(first), groups)
    back = paired_difference([second] * len(first), first, groups)
    assert (back.mean, back.low, back.high) == pytest.approx((-forth.mean, -forth.high, -forth.low), abs=0.01)
    assert back.p_value == forth.p_value


def test_the_interval_of_a_difference_is_students_over_group_means_of_one_size() -> None:
    rng = np.random.default_rng(9)
    for size in (2, 5, 30):
        means = rng.normal(0.1, 1, size)
        interval = stats.ttest_1samp(means, 0).confidence_interval(0.95)
        cases, groups = np.repeat(means, 3).tolist(), np.repeat(np.arange(size), 3).astype(str).tolist()
        found = paired_difference(cases, [0.0] * len(cases), groups)
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_the_interval_of_unequal_groups_is_that_of_the_whole_matrices() -> None:
    """The definition of Bell and McCaffrey, with the residual maker written out."""
    values, groups = study(np.random.default_rng(10), 7)
    found = paired_difference(values, [0.0] * len(values), groups)
    names = sorted(set(groups))
    counts = np.array([groups.count(name) for name in names])
    means = np.array([np.mean([v for v, g in zip(values, groups, strict=True) if g == name]) for name in names])
    share = counts / counts.sum()
    maker = np.eye(7) - share  # residuals of group means
    form = maker.T @ np.diag(share**2 / (1 - share)) @ maker
    freedom = np.trace(form) ** 2 / np.trace(form @ form)
    width = stats.t.ppf(0.975, freedom) * np.sqrt(means @ form @ means)
    assert (found.low, found.high) == pytest.approx((found.mean - width, found.mean + width))
    assert found.note is None and freedom < 6


def test_the_p_value_of_few_groups_is_exact_and_never_small() -> None:
    difference = paired_difference([1.0] * 8, [0.0] * 8, ["a", "a", "b", "b", "c", "c", "d", "d"])
    assert difference.mean == 1
    assert difference.p_value == 2 / 2**4
    assert paired_difference([0.1, 0.2], [0.1, 0.2], None).p_value == 1
    assert paired_difference([0.3, 0.2], [0.1, 0.2], ["a", "a"]).p_value is None


def test_p_values_are_uniform_where_nothing_differs() -> None:
    rng = np.random.default_rng(7)
    p_values = []
    for repeat in range(200):
        values, groups = study(rng, 20)
        p_values.append(paired_difference(values, [0.0] * len(values), groups, resamples=200, seed=repeat).p_value)
    assert 0.4 <= np.mean(p_values) <= 0.6
    assert np.mean(np.array(p_values) < 0.05) <= 0.1


def test_holm_agrees_with_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    rng = np.random.default_rng(8)
    for size in (1, 2, 3, 7, 20):
        p_values = (rng.random(size) ** 3).round(2).tolist()  # some small, some equal, some 0
        assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


def test_a_comparison_without_a_p_value_does_not_weigh_on_the_others() -> None:
    assert holm([0.04, None, 0.01]) == [0.04, None, 0.02]
    assert holm([]) == []
    with pytest.raises(SyndiffError, match=r"a p-value is 1.5; expected one from 0 to 1"):
        holm([0.1, 1.5])
    with pytest.raises(SyndiffError, match="a p-value is nan"):
        holm([float("nan")])


def test_a_case_without_a_value_on_either_side_is_left_out_and_counted() -> None:
    difference = paired_difference([1.0, None, 3.0, 4.0], [0.0, 1.0, None, 1.0], None)
    assert (difference.mean, difference.cases, difference.not_applicable) == (2, 2, 2)


@pytest.mark.parametrize("setting", [{"confidence": 95}, {"confidence": 0}, {"resamples": 10}])
def test_senseless_settings_are_refused(setting: dict) -> None:
    with pytest.raises(SyndiffError, match=next(iter(setting))):
        bootstrap_mean([0.1, 0.2], None, **setting)
    with pytest.raises(SyndiffError, match=next(iter(setting))):
        paired_difference([0.1, 0.2], [0.1, 0.1], None, **setting)
