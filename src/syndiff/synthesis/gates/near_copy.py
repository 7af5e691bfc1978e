"""Memorisation: how much a synthetic lesion looks like one of the training lesions."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from syndiff.data.masks import bounding_box
from syndiff.synthesis.gates.region import LEAST, Region

_SIDE = 32
"""Side of the thumbnails that are compared: a highlight or a vessel is still a pixel or two."""


class Thumbnails:
    """Thumbnails of all training lesions: 9 KiB of memory for each, and none of it ever written to disk."""

    def __init__(self) -> None:
        self._details: list[tuple[NDArray[np.float32], NDArray[np.bool_]]] = []
        self._owners: list[str] = []

    def add(self, region: Region, owner: str) -> None:
        """Keep a training lesion. Those of one `owner` (group, or case) are not held against each other."""
        self._details.append(_detail(region))
        self._owners.append(owner)

    def nearest(self, region: Region) -> float | None:
        """Largest normalised cross-correlation with a training lesion over the eight flips and quarter turns.

        Only the inside of the lesion counts, so that a mask borrowed from a real lesion is not taken for a
        copy of it. In [-1, 1]; None when there is nothing to compare with.
        """
        found = self._likeness(*_detail(region))
        return None if found is None else float(found.max())

    def among_themselves(self) -> list[float | None]:
        """For each training lesion its nearest one of another owner: what is usual without any copying."""
        names = np.array(self._owners)
        result: list[float | None] = []
        for detail, owner in zip(self._details, names, strict=True):
            found, others = self._likeness(*detail), names != owner
            result.append(None if found is None or not others.any() else float(found[others].max()))
        return result

    def _likeness(self, picture: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float32] | None:
        """The correlation with each training lesion, turned to where it is largest."""
        if inside.sum() < LEAST or not self._details:
            return None
        weights = np.stack([_turned(inside.astype(np.float32), i).ravel() for i in range(8)])
        queries = weights * np.stack([_turned(picture, i).ravel() for i in range(8)])
        bank, squares = self._bank
        energy = np.sqrt((queries**2).sum(axis=1) * (squares @ weights.T))
        likeness: NDArray[np.float32] = ((bank @ queries.T) / np.maximum(energy, 1e-6)).max(axis=1)
        return likeness

    @cached_property
    def _bank(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """One lesion a row, and its squares; asked for when all are there."""
        bank = np.array([picture.ravel() for picture, _ in self._details], np.float32)
        return bank, np.square(bank)


def _detail(region: Region) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The lesion's square, scaled to its size, without slow changes of light, and where the lesion lies in it.

    Without the slow changes any two lesions are alike: a bright blob on a darker ground.
    """
    rows, columns = bounding_box(region.lesion)
    half = 0.5 * max(rows.stop - rows.start, columns.stop - columns.start)
    row, column = (rows.start + rows.stop) / 2, (columns.start + columns.stop) / 2
    box = (column - half, row - half, column + half, row + half)
    light = _square(region.light, box)
    detail = light - ndimage.gaussian_filter(light, 2.5)
    return detail, _square(region.lesion.astype(np.float32), box) > 0.99


def _square(part: NDArray[np.float32], box: tuple[float, float, float, float]) -> NDArray[np.float32]:
    """The box (left, top, right, bottom; it may reach beyond the part, which repeats its edge) as a thumbnail."""
    pad = int(max(0.0, -box[0], -box[1], box[2] - part.shape[1], box[3] - part.shape[0])) + 1
    padded = Image.fromarray(np.pad(part, pad, mode="edge"))
    moved = (box[0] + pad, box[1] + pad, box[2] + pad, box[3] + pad)
    return np.asarray(padded.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, moved))


def _turned(picture: NDArray[np.float32], number: int) -> NDArray[np.float32]:
    """One of the eight symmetries of the square."""
    turned = np.rot90(picture, number % 4)
    return turned if number < 4 else turned[:, ::-1]
