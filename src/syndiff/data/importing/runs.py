"""Run lengths, as annotation tools write masks: how many pixels of background, of foreground, of background, ...

COCO counts down the columns of the whole picture, CVAT along the rows of a box. COCO's compressed form writes each
length, from the fourth on less the last but one, in characters of five bits each (the sixth says that more follow),
the lowest first, beginning at "0": `rleToString` in cocoapi's maskApi.c.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syndiff.errors import SyndiffError, shown

_DIGITS = 8  # characters of one length: 40 bits, far more than any picture has pixels


def decode(counts: Any, size: int, where: str) -> NDArray[np.bool_]:
    """The `size` pixels, one after the other, of run lengths, the first of which is background.

    Raises SyndiffError, naming `where`, for lengths that are no whole numbers from 0 or do not give `size` together.
    """
    good = isinstance(counts, list) and all(type(count) is int and 0 <= count <= size for count in counts)
    if not good:
        raise SyndiffError(f"{where}: the run lengths {shown(counts)} are no whole numbers from 0 to {size}.")
    if sum(counts) != size:
        raise SyndiffError(
            f"{where}: the run lengths cover {sum(counts):,} pixels, expected {size:,}; the mask belongs to a picture "
            "of another size, or is damaged: export it again."
        )
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts)


def encode(pixels: NDArray[np.bool_]) -> list[int]:
    """The run lengths of pixels, one after the other; the first is of background, 0 where there is none."""
    edges = np.flatnonzero(np.diff(pixels.ravel(), prepend=False))
    return np.diff(edges, prepend=0, append=pixels.size).tolist()


def decompress(text: str, where: str) -> list[int]:
    """The run lengths in COCO's compressed form. Raises SyndiffError, naming `where`, for a text that is none."""
    counts: list[int] = []
    value, digits = 0, 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or digits == _DIGITS:
            raise SyndiffError(f"{where}: {shown(text)} is no compressed run lengths; export the annotations again.")
        value |= (code & 31) << 5 * digits
        digits += 1
        if not code & 32:
            value -= (code & 16) << 5 * digits - 4 if code & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value, digits = 0, 0
    if digits:
        raise SyndiffError(f"{where}: the compressed run lengths {shown(text)} are cut off; export them again.")
    return counts


def compress(counts: Sequence[int]) -> str:
    """COCO's compressed form of run lengths."""
    return "".join(_characters(count - (counts[i - 2] if i > 2 else 0) for i, count in enumerate(counts)))


def _characters(values: Iterable[int]) -> Iterable[str]:
    for value in values:
        more = True
        while more:
            code = value & 31
            value >>= 5
            more = value != (-1 if code & 16 else 0)
            yield chr(48 + code + (32 if more else 0))


def down_columns(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's compressed mask of HxW pixels: `{"size": [height, width], "counts": text}`."""
    return {"size": list(mask.shape), "counts": compress(encode(mask.T))}
