"""Test-time views: flips and quarter turns that are undone exactly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndiff.models.settings import VIEWS
from syndiff.models.tta import make_views, undo_views


@given(st.sampled_from(VIEWS), st.integers(1, 9), st.integers(0, 99))
def test_undoing_the_views_gives_the_image_back(count, side, seed):
    image = np.random.default_rng(seed).random((side, side, 3))
    views = make_views(image, count)
    assert views.shape == (count, side, side, 3)
    assert np.array_equal(views[0], image)
    assert np.array_equal(undo_views(views[..., 0]), np.broadcast_to(image[..., 0], (count, side, side)))


@pytest.mark.parametrize("count", VIEWS)
def test_no_two_views_are_the_same(count):
    views = make_views(np.arange(16.0).reshape(4, 4, 1), count)
    assert len({tuple(view.flatten().tolist()) for view in views}) == count
