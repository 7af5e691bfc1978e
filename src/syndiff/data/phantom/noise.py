"""Tileable random textures, made once per process and shared by every scene, and how to sample them."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

TILE = 768
BLOCK = 4096  # points sampled at once, few enough to stay in the processor's cache


@lru_cache(maxsize=1)
def noise_bank() -> dict[str, Floats]:
    """Named TILE x TILE periodic Gaussian fields, mean 0 and deviation 1, always the same ones.

    `broad` varies over a third of the tile, `medium` over a tenth, `fine` and `tiny` over a few cells; `cloud` is a
    fractal over all of them. Scenes differ by how they shift, mix and scale these fields.
    """
    rng = np.random.default_rng(20240229)
    frequency = np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None, :]) * TILE
    bands = {
        "broad": np.exp(-((frequency / 3.5) ** 2)),
        "medium": np.exp(-((np.log(frequency + 1e-9) - np.log(12.0)) ** 2) / 0.5),
        "fine": np.exp(-((np.log(frequency + 1e-9) - np.log(55.0)) ** 2) / 0.4),
        "tiny": np.exp(-((np.log(frequency + 1e-9) - np.log(90.0)) ** 2) / 0.3),
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


def bilinear(table: Floats, row: Floats, column: Floats) -> Floats:
    """Sample `table` (rows, columns, channels) at n fractional cells, wrapping both ways: (channels, n)."""
    sampled = np.empty((table.shape[2], row.size), np.float32)
    for start in range(0, row.size, BLOCK):
        block = slice(start, start + BLOCK)
        sampled[:, block] = _bilinear(table, row[block], column[block]).T
    return sampled


def _bilinear(table: Floats, row: Floats, column: Floats) -> Floats:
    rows, columns, channels = table.shape
    flat = table.reshape(-1, channels)
    row_floor, column_floor = np.floor(row), np.floor(column)
    row_part = (row - row_floor).astype(np.float32)[:, None]
    column_part = (column - column_floor).astype(np.float32)[:, None]
    top = row_floor.astype(np.int32) % rows
    left = column_floor.astype(np.int32) % columns
    bottom = np.where(top + 1 == rows, 0, top + 1) * columns
    right = np.where(left + 1 == columns, 0, left + 1)
    top = top * columns
    upper = flat.take(top + left, 0)
    upper += (flat.take(top + right, 0) - upper) * column_part
    lower = flat.take(bottom + left, 0)
    lower += (flat.take(bottom + right, 0) - lower) * column_part
    upper += (lower - upper) * row_part
    return upper
