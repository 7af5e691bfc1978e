"""A pixel belongs to a shape where its centre does: exact, whatever the shape, and wherever it lies."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from syndiff.data.importing import shapes
from syndiff.data.importing.shapes import Shape, bitmap, ellipse, number, polygon, rectangle, together
from syndiff.errors import SyndiffError

QUARTERS = st.integers(-12, 44).map(lambda n: n / 4)
CORNERS = st.lists(st.tuples(QUARTERS, QUARTERS), min_size=3, max_size=7)


def filled(shape: Shape, height: int = 8, width: int = 9) -> NDArray[np.bool_]:
    region = shape(height, width)
    mask = np.zeros((height, width), bool)
    mask[region.window] = region.mask
    return mask


def by_hand(corners: list[tuple[float, float]], row: int, column: int) -> bool:
    """Whether a centre has an odd number of sides at or to the left of it, in exact arithmetic."""
    y, inside = Fraction(row) + Fraction(1, 2), False
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        ax, ay, bx, by = map(Fraction, (ax, ay, bx, by))
        if (ay <= y) != (by <= y):
            inside ^= ax + (y - ay) * (bx - ax) / (by - ay) <= Fraction(column) + Fraction(1, 2)
    return inside


@given(CORNERS)
@settings(max_examples=60, deadline=None)
def test_a_polygon_holds_the_centres_that_exact_arithmetic_puts_inside(corners: list[tuple[float, float]]) -> None:
    expected = [[by_hand(corners, row, column) for column in range(9)] for row in range(8)]
    assert np.array_equal(filled(polygon(np.array(corners))), expected)


@given(st.tuples(QUARTERS, QUARTERS))
@settings(max_examples=40, deadline=None)
def test_polygons_that_share_sides_share_no_pixel_and_leave_none_out(middle: tuple[float, float]) -> None:
    x, y = min(max(middle[0], 0.0), 9.0), min(max(middle[1], 0.0), 8.0)
    rim = [(0.0, 0.0), (9.0, 0.0), (9.0, 8.0), (0.0, 8.0)]
    parts = [filled(polygon(np.array([rim[i], rim[(i + 1) % 4], (x, y)]))) for i in range(4)]
    assert (np.sum(parts, axis=0) == 1).all()


def test_whole_numbers_are_edges_of_pixels() -> None:
    assert np.argwhere(filled(rectangle((2, 1), (5, 3)))).tolist() == [[1, 2], [1, 3], [1, 4], [2, 2], [2, 3], [2, 4]]
    assert np.array_equal(filled(rectangle((5, 3), (2, 1))), filled(rectangle((2, 1), (5, 3))))  # whichever corners


def test_a_hole_that_is_drawn_as_a_keyhole_stays_open() -> None:
    outer = [(0, 0), (8, 0), (8, 8), (0, 8), (0, 0)]
    inner = [(3, 3), (3, 5), (5, 5), (5, 3), (3, 3)]
    mask = filled(polygon(np.array([*outer, *inner], float)))
    assert mask[:, :8].sum() == 64 - 4
    assert not mask[3:5, 3:5].any()


def test_what_lies_outside_is_cut_off() -> None:
    far = 1e9
    assert filled(rectangle((-far, -far), (far, far))).all()
    assert not filled(rectangle((20, 20), (30, 30))).any()
    assert filled(polygon(np.array([(-far, 0), (far, 0), (0, far)]))).sum() == 72
    assert filled(ellipse((-2, 4), (4, 3)))[:, 2:].sum() == 0


def test_an_ellipse_and_its_turns() -> None:
    circle = filled(ellipse((4, 4), (2, 2)))
    assert circle.sum() == 12  # 4 x 4 pixels without the corners, whose centres are 2.12 away
    flat, upright = filled(ellipse((4, 4), (3, 1))), filled(ellipse((4, 4), (3, 1), 90))
    assert np.array_equal(upright[:8, :8], flat[:8, :8].T)
    falling = filled(ellipse((4, 4), (4, 1), 45))  # clockwise, so its right end goes down
    assert falling[5, 5] and falling[2, 2] and not falling[2, 5]
    assert not filled(ellipse((4, 4), (0, 3))).any()


def test_a_turned_box() -> None:
    assert np.array_equal(filled(rectangle((2, 3), (6, 5), 90)), filled(rectangle((3, 2), (5, 6))))


def test_pixels_are_laid_where_they_belong_and_cut_off() -> None:
    block = np.ones((3, 4), bool)
    assert np.argwhere(filled(bitmap(block, -1, -2))).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert filled(bitmap(block, 7, 8)).sum() == 1
    assert not filled(bitmap(block, 90, 2)).any()


def test_a_union_is_no_difference() -> None:
    both = together([rectangle((0, 0), (4, 4)), rectangle((2, 2), (6, 6))])
    assert filled(both).sum() == 16 + 16 - 4


def test_long_polygons_are_crossed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    turn = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    star = np.stack([4 + 4 * np.cos(5 * turn), 4 + 4 * np.sin(3 * turn)], axis=1)
    whole = filled(polygon(star))
    monkeypatch.setattr(shapes, "_AT_ONCE", 3)
    assert np.array_equal(filled(polygon(star)), whole)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e12, -2e9, 10**400, True, None, "left", [1]])
def test_what_is_no_coordinate_is_refused(value: object) -> None:
    with pytest.raises(SyndiffError, match=r"^here: found .*, expected a number of pixels"):
        number(value, "here")
