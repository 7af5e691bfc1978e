"""Averaging over time: steady where the picture is, quick where it moves, and fresh after a cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndiff.errors import SyndiffError
from syndiff.inference.smoothing import CUT, Smoothing, change, thumbnail
from syndiff.models.predictor import Prediction
from syndiff.phantom import render_sequence

STILL = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
OTHER = STILL[::-1, ::-1].copy()
OTHER[:30] //= 4


def answer(probability: float, wide: bool | None = None) -> Prediction:
    values = np.full(STILL.shape[:2], probability, np.float32)
    return Prediction(
        values > 0.5, values, {"denoise": 1.0}, wide=None if wide is None else np.full(values.shape, wide)
    )


def run(probabilities, *, seconds=0.1, step=0.04, images=None) -> list[float]:
    smoothing = Smoothing(seconds)
    images = images or [STILL] * len(probabilities)
    answers = [
        smoothing.smooth(image, number * step, answer(probability))
        for number, (probability, image) in enumerate(zip(probabilities, images, strict=True))
    ]
    assert all(np.array_equal(each.mask, each.probability > 0.5) for each in answers)
    return [float(each.probability[0, 0]) for each in answers]


def test_a_still_picture_is_averaged_exponentially_by_the_time_between_frames():
    assert run([0, 1, 1], step=0.04) == pytest.approx([0, 1 - np.exp(-0.4), 1 - np.exp(-0.8)], abs=1e-6)
    assert run([0, 1, 1], step=0.02)[2] == pytest.approx(run([0, 1], step=0.04)[1], abs=1e-6)


def test_one_wrong_frame_does_not_flicker_through_but_a_lasting_change_does():
    assert max(run([0.1, 0.1, 0.9, 0.1, 0.1])) < 0.5
    assert run([0.1, 0.1, 0.9, 0.9, 0.9])[-1] > 0.5


def test_after_a_cut_the_new_frame_answers_alone():
    assert change(thumbnail(STILL), thumbnail(OTHER)) > CUT
    assert run([0, 1, 0], images=[STILL, OTHER, STILL]) == [0, 1, 0]


def test_the_more_a_picture_moves_the_less_of_the_past_is_left():
    moved = np.roll(np.kron(STILL[::6, ::8], np.ones((6, 8, 1), np.uint8)), (0, 1), (0, 1))
    steady = np.roll(moved, -1, 1)
    assert 0 < change(thumbnail(steady), thumbnail(moved)) < CUT
    assert run([0, 1], images=[steady, steady])[1] < run([0, 1], images=[steady, moved])[1] < 1


def test_neighbouring_frames_are_no_cut_and_other_sequences_are():
    first, second = ([thumbnail(frame.image) for frame in render_sequence(0, group, 3, 96, 112)] for group in (0, 1))
    assert change(first[0], first[1]) < CUT < change(first[0], second[0])


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=8), st.floats(0.01, 10))
def test_an_average_stays_between_the_answers(probabilities, seconds):
    found = run(probabilities, seconds=seconds)
    assert all(min(probabilities) - 1e-6 <= value <= max(probabilities) + 1e-6 for value in found)


def test_zero_seconds_leave_the_answers_as_they_are():
    given_ = answer(0.7)
    assert Smoothing(0).smooth(STILL, 0, given_) is given_
    assert run([0, 1, 0], seconds=0) == [0, 1, 0]


@pytest.mark.parametrize("seconds", [-1, 11, float("nan"), float("inf")])
def test_impossible_times_are_named(seconds):
    with pytest.raises(SyndiffError, match=f"0 to 10 seconds; found {seconds}"):
        Smoothing(seconds)


def test_the_wide_contour_loses_nothing():
    """Its guarantee is one about single frames: whatever they show wide stays, and the mask lies in it."""
    smoothing = Smoothing(0.1)
    smoothing.smooth(STILL, 0, answer(0.9, wide=True))
    lagging = smoothing.smooth(STILL, 0.01, answer(0.2, wide=False))
    assert lagging.mask.all() and lagging.wide.all() and lagging.seconds == {"denoise": 1.0}
    assert smoothing.smooth(STILL, 9, answer(0.2, wide=True)).wide.all()
    assert smoothing.smooth(STILL, 9.01, answer(0.2)).wide is None


def test_a_video_of_black_frames_is_smoothed():
    black = np.zeros_like(STILL)
    assert 0 < run([0, 1], images=[black, black])[1] < 1
