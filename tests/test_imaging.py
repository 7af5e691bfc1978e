"""A picture becomes a PNG without loss, the same bytes each time, and 16 bits are seen."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from syndiff.imaging import as_shown, encode_png

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (9, 14, 3)).astype(np.uint8)
MASK = RNG.random((9, 14)) < 0.5


def decoded(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture)


@pytest.mark.parametrize("how", [{}, {"compress_level": 4}, {"compress_level": 1, "compress_type": zlib.Z_RLE}])
def test_a_picture_comes_back_and_has_always_the_same_bytes(how: dict[str, int]) -> None:
    content = encode_png(PICTURE, **how)
    assert np.array_equal(decoded(content), PICTURE)
    assert content == encode_png(Image.fromarray(PICTURE), **how)


def test_a_mask_is_black_and_white() -> None:
    assert np.array_equal(decoded(encode_png(MASK)), np.where(MASK, 255, 0))


def test_what_wrote_it_can_be_noted() -> None:
    assert b"Software\0SynDiff data inspect" in encode_png(PICTURE, software="SynDiff data inspect")


def test_sixteen_bits_are_shown_by_their_brightest_value() -> None:
    twelve_bits = (PICTURE.astype(np.uint16) * 16)[:4]
    shown = as_shown(twelve_bits)
    assert shown.dtype == np.uint8 and shown.max() == 255
    assert np.array_equal(as_shown(PICTURE), PICTURE)
    assert not as_shown(np.zeros((2, 2, 3), np.uint16)).any()
