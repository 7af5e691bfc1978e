"""Contours over a picture."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from syndiff.inference.overlay import MASK_COLOUR, draw_contours, line_width

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14))


@given(MASKS, st.integers(1, 5))
def test_a_line_runs_along_both_sides_of_the_border_and_of_the_frame(mask, width):
    """As SciPy's morphology draws it, with nothing beyond the frame."""
    image = np.zeros((*mask.shape, 3), np.uint8)
    outside = width // 2
    framed = np.pad(mask, outside + width)
    square = np.ones((3, 3), bool)
    grown = ndimage.binary_dilation(framed, square, outside) if outside else framed
    line = grown & ~ndimage.binary_erosion(framed, square, width - outside)
    inner = slice(outside + width, -outside - width)
    drawn = draw_contours(image, mask, MASK_COLOUR, width)
    assert np.array_equal((drawn == MASK_COLOUR).all(2), line[inner, inner])
    assert not drawn[~line[inner, inner]].any() and not image.any()


@given(MASKS)
def test_no_mask_is_without_a_contour(mask):
    drawn = draw_contours(np.zeros((*mask.shape, 3), np.uint8), mask, MASK_COLOUR)
    assert drawn.any() == mask.any()


def test_lines_are_as_wide_as_the_picture_needs():
    assert line_width(288, 384) == 2 and line_width(1080, 1920) in (4, 5)
