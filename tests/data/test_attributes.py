"""Each attribute follows what it is named after and nothing else."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from syndiff.data.attributes import LesionAttributes, measure_frame, measure_lesion, measure_mask
from syndiff.errors import SyndiffError

ROWS, COLUMNS = np.mgrid[:240, :320]


def ellipse(row: float = 120, column: float = 160, height: float = 30, width: float = 30) -> np.ndarray:
    return ((ROWS - row) / height) ** 2 + ((COLUMNS - column) / width) ** 2 < 1


def picture(texture: float = 12, size: tuple[int, int] = (240, 320)) -> np.ndarray:
    """HxWx3 floats: tissue-coloured noise at all scales."""
    rng = np.random.default_rng(0)
    light = sum(ndimage.gaussian_filter(rng.normal(size=size), s) * s for s in (0.5, 1, 2, 4, 8))
    return np.array([170, 100, 80]) * np.exp(texture / 255 * light)[..., None]


def measure(image: np.ndarray, lesion: np.ndarray, every: np.ndarray | None = None) -> LesionAttributes:
    return measure_lesion(np.clip(image, 0, 255).astype(np.uint8), lesion, lesion if every is None else every)


def test_the_mask_against_closed_forms() -> None:
    mask = measure_mask(ellipse(60, 240, 20, 50))
    assert mask.area == pytest.approx(np.pi * 20 * 50 / 240 / 320, rel=0.01)
    assert mask.elongation == pytest.approx(2.5, rel=0.02)
    assert (mask.down, mask.across) == pytest.approx((60.5 / 240, 240.5 / 320), abs=1e-3)
    slanted = np.abs(ROWS - COLUMNS) < 3
    assert measure_mask(slanted).elongation > 20
    whole = measure_mask(np.ones((50, 50), bool))
    assert (whole.area, whole.elongation, whole.across, whole.down) == pytest.approx((1, 1, 0.5, 0.5))
    with pytest.raises(SyndiffError, match="holds no lesion"):
        measure_mask(np.zeros((4, 4), bool))


def test_colour_is_measured_against_the_surroundings_in_powers_of_two() -> None:
    image, lesion = picture(), ellipse()
    plain = measure(image, lesion)
    assert abs(plain.redness) < 0.05 and abs(plain.lightness) < 0.1
    redder, lighter = image.copy(), image.copy()
    redder[lesion, 1] *= 2**-0.5
    lighter[lesion] *= 2**0.4
    assert measure(redder, lesion).redness - plain.redness == pytest.approx(0.5, abs=0.06)
    assert measure(lighter, lesion).lightness - plain.lightness == pytest.approx(0.4, abs=0.05)
    assert abs(measure(lighter, lesion).redness) < 0.05
    dark = measure(image * (1 - 0.5 * lesion[..., None]), lesion)
    assert dark.lightness < -0.8 and dark.contrast == -dark.lightness


def test_other_lesions_and_the_black_border_are_no_surroundings() -> None:
    image, lesion, other = picture(), ellipse(column=60), ellipse(column=105, width=12)
    plain = measure(image, lesion)
    changed = image.copy()
    changed[other] = (255, 255, 255)
    changed[:, :25] = 2  # up to the lesion's left end
    cut = lesion & (COLUMNS >= 25)
    assert measure(changed, cut, cut | other).lightness == pytest.approx(plain.lightness, abs=0.05)
    assert measure(changed, cut, cut | other).brightness == pytest.approx(plain.brightness, abs=0.02)


def test_sharpness_follows_blur_and_not_light_or_contrast() -> None:
    image, lesion = picture(), ellipse()
    blurred = [measure(ndimage.gaussian_filter(image, (s, s, 0)), lesion).sharpness for s in (0, 0.7, 1.5)]
    assert all(a > 1.1 * b for a, b in pairwise(blurred)), blurred
    assert measure(image * 0.6, lesion).sharpness == pytest.approx(blurred[0], rel=0.1)
    assert measure(picture(24), lesion).sharpness == pytest.approx(blurred[0], rel=0.15)


def test_brightness_is_the_surroundings_share_of_white() -> None:
    flat = np.full((240, 320, 3), 100.0)
    flat[ellipse()] = 250
    assert measure(flat, ellipse()).brightness == pytest.approx(100 / 255, abs=1e-3)


def test_conditions_are_the_same_before_and_after_painting() -> None:
    """A prompt is worded on the background, a caption on the finished case."""
    image, lesion = np.clip(picture(), 0, 255).astype(np.uint8), ellipse()
    painted = image.copy()
    painted[lesion] = (250, 40, 90)
    before, after = measure_frame(image, lesion), measure_lesion(painted, lesion, lesion)
    assert (after.brightness, after.sharpness) == (before.brightness, before.sharpness)


@pytest.mark.parametrize("factor", [2, 3])
def test_a_larger_export_of_the_same_frame_says_the_same(factor: int) -> None:
    image, lesion = picture(size=(288, 384)), np.zeros((288, 384), bool)
    lesion[100:160, 120:190] = True
    image[lesion] *= (1.2, 0.9, 0.9)
    small = measure(image, lesion)
    large = measure(image.repeat(factor, 0).repeat(factor, 1), lesion.repeat(factor, 0).repeat(factor, 1))
    for name, value in dataclasses.asdict(small).items():
        assert getattr(large, name) == pytest.approx(value, rel=0.02, abs=0.01), name


def test_sixteen_bits_say_the_same() -> None:
    image, lesion = np.clip(picture(), 0, 255).astype(np.uint8), ellipse()
    deep = measure_lesion(image.astype(np.uint16) * 257, lesion, lesion)
    assert dataclasses.astuple(deep) == pytest.approx(
        dataclasses.astuple(measure_lesion(image, lesion, lesion)), rel=1e-4
    )


@settings(max_examples=80, deadline=None)
@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=24).map(lambda s: (*s, 3))),
    st.integers(0, 2**32),
    st.floats(0, 1),
    st.integers(1, 60),
)
def test_any_picture_and_mask_give_finite_numbers(image: np.ndarray, seed: int, share: float, scale: int) -> None:
    lesion = np.random.default_rng(seed).random(image.shape[:2]) < share
    lesion.flat[seed % lesion.size] = True
    image, lesion = image.repeat(scale, 0), lesion.repeat(scale, 0)
    found = measure_lesion(image, lesion, lesion)
    assert np.isfinite(dataclasses.astuple(found)).all()
    assert 0 < found.area <= 1 and found.elongation >= 1 and 0 <= found.brightness <= 1 and found.sharpness >= 0
