"""The noise of a case: a function of (seed, case) alone, whatever the engine, the batch or the order."""

import hashlib

import numpy as np
from numpy.typing import NDArray

_BLOCK = 16


def case_seed(seed: int, case_id: str) -> int:
    """The seed of everything random about one case."""
    digest = hashlib.sha256(f"{seed}:{case_id}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


def case_noise(shape: tuple[int, int, int], *, seed: int, case_id: str, count: int = 1) -> NDArray[np.float32]:
    """Gaussian noise (count, c, h, w) of (seed, case): the same whatever batch or order it is drawn in."""
    return normal((count, *shape), case_seed(seed, case_id))


def normal(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """What `torch.randn` draws on a CPU with this seed, to rounding, without torch.

    MT19937 seeded by the lower 32 bits gives uniforms of 24 bits; in blocks of 16, the first eight are the radii and
    the last eight the angles of the Box-Muller transform. `shape` holds a multiple of 16 numbers.
    """
    size = int(np.prod(shape))
    if size % _BLOCK:
        raise ValueError(f"{shape} holds {size} numbers; expected a multiple of {_BLOCK}.")
    if size == 0:
        return np.empty(shape, np.float32)
    bits = np.random.RandomState(seed & 0xFFFFFFFF).randint(0, 2**32, size, dtype=np.uint32)
    uniform = (bits & 0xFFFFFF).astype(np.float32) * np.float32(2**-24)
    first, second = uniform.reshape(-1, 2, _BLOCK // 2).transpose(1, 0, 2)
    radius = np.sqrt(-2 * np.log(1 - first))
    angle = np.float32(2 * np.pi) * second
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(shape)
