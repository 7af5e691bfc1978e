import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit

from syndiff.errors import SyndiffError
from syndiff.evaluation.intervals import share_interval
from syndiff.evaluation.statistics import (
    distance_mean,
    holm,
    mean_interval,
    p_words,
    paired_difference,
    score_interval,
)

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
    for interval in (score_interval, mean_interval, distance_mean):
        found = interval([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"])
        assert found.mean == 0.75
        assert (found.cases, found.groups, found.not_applicable) == (4, 2, 0)


@pytest.mark.parametrize("groups", [5, 12, 40])
def test_a_95_percent_interval_of_skewed_scores_covers_the_truth_about_that_often(groups: int) -> None:
    """Groups of 5 to 15 frames with a difficulty of their own; a harder frame is missed more often, with score 0."""
    rng = np.random.default_rng(1)

    def test_set(groups: int) -> tuple[np.ndarray, np.ndarray]:
        group = np.repeat(np.arange(groups), rng.integers(5, 16, groups))
        ease = rng.normal(2.3, 1, groups)[group] + rng.normal(0, 1, len(group))
        return np.where(rng.random(len(group)) < expit(-2.5 * ease), 0, expit(ease)), group

    truth = test_set(20_000)[0].mean()
    covered = 0
    for _ in range(400):
        scores, group = test_set(groups)
        low, high = share_interval(np.bincount(group, scores), np.bincount(group).astype(float), 0.95)
        covered += low <= truth <= high
    assert 0.91 <= covered / 400 <= 0.985


def test_grouped_cases_give_a_wider_interval_than_the_same_cases_alone() -> None:
    values, groups = study(np.random.default_rng(2), 30)
    scores = expit(values).tolist()
    for interval, cases in ((score_interval, scores), (mean_interval, values)):
        grouped, alone = interval(cases, groups), interval(cases, None)
        assert grouped.mean == pytest.approx(alone.mean)
        assert grouped.high - grouped.low > 1.5 * (alone.high - alone.low)
        assert alone.groups == alone.cases == len(values)


def test_cases_alone_agree_with_the_normal_interval_when_there_are_many() -> None:
    values = np.random.default_rng(3).random(2000)
    for interval in (score_interval, mean_interval):
        found = interval(values.tolist(), None)
        assert found.note is None
        assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 2000**0.5, rel=0.02)


def test_the_interval_narrows_with_confidence() -> None:
    values, groups = study(np.random.default_rng(4), 12)
    for interval, cases in ((score_interval, expit(values).tolist()), (mean_interval, values)):
        wide, narrow = interval(cases, groups), interval(cases, groups, confidence=0.5)
        assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high


def test_scores_all_alike_at_the_end_of_the_scale_still_leave_room_for_the_case_not_seen() -> None:
    """For n cases of score 1 the lower bound is the one of n ones and half a 0, and so below 1."""
    perfect, hopeless = score_interval([1.0] * 50, None), score_interval([0.0] * 50, None)
    assert (perfect.mean, perfect.high, hopeless.mean, hopeless.low) == (1, 1, 0, 0)
    assert 0.9 < perfect.low < 0.99 and hopeless.high == pytest.approx(1 - perfect.low)
    assert score_interval([1.0] * 500, None).low > perfect.low


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.none() | st.floats(0, 1), st.none() | st.sampled_from("abcd")), max_size=20))
def test_any_scores_give_an_interval_from_0_to_1_around_their_mean_or_say_why_not(
    cases: list[tuple[float | None, str | None]],
) -> None:
    values, groups = [value for value, _ in cases], [group for _, group in cases]
    interval = score_interval(values, groups)
    present = [value for value in values if value is not None]
    assert interval.cases == len(present)
    assert interval.not_applicable == len(values) - len(present)
    if interval.groups > 1:
        assert 0 <= interval.low <= interval.mean + 1e-9 and interval.mean - 1e-9 <= interval.high <= 1
        assert interval.low < interval.high
    else:
        assert interval.low is interval.high is None
    assert interval.note, "so few cases are never without a word"


