"""The quick solve against one over every pixel."""

import numpy as np
import pytest

from syndiff.synthesis.inpainters.harmonic import harmonic


def ragged(height: int, width: int, *, cut: bool = False) -> np.ndarray:
    """A lesion with lobes, a hole, a stray pixel and, with `cut`, a side that lies at the frame's edge."""
    rows, columns = np.mgrid[:height, :width]
    y, x = rows - (0 if cut else height / 2), columns - width / 2
    radius = 0.35 * min(height, width) * (1 + 0.2 * np.sin(5 * np.arctan2(y, x)))
    mask = (y**2 + x**2 < radius**2) & ((y - 30) ** 2 + (x - 20) ** 2 > 25)
    mask[-4, 4] = True
    return mask


def around(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Values of the border in grey levels, as rough as two frames differ: a slow drift and noise of every pixel."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    drift = 40 * np.sin(rows / 30 + columns / 50)
    return drift[..., None] + rng.normal(0, 10, (height, width, 3))


@pytest.mark.parametrize("cut", [False, True])
def test_a_large_mask_is_within_a_fifth_of_a_grey_level_of_the_whole_solve(cut: bool) -> None:
    border, mask = around(230, 310), ragged(230, 310, cut=cut)
    apart = np.abs(harmonic(border, mask, few=500) - harmonic(border, mask, few=mask.size))
    assert 0 < apart.max() < 0.2
    assert apart.mean() < 0.02


def test_a_small_mask_is_solved_exactly() -> None:
    border, mask = around(90, 120), ragged(90, 120)
    assert np.array_equal(harmonic(border, mask), harmonic(border, mask, few=mask.size))


def test_what_is_linear_around_is_linear_inside() -> None:
    rows, columns = np.mgrid[:300, :400]
    plane = (3 + 0.5 * rows - 0.2 * columns)[..., None]
    mask = ragged(300, 400)
    assert mask.sum() > 20_000
    assert np.allclose(harmonic(plane, mask), plane[mask], atol=1e-9)


def test_values_inside_lie_between_those_around_and_repeat() -> None:
    border, mask = around(300, 400), ragged(300, 400)
    found = harmonic(border, mask)
    assert np.array_equal(found, harmonic(border, mask))
    assert found.min() > border.min() and found.max() < border.max()


def test_the_frames_edge_lets_nothing_through() -> None:
    """Half of the frame inside, values of the other half along a line: constant at right angles to it."""
    border, mask = np.zeros((200, 160, 1)), np.zeros((200, 160), bool)
    mask[:, :120] = True
    border[:, 120:] = 7
    assert np.allclose(harmonic(border, mask), 7)
