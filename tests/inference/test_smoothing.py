"""Averaging over time: steady where the picture is, quick where it moves, and nothing across a cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndiff.errors import SyndiffError
from syndiff.inference.formats.base import Frame
from syndiff.inference.smoothing import AHEAD, CUT, Smoothing, change, thumbnail
from syndiff.models.predictor import Prediction
from syndiff.phantom import render_sequence

STILL = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
OTHER = STILL[::-1, ::-1].copy()
OTHER[:30] //= 4
BLOCKS = np.kron(STILL[::6, ::8], np.ones((6, 8, 1), np.uint8))


def answer(probability: float, wide: bool | None = None) -> Prediction:
    values = np.full(STILL.shape[:2], probability, np.float32)
    return Prediction(
        values > 0.5, values, {"denoise": 1.0}, wide=None if wide is None else np.full(values.shape, wide)
    )


def run(probabilities, *, seconds=0.1, ahead=AHEAD, times=None, images=None) -> list[float]:
    """Each frame comes out once and in order; its mask is where its new probability is above one half."""
    smoothing = Smoothing(seconds, ahead=ahead)
    images = images or [STILL] * len(probabilities)
    times = times or [0.04 * number for number in range(len(probabilities))]
    frames = [Frame(image, f"{time}", seconds=time) for image, time in zip(images, times, strict=True)]
    out = []
    for frame, probability in zip(frames, probabilities, strict=True):
        out += smoothing.add(frame, answer(probability))
    out += smoothing.rest()
    assert [frame.name for frame, _ in out] == [frame.name for frame in frames]
    assert all(np.array_equal(each.mask, each.probability > 0.5) for _, each in out)
    return [float(each.probability[0, 0]) for _, each in out]


def test_weights_fall_exponentially_with_the_time_between_frames_shown():
    times, probabilities = [0, 0.04, 0.1, 0.11, 0.3, 0.31, 0.4], [0.0, 1.0, 0.5, 0.25, 1.0, 0.0, 0.7]
    expected = []
    for number, time in enumerate(times):
        seen = range(min(number + AHEAD, len(times) - 1) + 1)
        weights = [np.exp(-abs(times[other] - time) / 0.1) for other in seen]
        expected.append(np.average(probabilities[: len(seen)], weights=weights))
    assert run(probabilities, times=times) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("ahead", [0, AHEAD])
def test_one_wrong_frame_does_not_flicker_through_but_a_lasting_change_does(ahead):
    assert max(run([0.1, 0.1, 0.1, 0.9, 0.1, 0.1, 0.1], ahead=ahead)) < 0.5
    assert run([0.1] * 5 + [0.9] * 5, ahead=ahead)[-1] > 0.5


def test_looking_ahead_a_mask_does_not_trail_behind_what_moves():
    moving = [0.0] * 6 + [1.0] * 6
    assert [value > 0.5 for value in run(moving)] == [value > 0.5 for value in moving]
    assert run(moving, ahead=0)[6] < 0.5


def test_a_live_video_gets_each_answer_at_once():
    smoothing = Smoothing(ahead=0)
    assert len(smoothing.add(Frame(STILL, seconds=0), answer(1))) == 1 and not smoothing.rest()


def test_nothing_passes_a_cut_in_either_direction():
    assert change(thumbnail(STILL), thumbnail(OTHER)) > CUT
    assert run([0, 1, 0], images=[STILL, OTHER, STILL]) == [0, 1, 0]
    assert run([0, 0, 1, 1], images=[STILL, STILL, OTHER, OTHER]) == [0, 0, 1, 1]


def test_the_more_a_picture_moves_the_less_of_the_others_is_left():
    moved = np.roll(BLOCKS, 1, 1)
    assert 0 < change(thumbnail(BLOCKS), thumbnail(moved)) < CUT
    assert run([0, 1], images=[BLOCKS, BLOCKS])[1] < run([0, 1], images=[BLOCKS, moved])[1] < 1


def test_neighbouring_frames_are_no_cut_and_other_sequences_are():
    first, second = ([thumbnail(frame.image) for frame in render_sequence(0, group, 2, 96, 112)] for group in (0, 1))
    assert change(first[0], first[1]) < CUT < change(first[0], second[0])


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=8), st.floats(0.01, 10), st.integers(0, 4))
def test_an_average_stays_between_the_answers(probabilities, seconds, ahead):
    found = run(probabilities, seconds=seconds, ahead=ahead)
    assert all(min(probabilities) - 1e-6 <= value <= min(max(probabilities) + 1e-6, 1) for value in found)


def test_zero_seconds_leave_the_answers_as_they_are():
    frame, alone = Frame(STILL, seconds=0), answer(0.7)
    assert Smoothing(0).add(frame, alone) == [(frame, alone)]
    assert run([0, 1, 0], seconds=0) == [0, 1, 0]


@pytest.mark.parametrize("seconds", [-1, 11, float("nan"), float("inf")])
def test_impossible_times_are_named(seconds):
    with pytest.raises(SyndiffError, match=f"0 to 10 seconds, found {seconds}"):
        Smoothing(seconds)


def test_the_wide_contour_loses_nothing():
    """Its guarantee is one about single frames: whatever they show wide stays, and the new mask lies in it."""
    smoothing = Smoothing(1, ahead=0)
    smoothing.add(Frame(STILL, seconds=0), answer(0.9, wide=True))
    ((_, trailing),) = smoothing.add(Frame(STILL, seconds=0.01), answer(0.2, wide=False))
    assert trailing.mask.all() and trailing.wide.all() and trailing.seconds == {"denoise": 1.0}
    ((_, wide),) = smoothing.add(Frame(STILL, seconds=9), answer(0.2, wide=True))
    assert not wide.mask.any() and wide.wide.all()


def test_a_video_of_black_frames_is_smoothed():
    black = np.zeros_like(STILL)
    assert 0 < run([0, 1], images=[black, black])[1] < 1
