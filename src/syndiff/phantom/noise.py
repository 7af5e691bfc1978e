"""Periodic random textures, made once per process and shared by every scene, and how to sample a table."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

TILE = 640  # texels along a texture's side


@lru_cache(maxsize=1)
def noise_bank() -> dict[str, Floats]:
    """Named TILE x TILE periodic Gaussian fields, mean 0 and deviation 1, always the same ones.

    `broad` varies over a third of the tile, `medium` over a tenth, `fine` and `tiny` over a few texels; `cloud`
    is a fractal over all of them. Scenes differ by how they shift, mix and scale these fields.
    """
    rng = np.random.default_rng(20240229)
    frequency = np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None, :]) * TILE
    octave = np.log(frequency + 1e-9)
    bands = {
        "broad": np.exp(-((frequency / 3.5) ** 2)),
        "medium": np.exp(-((octave - np.log(12.0)) ** 2) / 0.5),
        "fine": np.exp(-((octave - np.log(55.0)) ** 2) / 0.4),
        "tiny": np.exp(-((octave - np.log(90.0)) ** 2) / 0.3),
        "cloud": 1.0 / (2.0 + frequency) ** 1.6,
    }
    bank = {}
    for name, band in bands.items():
        spectrum = np.fft.rfft2(rng.standard_normal((TILE, TILE))) * band
        spectrum[0, 0] = 0.0
        field = np.fft.irfft2(spectrum, s=(TILE, TILE))
        bank[name] = (field / field.std()).astype(np.float32)
    return bank


def shifted(name: str, rng: np.random.Generator) -> Floats:
    """One field of the bank, at a random shift and orientation."""
    field = noise_bank()[name]
    if rng.random() < 0.5:
        field = field.T
    return np.roll(field, tuple(rng.integers(0, TILE, 2)), (0, 1))


def corners(
    rows: int, columns: int, row: Floats, column: Floats
) -> tuple[tuple[NDArray[np.int32], ...], Floats, Floats]:
    """The four cells about n fractional places of a periodic table, as flat indices, and the two shares between.

    In order: upper left, upper right, lower left, lower right; then the shares of the lower and of the right.
    """
    row_floor, column_floor = np.floor(row), np.floor(column)
    top, left = row_floor.astype(np.int32) % rows, column_floor.astype(np.int32) % columns
    bottom, right = (top + 1) % rows * columns, (left + 1) % columns
    top *= columns
    return (top + left, top + right, bottom + left, bottom + right), row - row_floor, column - column_floor


def bilinear(table: Floats, row: Floats, column: Floats) -> Floats:
    """Sample `table` (channels, rows, columns) at n fractional cells, wrapping both ways: (channels, n)."""
    channels, rows, columns = table.shape
    places, down, across = corners(rows, columns, row, column)
    sampled = np.empty((channels, row.size), np.float32)
    for plane, out in zip(table.reshape(channels, -1), sampled, strict=True):
        upper, upper_right, lower, lower_right = (plane.take(place) for place in places)
        upper += (upper_right - upper) * across
        lower += (lower_right - lower) * across
        np.add(upper, (lower - upper) * down, out=out)
    return sampled
