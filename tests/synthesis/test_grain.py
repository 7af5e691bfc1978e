"""Grain: a smooth patch in a grainy frame gets the frame's grain, and nothing else changes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from syndiff.synthesis.grain import match_grain

SIZE = 96


def disc(radius=22, row=48, column=48):
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return (rows - row) ** 2 + (columns - column) ** 2 < radius**2


def frame(noise, seed=0, dtype=np.uint8):
    """Grey with camera noise of a standard deviation in shares of the range."""
    values = 0.5 + noise * np.random.default_rng(seed).standard_normal((SIZE, SIZE, 3))
    return np.rint(values.clip(0, 1) * np.iinfo(dtype).max).astype(dtype)


def grain(picture, where):
    picture = picture.mean(axis=2)
    return (picture - ndimage.gaussian_filter(picture, 1))[where].std()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("place", [(48, 48), (10, 80)])
def test_a_smooth_patch_becomes_as_grainy_as_its_surroundings(dtype, place):
    source, mask = frame(0.04, dtype=dtype), disc(20, *place)
    smooth = np.full(source.shape, 0.6, np.float32)
    inside = ndimage.binary_erosion(mask, iterations=2)
    found = grain(match_grain(source, smooth, mask, seed=0), inside)
    assert found == pytest.approx(grain(source / np.iinfo(dtype).max, ~mask), rel=0.15)


def test_colour_and_shading_stay():
    source, mask = frame(0.04), disc()
    painted = np.broadcast_to(np.linspace(0.3, 0.7, SIZE, dtype=np.float32)[:, None, None], source.shape).copy()
    result = match_grain(source, painted, mask, seed=0)
    change = ndimage.gaussian_filter(result - painted, (3, 3, 0))
    assert np.abs(change).max() < 0.015
    assert np.array_equal(result[~mask], painted[~mask])


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.02, 0.2))
def test_what_is_grainy_enough_is_left_alone(seed, noise):
    painted = frame(noise, seed).astype(np.float32) / 255
    assert match_grain(frame(noise / 2, seed + 1), painted, disc(), seed=0) is painted


@pytest.mark.parametrize("mask", [np.zeros((SIZE, SIZE), bool), np.ones((SIZE, SIZE), bool), disc()])
def test_without_surroundings_or_grain_there_is_nothing_to_match(mask):
    painted = np.full((SIZE, SIZE, 3), 0.5, np.float32)
    source = frame(0.0) if 0 < mask.mean() < 1 else frame(0.05)
    assert match_grain(source, painted, mask, seed=0) is painted


def test_grain_of_every_size_is_matched():
    """Blotches of a few pixels, as sharpening and JPEG leave them, and not only the grain of single pixels."""
    blotched = ndimage.gaussian_filter(frame(0.3), (1.5, 1.5, 0))
    mask = disc()
    inside = ndimage.binary_erosion(mask, iterations=4)
    found = match_grain(blotched, np.full(blotched.shape, 0.5, np.float32), mask, seed=0).mean(axis=2)
    levels = [ndimage.gaussian_filter(found, sigma) for sigma in (0, 0.8, 1.6, 3.2)]
    wanted = [ndimage.gaussian_filter(blotched.mean(axis=2) / 255, sigma) for sigma in (0, 0.8, 1.6, 3.2)]
    for index in range(3):
        band, real = levels[index] - levels[index + 1], wanted[index] - wanted[index + 1]
        assert band[inside].std() == pytest.approx(real[~mask].std(), rel=0.35)


def test_the_seed_draws_the_grain():
    source, mask, smooth = frame(0.04), disc(), np.full((SIZE, SIZE, 3), 0.5, np.float32)
    first, same, other = (match_grain(source, smooth, mask, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first, same)
    assert not np.allclose(first[mask], other[mask], atol=0.01)


def test_highlights_are_no_grain():
    source, mask = frame(0.02), disc()
    source[20:24, 40:60] = 255
    smooth = np.full(source.shape, 0.5, np.float32)
    assert match_grain(source, smooth, mask, seed=0)[mask].max() < 0.75
