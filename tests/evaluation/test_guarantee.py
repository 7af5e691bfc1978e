"""The threshold of the wide contour: exact counts, order statistics, and conformal risk control against MAPIE."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from syndiff.errors import SyndiffError
from syndiff.evaluation.guarantee import (
    ENGINE_TOLERANCE,
    MIN_THRESHOLD,
    THRESHOLDS,
    FrameCurve,
    Goal,
    allowed_failures,
    check_enough,
    choose,
    frame_curve,
    frame_level,
    group_levels,
    group_losses,
    groups_needed,
    groups_needed_on_average,
    level_of_groups,
    level_on_average,
)

PROBABILITIES = st.one_of(
    st.floats(0, 1, width=32),
    st.sampled_from([float(value) for value in THRESHOLDS]),  # > and >= differ there
)
MAPS = arrays(np.float32, (4, 5), elements=PROBABILITIES)
MASKS = arrays(np.bool_, (4, 5))
FRAMES = st.lists(st.tuples(MAPS, MASKS, st.integers(0, 4)), min_size=1, max_size=12)
EASY = Goal(0.3, 0.5, 0.5)
"""Allows something of a single group."""


def curves(drawn: Sequence[tuple[np.ndarray, np.ndarray, int]]) -> list[FrameCurve]:
    return [
        frame_curve(probability, lesion, case=str(number), group=str(group))
        for number, (probability, lesion, group) in enumerate(drawn)
    ]


def random_frames(groups: int, *, frames: int = 2, seed: int = 0, low: float = 0.1) -> list[FrameCurve]:
    rng = np.random.default_rng(seed)
    made = []
    for group in range(groups):
        for frame in range(frames):
            probability = rng.uniform(low, 1, (6, 6)).astype(np.float32)
            made.append(frame_curve(probability, rng.random((6, 6)) < 0.5, case=f"{group}-{frame}", group=str(group)))
    return made


@pytest.mark.parametrize(("confidence", "expected"), [(0.9, (22, 38, 52, 65)), (0.95, (29, 46, 61, 76))])
def test_numbers_of_groups_are_those_of_the_order_statistics(confidence: float, expected: tuple[int, ...]) -> None:
    for failures, groups in enumerate(expected):
        assert groups_needed(coverage=0.9, confidence=confidence, failures=failures) == groups
        assert allowed_failures(groups, coverage=0.9, confidence=confidence) == failures
        assert allowed_failures(groups - 1, coverage=0.9, confidence=confidence) == (failures - 1 if failures else None)


@given(st.integers(1, 3000), st.floats(0.05, 0.99), st.floats(0.05, 0.99))
def test_allowed_failures_are_the_most_that_the_binomial_allows(n: int, coverage: float, confidence: float) -> None:
    failures = allowed_failures(n, coverage=coverage, confidence=confidence)
    below = -1 if failures is None else failures
    assert stats.binom.cdf(below, n, 1 - coverage) <= 1 - confidence + 1e-9
    assert stats.binom.cdf(below + 1, n, 1 - coverage) >= 1 - confidence - 1e-9


@given(MAPS, MASKS)
def test_a_curve_counts_what_the_predictor_draws(probability: np.ndarray, lesion: np.ndarray) -> None:
    found = frame_curve(probability, lesion, case="a", group="a")
    for index in range(0, len(THRESHOLDS), 20):
        wide = (probability > np.float32(0.5)) | (probability > np.float32(float(THRESHOLDS[index])))
        assert found.area[index] == wide.sum()
        assert found.missed[index] >= (lesion & ~wide).sum()
        # an engine whose probabilities lie lower by the tolerance misses no more than was counted
        other = probability.astype(np.float64) - 0.999 * ENGINE_TOLERANCE > float(THRESHOLDS[index])
        assert found.missed[index] >= (lesion & ~other).sum()
        assert found.missed[index] <= (lesion & (probability <= THRESHOLDS[index] + 1.01 * ENGINE_TOLERANCE)).sum()
    assert found.area[-1] == (probability > 0.5).sum()
    assert (np.diff(found.missed) >= 0).all() and (np.diff(found.area) <= 0).all()


@given(MAPS, MASKS, MASKS)
def test_a_mask_beyond_the_threshold_is_held_and_not_counted_on(
    probability: np.ndarray, lesion: np.ndarray, more: np.ndarray
) -> None:
    """Of classes that exclude each other, a mask may hold pixels below 0.5."""
    mask = more | (probability > np.float32(0.5))
    curve = frame_curve(probability, lesion, case="", group="", mask_hw=mask)
    for level, threshold in enumerate(THRESHOLDS):
        wide = mask | (probability > threshold)
        assert curve.area[level] == wide.sum() and curve.missed[level] >= (lesion & ~wide).sum()
    assert curve.area[-1] == mask.sum()


def test_a_pixel_at_the_threshold_is_outside() -> None:
    lesion = np.ones((1, 1), np.bool_)
    for index, threshold in enumerate(THRESHOLDS[1:], 1):
        found = frame_curve(np.full((1, 1), threshold, np.float32), lesion, case="a", group="a")
        safe = (np.array([float(f"{value:.3g}") for value in THRESHOLDS]) + ENGINE_TOLERANCE).astype(np.float32)
        assert found.area[index] == 0 and found.area[index - 1] == 1
        assert frame_level(found, 0) == np.count_nonzero(safe < threshold) - 1


@pytest.mark.parametrize(("miss", "pixels", "allowed"), [(0.1, 10, 1), (0.29, 100, 29), (0.1, 9, 0), (0.7, 10, 7)])
def test_the_share_is_the_one_that_was_written(miss: float, pixels: int, allowed: int) -> None:
    """0.29 * 100 is 28.999... in floats."""
    for low, reached in ((allowed, True), (allowed + 1, False)):
        probability = np.full((1, pixels), 0.9, np.float32)
        probability[0, :low] = 0.0
        found = frame_curve(probability, np.ones((1, pixels), np.bool_), case="a", group="a")
        assert (frame_level(found, miss) == len(THRESHOLDS) - 1) is reached


@given(FRAMES, st.sampled_from([0.0, 0.1, 0.25, 0.5]), st.sampled_from([0.5, 0.6, 0.9]))
@settings(max_examples=150)
def test_the_chosen_threshold_is_the_highest_that_fails_no_more_groups(drawn, miss: float, coverage: float) -> None:
    frames, goal = curves(drawn), Goal(miss, coverage, 0.5)
    names = {frame.group for frame in frames if frame.lesion}
    try:
        choice = choose(frames, goal)
    except SyndiffError:
        return

    def failed(threshold: np.float32) -> int:
        """Groups of which the wide contour of a predictor misses too much in any frame."""
        bad = set()
        for probability, lesion, group in drawn:
            wide = (probability > np.float32(0.5)) | (probability > threshold)
            if lesion.any() and (lesion & ~wide).sum() > miss * lesion.sum() + 1e-9:
                bad.add(group)
        return len(bad)

    assert choice.groups == len(names) and choice.failures is not None
    assert failed(np.float32(choice.threshold)) <= choice.failures
    if choice.threshold < 0.5:  # a step and the engines' tolerance further
        assert failed(np.float32(THRESHOLDS[choice.level + 1] + 1.01 * ENGINE_TOLERANCE)) > choice.failures


@given(FRAMES)
@settings(max_examples=60)
def test_less_may_be_missed_the_wider(drawn) -> None:
    frames = curves(drawn)
    for low, high in pairwise((0.0, 0.1, 0.3, 0.9)):
        narrow, wide = group_levels(frames, high), group_levels(frames, low)
        assert all(wide[name] <= narrow[name] for name in wide)
        losses = group_losses(frames)
        if len(losses):
            assert level_on_average(losses, low) <= level_on_average(losses, high)


@given(FRAMES, st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_what_makes_no_difference(drawn, random) -> None:
    """The order of frames, a frame twice, frames and groups without a lesion, and background around an image."""
    levels = group_levels(curves(drawn), 0.1)
    shuffled = random.sample(drawn, len(drawn))
    empty = (drawn[0][0], np.zeros((4, 5), np.bool_))
    padded = [(np.pad(p, 3), np.pad(lesion, 3), group) for p, lesion, group in drawn]
    for other in (shuffled, drawn * 2, [*drawn, (*empty, drawn[0][2])], [*drawn, (*empty, 99)], padded):
        assert group_levels(curves(other), 0.1) == levels


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("miss", [0.1, 0.25, 0.5])
def test_the_average_is_that_of_mapie(seed: int, miss: float) -> None:
    """MAPIE counts images, wants them of one size, each with a lesion, and takes values outside [0, 1] for logits."""
    from mapie.risk_control import SemanticSegmentationController

    rng = np.random.default_rng(seed)
    probability = rng.beta(2, 2, (30, 8, 8)).astype(np.float32)
    lesion = rng.random((30, 8, 8)) < 0.3
    frames = [
        frame_curve(p, y, case=str(i), group=str(i)) for i, (p, y) in enumerate(zip(probability, lesion, strict=True))
    ]
    safe = THRESHOLDS + np.float32(ENGINE_TOLERANCE)
    mapie = SemanticSegmentationController(lambda x: x, target_level=1 - miss, predict_params=safe)
    mapie.calibrate(probability[:, None], lesion[:, None].reshape(30, -1).astype(int))
    assert safe[level_on_average(group_losses(frames), miss)] == pytest.approx(mapie.best_predict_param[0])


def test_patients_count_alike_on_average_however_many_frames_they_have() -> None:
    lesion = np.ones((1, 4), np.bool_)
    good, bad = np.full((1, 4), 0.9, np.float32), np.full((1, 4), 0.2, np.float32)
    once = [frame_curve(good, lesion, case="a", group="a"), frame_curve(bad, lesion, case="b", group="b")]
    often = [*once, *[frame_curve(bad, lesion, case=f"b{i}", group="b") for i in range(9)]]
    assert (group_losses(once) == group_losses(often)).all()


def test_too_few_patients_are_told_how_many_are_needed_and_what_they_allow() -> None:
    with pytest.raises(SyndiffError, match=r"5 patients .* 22 are needed .* 90 % .* --average --miss 0.167"):
        check_enough(5, Goal(0.1, 0.9, 0.9))
    check_enough(5, Goal(0.167))
    with pytest.raises(SyndiffError, match=r"12 patients .* --average --miss 0\.1\.$"):
        choose(random_frames(12), Goal(0.1, 0.9, 0.9))
    with pytest.raises(SyndiffError, match=r"8 patients .* 9 are needed .* --miss 0.112"):
        check_enough(8, Goal(0.1))
    with pytest.raises(SyndiffError, match="with a lesion"):
        choose(curves([(np.ones((2, 2), np.float32), np.zeros((2, 2), np.bool_), 0)]), EASY)
    assert [groups_needed_on_average(miss) for miss in (0.5, 0.1, 0.05, 0.3)] == [1, 9, 19, 3]


def test_lesions_scored_near_zero_are_refused_and_named() -> None:
    frames = random_frames(30)
    lost = frame_curve(np.full((6, 6), MIN_THRESHOLD, np.float32), np.ones((6, 6), np.bool_), case="lost", group="3")
    assert choose(frames, Goal(0.1, 0.9, 0.9)).threshold > 0.1
    with pytest.raises(SyndiffError, match=r"above 0.01 misses more than 10 % .* in 1 of 30 patients, where 0 are"):
        choose([*frames, lost], Goal(0.1, 0.9, 0.9))
    with pytest.raises(SyndiffError, match=r"misses 50 % of the lesion on average, where 40 % .* case lost"):
        choose([random_frames(1)[0], lost], Goal(0.6))
    with pytest.raises(SyndiffError, match=r"misses 50 % of instrument on average"):
        choose([random_frames(1)[0], lost], Goal(0.6, class_name="instrument"))
    more = random_frames(38)
    assert choose([*more, lost], Goal(0.1, 0.9, 0.9)).failures == 1  # one of 38 may fail


def test_the_width_is_what_the_contour_adds() -> None:
    probability = np.array([[0.9, 0.4, 0.2, 0.0]], np.float32)
    lesion = np.array([[True, True, False, False]])
    choice = choose([frame_curve(probability, lesion, case="a", group="a")], Goal(0, 0.5, 0.5))
    assert 0.39 < choice.threshold < 0.4 and choice.extra_of_frame == 0.25 and choice.extra_of_mask == 1
    blind = choose([frame_curve(probability / 2, lesion, case="a", group="a")], Goal(0, 0.5, 0.5))
    assert 0.195 < blind.threshold < 0.2 and blind.extra_of_mask is None


@pytest.mark.parametrize(
    ("values", "named"),
    [((1.0, 0.9, 0.9), "miss"), ((-0.1, 0.9, 0.9), "miss"), ((0.0,), "miss"), ((0.1, 1.0, 0.9), "coverage"),
     ((0.1, 0.9, 0.0), "confidence"), ((float("nan"),), "miss"), ((0.1, 0.9), "both")],
)  # fmt: skip
def test_shares_that_are_none_are_refused(values: tuple[float, ...], named: str) -> None:
    with pytest.raises(SyndiffError, match=named):
        Goal(*values)


def test_of_many_calibrations_nine_in_ten_keep_their_promise() -> None:
    rng = np.random.default_rng(0)
    for groups in (22, 38, 60):
        failures = allowed_failures(groups, coverage=0.9, confidence=0.9)
        assert failures is not None
        levels = rng.integers(0, 490, (4000, groups))
        chosen = np.array([level_of_groups(each, failures) for each in levels])
        kept = (490 - chosen) / 490 >= 0.9  # of new groups, those whose level is as high
        assert kept.mean() >= 0.9 - 3 * np.sqrt(0.09 / 4000)
