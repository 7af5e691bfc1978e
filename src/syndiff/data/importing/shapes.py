"""Shapes as pixels, by one rule: a pixel belongs to a shape where its centre does.

Pixel (x, y) covers the square from (x, y) to (x + 1, y + 1), so its centre is (x + 0.5, y + 0.5); all annotation tools
that are read measure from the top left corner of the picture. A centre that lies exactly on the left or upper side of
a polygon is inside, one on its right or lower side is not: two polygons that share a side share no pixel and leave
none out. What lies outside the picture is cut off.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syndiff.errors import SyndiffError, shown

MAX_COORDINATE = 1e9
"""No picture that is read has a side as long, and doubles are exact enough below it."""

_AT_ONCE = 4_000_000  # places where sides cross rows that are held in memory


@dataclass(frozen=True)
class Region:
    """Some pixels of a picture: `mask` (hxw bool) lies inside it with its first pixel at row `top`, column `left`."""

    top: int
    left: int
    mask: NDArray[np.bool_]

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the picture that `mask` covers."""
        height, width = self.mask.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


Shape = Callable[[int, int], Region]
"""What draws a shape into a picture of so many rows and columns."""


def number(value: Any, where: str) -> float:
    """A coordinate or a length as a float. Raises SyndiffError, naming `where`, for what is no number or too large."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise SyndiffError(f"{where}: found {shown(value)}, expected a number of pixels.") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SyndiffError(f"{where}: found {shown(value)}, expected a number of pixels.")
    if not abs(value) <= MAX_COORDINATE:  # NaN too
        raise SyndiffError(
            f"{where}: found {shown(value)}, expected a number of pixels between -1e9 and 1e9; mend or remove the "
            "shape."
        )
    return float(value)


def points(pairs: Iterable[Any], where: str) -> NDArray[np.float64]:
    """Points (n x 2: x, y) from pairs of numbers. Raises SyndiffError as `number` does."""
    found = []
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise SyndiffError(f"{where}: found the point {shown(pair)}, expected two numbers, x and y.")
        found.append((number(pair[0], where), number(pair[1], where)))
    return np.array(found, np.float64).reshape(-1, 2)


def polygon(corners: NDArray[np.float64]) -> Shape:
    """The inside of a polygon (n x 2: x, y), closed by itself; where its sides cross each other, by the even-odd rule.

    Exact wherever doubles are: a side is crossed at the same place from whichever end it is walked.
    """

    def draw(height: int, width: int) -> Region:
        left, top = (_first(low, side) for low, side in zip(corners.min(0), (width, height), strict=True))
        right, bottom = (_first(high, side) for high, side in zip(corners.max(0), (width, height), strict=True))
        crossed = np.zeros((bottom - top, right - left + 1), np.uint8)
        others = np.roll(corners, -1, axis=0)
        falls = (corners[:, 1] <= others[:, 1])[:, None]
        upper, lower = np.where(falls, corners, others), np.where(falls, others, corners)
        first = np.clip(np.ceil(upper[:, 1] - 0.5), top, bottom).astype(np.int64)
        rows = np.clip(np.ceil(lower[:, 1] - 0.5), top, bottom).astype(np.int64) - first
        upper, lower, first, rows = (each[rows > 0] for each in (upper, lower, first, rows))
        for part in _parts(rows):
            side = np.repeat(np.arange(len(rows))[part], rows[part])
            row = np.arange(len(side)) - np.repeat(np.cumsum(rows[part]) - rows[part], rows[part]) + first[side]
            (x, y), (end_x, end_y) = upper[side].T, lower[side].T
            at = x + (row + 0.5 - y) * (end_x - x) / (end_y - y)
            column = np.clip(np.ceil(at - 0.5), left, right).astype(np.int64)
            np.bitwise_xor.at(crossed, (row - top, column - left), 1)
        return Region(top, left, np.bitwise_xor.accumulate(crossed, axis=1)[:, :-1].astype(np.bool_))

    return draw


def rectangle(one: tuple[float, float], other: tuple[float, float], degrees: float = 0.0) -> Shape:
    """The rectangle with two opposite corners, turned clockwise about its centre."""
    corners = np.array([one, (other[0], one[1]), other, (one[0], other[1])], np.float64)
    if degrees % 360:
        centre, turn = corners.mean(0), math.radians(degrees)
        x, y = (corners - centre).T
        cos, sin = math.cos(turn), math.sin(turn)
        corners = np.stack([x * cos - y * sin, x * sin + y * cos], axis=1) + centre
    return polygon(corners)


def ellipse(centre: tuple[float, float], radii: tuple[float, float], degrees: float = 0.0) -> Shape:
    """The ellipse about a centre with its horizontal and vertical radius, turned clockwise; a circle with both equal.

    Radii that are not above 0 give no pixel.
    """

    def draw(height: int, width: int) -> Region:
        (x, y), (a, b) = centre, radii
        if a <= 0 or b <= 0:
            return Region(0, 0, np.zeros((0, 0), np.bool_))
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        half_width, half_height = math.hypot(a * cos, b * sin), math.hypot(a * sin, b * cos)
        top, bottom = _first(y - half_height, height), _first(y + half_height + 1, height)
        left, right = _first(x - half_width, width), _first(x + half_width + 1, width)
        down = (np.arange(top, bottom) + 0.5 - y)[:, None]
        across = np.arange(left, right) + 0.5 - x
        inside = ((across * cos + down * sin) / a) ** 2 + ((down * cos - across * sin) / b) ** 2 < 1
        return Region(top, left, inside)

    return draw


def bitmap(pixels: NDArray[np.bool_], top: int, left: int) -> Shape:
    """Pixels (hxw) that lie with their first one at row `top` and column `left`, either of which may be negative."""

    def draw(height: int, width: int) -> Region:
        rows = slice(max(0, -top), max(0, height - top))
        columns = slice(max(0, -left), max(0, width - left))
        return Region(min(max(top, 0), height), min(max(left, 0), width), pixels[rows, columns])

    return draw


def together(shapes: Iterable[Shape]) -> Shape:
    """The union of shapes that are one object."""
    several = list(shapes)

    def draw(height: int, width: int) -> Region:
        drawn = np.zeros((height, width), np.bool_)
        for each in several:
            region = each(height, width)
            drawn[region.window] |= region.mask
        return Region(0, 0, drawn)

    return several[0] if len(several) == 1 else draw


def _first(coordinate: float, side: int) -> int:
    """The first pixel whose centre does not lie before a coordinate, from 0 to `side`."""
    return int(min(max(math.ceil(coordinate - 0.5), 0), side))


def _parts(rows: NDArray[np.int64]) -> Iterable[slice]:
    """Sides in parts that cross no more than so many rows together, at least one side in each."""
    start, crossed = 0, 0
    for side, count in enumerate(rows.tolist()):
        if crossed + count > _AT_ONCE and side > start:
            yield slice(start, side)
            start, crossed = side, 0
        crossed += count
    if start < len(rows):
        yield slice(start, len(rows))
