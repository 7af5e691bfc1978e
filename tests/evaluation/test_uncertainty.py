"""Doubt and calibration on cases whose figures are known by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from syndiff.evaluation.uncertainty import Reliability, detection_auc, mean_variance
from syndiff.models.tta import disagreement


def test_a_calibrated_forecast_has_no_error_and_a_sure_wrong_one_has_all() -> None:
    target = np.zeros((10, 10), bool)
    target[:, :3] = True
    assert Reliability.of(np.full((10, 10), 0.3, np.float32), target).error == pytest.approx(0, abs=1e-6)
    assert Reliability.of(1 - target.astype(np.float32), target).error == pytest.approx(1)
    assert Reliability.of(target.astype(np.float32), target).error == 0


def test_reliability_of_cases_adds_up() -> None:
    """Overconfident here, underconfident there: the pixels are judged together."""
    half = np.full((4, 4), 0.5, np.float32)
    every, none = np.ones((4, 4), bool), np.zeros((4, 4), bool)
    assert Reliability.of(half, every).error == Reliability.of(half, none).error == 0.5
    assert (Reliability.of(half, every) + Reliability.of(half, none)).error == 0


def test_disagreement_is_one_minus_the_mean_pairwise_dice() -> None:
    members = np.zeros((3, 2, 4), np.float32)
    members[0, 0] = members[1, 0] = members[2, 1] = 1  # two agree, the third shares nothing with them
    assert disagreement(members) == pytest.approx(1 - (1 + 0 + 0) / 3)
    assert disagreement(np.zeros((2, 4, 4), np.float32)) == 0
    assert mean_variance(members) == pytest.approx(2 / 9)
    assert mean_variance(np.zeros((2, 4, 4), np.float32)) == 0


@settings(deadline=None)
@given(arrays.arrays(np.float32, (4, 3, 5), elements=st.floats(0, 1, width=32)))
def test_doubt_is_bounded_and_blind_to_the_order_of_the_answers(members: np.ndarray) -> None:
    assert 0 <= disagreement(members) <= 1
    assert 0 <= mean_variance(members) <= 0.25
    assert disagreement(members) == pytest.approx(disagreement(members[::-1]))


def test_doubt_that_ranks_the_wrong_cases_first_detects_them() -> None:
    wrong = [True, True, False, False, False]
    assert detection_auc([5, 4, 3, 2, 1], wrong) == 1
    assert detection_auc([1, 2, 3, 4, 5], wrong) == 0
    assert detection_auc([1, 1, 1, 1, 1], wrong) == 0.5
    assert detection_auc([1, 2], [True, True]) is None
