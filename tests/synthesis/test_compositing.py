"""Outside the mask nothing may change, whatever was painted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from syndiff.synthesis.compositing import composite


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    dtype = draw(st.sampled_from([np.uint8, np.uint16]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    source = rng.integers(0, np.iinfo(dtype).max, (height, width, 3), dtype=dtype, endpoint=True)
    painted = rng.uniform(-0.5, 1.5, (height, width, 3)).astype(np.float32)
    mask = draw(hnp.arrays(bool, (height, width)))
    return source, painted, mask, draw(st.floats(0, 50))


@settings(max_examples=60, deadline=None)
@given(cases())
def test_outside_the_mask_every_bit_is_the_sources(case: tuple) -> None:
    source, painted, mask, feather = case
    kept = source.copy()
    result = composite(source, painted, mask, feather=feather)
    assert result.dtype == source.dtype
    assert np.array_equal(result[~mask], source[~mask])
    assert np.array_equal(source, kept)


@settings(max_examples=30, deadline=None)
@given(cases())
def test_inside_it_lies_between_source_and_painting(case: tuple) -> None:
    source, painted, mask, feather = case
    result = composite(source, painted, mask, feather=feather).astype(float)
    target = np.clip(painted, 0, 1).astype(float) * np.iinfo(source.dtype).max
    low, high = np.minimum(source, target), np.maximum(source, target)
    assert (result >= low - 0.5).all() and (result <= high + 0.5).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_middle_is_painted_fully_and_the_border_fades(dtype: type) -> None:
    largest = np.iinfo(dtype).max
    source = np.zeros((41, 41, 3), dtype)
    mask = np.zeros((41, 41), bool)
    mask[10:31, 10:31] = True
    line = composite(source, np.ones((41, 41, 3), np.float32), mask, feather=4)[20, 10:21, 0] / largest
    assert line[0] == pytest.approx(1 / 5, abs=0.01)
    assert (np.diff(line[:5]) > 0).all()
    assert (line[4:] == 1).all()


def test_a_lesion_thinner_than_the_feather_still_shows() -> None:
    mask = np.zeros((9, 9), bool)
    mask[4, 1:8] = True
    result = composite(np.zeros((9, 9, 3), np.uint8), np.ones((9, 9, 3), np.float32), mask, feather=10)
    assert (result[mask] == 255).all()


def test_no_feather_is_a_hard_edge() -> None:
    mask = np.eye(6, dtype=bool)
    result = composite(np.zeros((6, 6, 3), np.uint8), np.ones((6, 6, 3), np.float32), mask, feather=0)
    assert np.array_equal(result[..., 0] == 255, mask)
