"""Test-time views: flips and quarter turns that are undone exactly."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from syndiff.models.settings import VIEWS
from syndiff.models.tta import make_views, undo_views


@given(st.sampled_from(VIEWS), st.integers(1, 9), st.integers(0, 99))
def test_undoing_the_views_gives_the_image_back(count, side, seed):
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(seed))
    views = make_views(image, count)
    assert views.shape == (count, 3, side, side)
    assert torch.equal(views[:1], image)
    assert torch.equal(undo_views(views), image.expand_as(views))


@pytest.mark.parametrize("count", VIEWS)
def test_no_two_views_are_the_same(count):
    views = make_views(torch.arange(16.0).view(1, 1, 4, 4), count)
    assert len({tuple(view.flatten().tolist()) for view in views}) == count
