"""The border of a mask as a path of SVG: sharp however near one looks."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from contourpy import LineType, contour_generator
from numpy.typing import NDArray

from syndiff.data.masks import bounding_box
from syndiff.data.targets import Targets

MAX_POINTS, MAX_PIXELS = 200_000, 16_000_000
"""Corners of a contour, and pixels that it is traced in; one of more is drawn coarser. The mask stays as it is."""


@dataclass(frozen=True)
class Contours:
    """The border of a mask as a path of SVG; of several classes `path` has all, and `classes` each with its name."""

    path: str
    classes: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, masks_khw: NDArray[np.bool_], targets: Targets) -> "Contours":
        """Those of masks (KxHxW) of `targets`."""
        paths = [svg_path(mask) for mask in masks_khw]
        return cls("".join(paths), tuple(zip(targets.names, paths, strict=True)) if targets.several else ())

    @property
    def told(self) -> dict[str, Any]:
        """For the page, as JSON takes it."""
        return {"path": self.path, "classes": [{"name": name, "path": path} for name, path in self.classes]}


def svg_path(mask: NDArray[np.bool_]) -> str:
    """The border of a mask (HxW) as a path of SVG in pixels, closed also along the edge of the frame."""
    if not mask.any():
        return ""
    window = bounding_box(mask)
    top, left = window[0].start, window[1].start
    step = max(1, math.ceil(math.sqrt(mask[window].size / MAX_PIXELS)))
    while True:
        lines = _lines(mask[window][::step, ::step])
        if sum(map(len, lines)) <= MAX_POINTS:
            break
        step *= 2
    pieces = []
    for line in lines:
        points = (line - 0.5) * step + (left, top)  # the padding is one pixel; the centre of a pixel lies at a half
        pieces.append("M" + "L".join(f"{x:g} {y:g}" for x, y in points[:-1].tolist()) + "Z")
    return "".join(pieces)


def _lines(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Closed lines of corners (n, 2), x before y, in pixels of the mask with one more pixel around it."""
    padded = np.pad(mask, 1).astype(np.float32)
    found: Any = contour_generator(z=padded, line_type=LineType.Separate).lines(0.5)
    return [_corners(line) for line in found]


def _corners(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """The points of a closed line at which it turns."""
    steps = np.diff(line, axis=0)
    turns = np.any(steps != np.roll(steps, 1, axis=0), axis=1)
    kept = line[:-1][turns]
    return np.concatenate([kept, kept[:1]])
