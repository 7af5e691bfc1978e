"""Scores by size of lesion: every case with a lesion is in one size, and what is missed is counted there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndiff.evaluation.metrics import case_metrics
from syndiff.evaluation.sizes import Sized, by_size, size_names, size_of


def of(lesion: int, found: int) -> Sized:
    """A frame of 1,000 pixels, of which so many are lesion and so many of those are found."""
    target, predicted = np.zeros((20, 50), bool), np.zeros((20, 50), bool)
    target.ravel()[:lesion] = True
    predicted.ravel()[:found] = True
    return Sized(case_metrics(predicted, target), lesion / 1000)


def test_sizes_begin_where_they_say() -> None:
    assert size_names() == ["below 1 %", "1 to 5 %", "5 to 15 %", "15 % or more"]
    assert [size_of(share) for share in (0.0099, 0.01, 0.05, 0.15, 1.0)] == [*size_names(), "15 % or more"]
    assert size_of(0.0) is None


def test_means_and_missed_lesions_are_those_of_the_size() -> None:
    table = by_size([of(5, 0), of(5, 5), of(100, 100), of(0, 0), of(0, 9)])
    assert list(table) == ["below 1 %", "5 to 15 %"]
    small = table["below 1 %"]
    assert (small.cases, small.dice, small.nsd, small.lesions, small.missed_lesions) == (2, 0.5, 0.5, 2, 1)
    assert small.hd95 == pytest.approx(np.hypot(20, 50) / 2)
    assert table["5 to 15 %"].dice == 1 and "0 of 1 lesions missed" in str(table["5 to 15 %"])


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), max_size=8))
def test_every_case_with_a_lesion_is_in_one_size(drawn: list[tuple[int, int]]) -> None:
    table = by_size([of(lesion, found) for lesion, found in drawn])
    assert sum(row.cases for row in table.values()) == sum(lesion > 0 for lesion, _ in drawn)
