"""The resize rule: shapes and ranges for any input, and a way back that keeps the mask."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from syndiff.data.resize import resize_image, resize_mask, restore_probability

sides = st.integers(1, 90)
modest = settings(max_examples=40, deadline=None)


def ellipse(height: int, width: int, centre: tuple[float, float], radii: tuple[float, float]) -> NDArray[np.bool_]:
    """An ellipse given in fractions of the image's sides."""
    y, x = np.mgrid[:height, :width]
    y, x = (y + 0.5) / height - centre[0], (x + 0.5) / width - centre[1]
    return (y / radii[0]) ** 2 + (x / radii[1]) ** 2 <= 1


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


@modest
@given(height=sides, width=sides, size=sides, wide=st.booleans(), seed=st.integers(0, 99))
def test_image_takes_the_size_and_stays_between_its_own_extremes(
    height: int, width: int, size: int, wide: bool, seed: int
) -> None:
    top, dtype = (65535, np.uint16) if wide else (255, np.uint8)
    image = np.random.default_rng(seed).integers(0, top, (height, width, 3), endpoint=True).astype(dtype)
    resized = resize_image(image, size)
    assert resized.shape == (size, size, 3)
    assert resized.dtype == np.uint8
    unit = image / top
    assert unit.min() - 0.003 <= resized.min() / 255 and resized.max() / 255 <= unit.max() + 0.003


@pytest.mark.parametrize("value", [0, 257, 1000, 65535])
def test_sixteen_bits_are_scaled_by_the_data_type_not_by_the_image(value: int) -> None:
    image = np.full((5, 7, 3), value, np.uint16)
    assert (resize_image(image, 4) == round(value / 257)).all()


def test_equal_size_is_the_identity() -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (32, 32, 3)).astype(np.uint8)
    mask = random.random((32, 32)) > 0.5
    probability = random.random((32, 32)).astype(np.float32)
    np.testing.assert_array_equal(resize_image(image, 32), image)
    np.testing.assert_array_equal(resize_mask(mask, 32), mask)
    np.testing.assert_array_equal(restore_probability(probability, 32, 32), probability)


def test_a_reduction_averages_instead_of_skipping_pixels() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    reduced = resize_image(stripes, 16)
    assert abs(reduced[:, 2:-2].astype(int) - 128).max() < 10


def test_a_pixel_is_foreground_when_the_mask_covers_half_of_it() -> None:
    mask = np.zeros((40, 40), bool)
    mask[:, :21] = True
    resized = resize_mask(mask, 10)
    assert resized[:, :5].all() and not resized[:, 6:].any()


@modest
@given(
    height=st.integers(60, 400),
    width=st.integers(60, 400),
    y=st.floats(0.3, 0.7),
    x=st.floats(0.3, 0.7),
    radius=st.floats(0.15, 0.3),
)
def test_a_mask_survives_the_way_there_and_back(height: int, width: int, y: float, x: float, radius: float) -> None:
    mask = ellipse(height, width, (y, x), (radius, radius))
    restored = restore_probability(resize_mask(mask, 128).astype(np.float32), height, width)
    assert restored.shape == (height, width)
    assert dice(restored > 0.5, mask) > 0.96


@modest
@given(size=sides, height=sides, width=sides, seed=st.integers(0, 99))
def test_restored_probabilities_stay_probabilities(size: int, height: int, width: int, seed: int) -> None:
    probability = np.random.default_rng(seed).random((size, size)).astype(np.float32)
    restored = restore_probability(probability, height, width)
    assert restored.shape == (height, width)
    assert restored.dtype == np.float32
    assert restored.min() >= probability.min() - 1e-6 and restored.max() <= probability.max() + 1e-6


def test_resizing_does_not_shift_the_picture() -> None:
    ramp = np.tile(np.linspace(0, 1, 30, dtype=np.float32), (30, 1))
    restored = restore_probability(ramp, 90, 90)
    np.testing.assert_allclose(restored + restored[:, ::-1], 1.0, atol=1e-6)