def test_what_has_no_interval_says_so() -> None:
    for interval in (score_interval, mean_interval, distance_mean):
        assert interval([], None).note == "not applicable to any case"
        assert interval([None, None], ["a", "b"]).mean is None
        assert interval([0.5], None).note == "no interval: only one case"
        assert interval([0.5], [None]).note == "no interval: only one case"
        one = interval([0.5, 0.7, None], ["a", "a", "b"])
        assert one.note == "no interval: only one group"
        assert (one.mean, one.low, one.high, one.not_applicable) == (pytest.approx(0.6), None, None, 1)
    several = distance_mean([5.0, 480.0, 7.0], None)
    assert (several.mean, several.low, several.high) == (164, None, None)
    assert several.note == "no interval: a mean distance hangs on the few missed lesions"


def test_an_interval_over_few_cases_or_groups_says_what_to_think_of_it() -> None:
    wide = "the interval of a score may be wider than it need be"
    assert score_interval([0.1, 0.2, 0.3], list("abc")).note == f"only 3 cases in 3 groups: {wide}"
    assert score_interval([0.1, 0.2, 0.3] * 20, list("abc") * 20).note == f"only 60 cases in 3 groups: {wide}"
    assert score_interval([0.1, 0.9] * 20, None).note == f"only 40 cases: {wide}"
    narrow = "where one model misses more lesions than the other, the interval of their difference may be too narrow"
    assert paired_difference([0.1, 0.9] * 20, [0.2] * 40, None).note == f"only 40 cases: {narrow}"
    assert score_interval([0.1, 0.9] * 30, list("abcdef") * 10).note is None
    assert paired_difference([0.1, 0.9] * 30, [0.2] * 60, list("abcdef") * 10).note is None
    assert mean_interval([-1.0, 2.0], None).note == "only 2 cases: the interval is rough and may be too narrow"


def test_a_difference_of_distances_has_an_interval_only_where_it_holds() -> None:
    far, near = [9.0, 480.0] * 60, [8.0, 9.0] * 60
    enough = paired_difference(far, near, None, distances=True)
    assert enough.low is not None and enough.note is None
    assert paired_difference(far[1:], near[1:], None).low is not None, "of scores it has one"
    few = paired_difference(far[1:], near[1:], None, distances=True)
    assert (few.low, few.high, few.note) == (None, None, "no interval: of distances it needs 120 cases, here 119")
    assert few.mean == pytest.approx((59 + 60 * 471) / 119) and few.p_value is not None and few.p_value < 0.001


def test_a_score_outside_its_range_is_refused() -> None:
    for value in (-0.1, 1.5, float("nan")):
        with pytest.raises(SyndiffError, match=rf"a score is {value}; expected one from 0 to 1"):
            score_interval([0.5, value], None)


def test_a_paired_difference_sees_what_two_separate_intervals_hide() -> None:
    rng = np.random.default_rng(5)
    values, groups = study(rng, 20)
    better = [value + 0.05 + noise for value, noise in zip(values, rng.normal(0, 0.02, len(values)), strict=True)]
    assert mean_interval(better, groups).low < mean_interval(values, groups).mean
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
        assert mean_interval(cases, groups).low == found.low


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
    assert freedom < 6


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


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0496, "p = 0.050"), (0.0512, "p = 0.051"), (0.4, "p = 0.40"), (0.00099, "p < 0.001"), (None, "")],
)
def test_a_p_value_is_told_from_the_limit(value: float | None, said: str) -> None:
    assert p_words(value) == said


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


@pytest.mark.parametrize("confidence", [95, 0])
def test_a_senseless_confidence_is_refused(confidence: float) -> None:
    for interval in (score_interval, mean_interval):
        with pytest.raises(SyndiffError, match="confidence"):
            interval([0.1, 0.2], None, confidence=confidence)
    with pytest.raises(SyndiffError, match="confidence"):
        paired_difference([0.1, 0.2], [0.1, 0.1], None, confidence=confidence)


def test_too_few_resamples_are_refused() -> None:
    with pytest.raises(SyndiffError, match="resamples is 10"):
        paired_difference([0.1, 0.2], [0.1, 0.1], None, resamples=10)
