"""Gradient-domain blending, against what its equation says."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from syndiff.synthesis.inpainters.copy_paste import seamless


def smooth_picture(seed: int, height: int = 40, width: int = 50) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / a + columns / b) for a, b in rng.uniform(5, 20, (3, 2))]
    return (0.5 + 0.1 * np.stack(waves, 2)).astype(np.float32)


def blob(height: int = 40, width: int = 50) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return (rows - 20) ** 2 + (columns - 25) ** 2 < 12**2


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(-0.2, 0.2))
def test_a_shift_of_brightness_vanishes(seed: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(2, 30, 2)
    mask = rng.random((height, width)) < rng.random()
    mask[0, 0] = False  # something has to be left to match
    target = rng.uniform(0.3, 0.7, (height, width, 3)).astype(np.float32)
    result = seamless(target, target + np.float32(shift), mask)
    assert np.allclose(result, target, atol=1e-5)
    assert np.array_equal(result[~mask], target[~mask])


def test_inside_it_has_the_donors_laplacian_and_the_targets_border() -> None:
    target, donor, mask = smooth_picture(0), smooth_picture(1), blob()
    result = seamless(target, donor, mask).astype(float)
    for rows, columns in [np.nonzero(mask)]:
        laplacian = [
            4 * picture[rows, columns]
            - picture[rows - 1, columns]
            - picture[rows + 1, columns]
            - picture[rows, columns - 1]
            - picture[rows, columns + 1]
            for picture in (result, donor.astype(float))
        ]
    assert np.allclose(*laplacian, atol=1e-5)
    assert np.array_equal(result[~mask], target[~mask])


def test_a_lesion_keeps_its_contrast_in_a_darker_frame() -> None:
    donor, mask = smooth_picture(2), blob()
    rows, columns = np.mgrid[:40, :50]
    lesion = (rows - 20) ** 2 + (columns - 25) ** 2 < 7**2
    donor[lesion] += 0.2
    result = seamless(smooth_picture(3) - 0.2, donor, mask)
    inside, around = result[lesion].mean(), result[mask & ~lesion].mean()
    assert 0.15 < inside - around < 0.25


def test_masks_at_the_frames_edge_and_over_all_of_it() -> None:
    target, donor = smooth_picture(0), smooth_picture(1)
    edge = np.zeros((40, 50), bool)
    edge[:10, :10] = True
    assert np.isfinite(seamless(target, donor, edge)).all()
    assert np.array_equal(seamless(target, donor, np.ones((40, 50), bool)), donor)
    assert np.array_equal(seamless(target, donor, np.zeros((40, 50), bool)), target)


def test_the_result_is_a_picture() -> None:
    target, donor, mask = np.full((40, 50, 3), 0.95, np.float32), smooth_picture(1), blob()
    donor[20, 25] += 1
    result = seamless(target, donor, mask)
    assert result.dtype == np.float32 and result.min() >= 0 and result.max() <= 1
