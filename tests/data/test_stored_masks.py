"""Masks of every make: background and lesion come out as they are meant, or a sentence says what cannot be told."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from syndiff.data.readers import read_mask, read_mask_values, read_stored_mask
from syndiff.errors import SyndiffError

SHAPE = np.zeros((20, 30), bool)
SHAPE[5:12, 8:20] = True
GREY = SHAPE * np.uint8(255)
RED, BLACK, WHITE, GREEN = (255, 0, 0), (0, 0, 0), (255, 255, 255), (0, 255, 0)

Writer = Callable[[Path], None]


def bands(mode: str, *channels: NDArray) -> Image.Image:
    return Image.merge(mode, [Image.fromarray(channel.astype(np.uint8)) for channel in channels])


def palette(indices: NDArray, *colours: tuple[int, int, int]) -> Image.Image:
    picture = Image.fromarray(indices.astype(np.uint8), "P")
    picture.putpalette([value for colour in colours for value in colour])
    return picture


def png_of_few_bits(values: NDArray, bits: int) -> bytes:
    """A grey PNG of 2 or 4 bits, which Pillow does not write."""
    height, width = values.shape
    each = 8 // bits
    padded = np.zeros((height, -(-width // each) * each), np.uint8)
    padded[:, :width] = values
    packed = sum(padded[:, i::each] << (8 - bits * (i + 1)) for i in range(each)).astype(np.uint8)
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in packed))
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks
    )


UNDERSTOOD: dict[str, Writer] = {
    "alpha-opaque.png": bands("RGBA", GREY, GREY, GREY, GREY | 255).save,
    "alpha-agrees.png": bands("LA", GREY, GREY).save,
    "background-transparent.png": lambda path: Image.fromarray(GREY).save(path, transparency=0),
    "palette-voc.png": palette(SHAPE, BLACK, RED, GREEN).save,
    "palette-black-last.png": palette(~SHAPE, RED, BLACK).save,
    "palette-black-second.bmp": palette(~SHAPE, RED, BLACK).save,
    "palette-grey-white-first.png": palette(~SHAPE, WHITE, BLACK).save,
    "palette-transparent-ground.png": lambda path: palette(SHAPE, BLACK, RED).save(path, transparency=0),
    "quantized.png": bands("RGB", GREY, GREY * 0, GREY * 0).quantize(2).save,
    "two-bits.png": lambda path: path.write_bytes(png_of_few_bits(SHAPE, 2)),
    "four-bits.png": lambda path: path.write_bytes(png_of_few_bits(SHAPE, 4)),
    "one-bit.bmp": Image.fromarray(SHAPE).save,
    "lossless.webp": lambda path: Image.fromarray(GREY).save(path, lossless=True),
    "white-is-zero-meant.tif": lambda path: tifffile.imwrite(path, 255 - GREY, photometric="miniswhite"),
    "white-is-zero-not-meant.tif": lambda path: tifffile.imwrite(path, GREY, photometric="miniswhite"),
    "white-is-zero-16-bits.tif": lambda path: tifffile.imwrite(
        path, GREY.astype(np.uint16) * 257, photometric="miniswhite"
    ),
    "one-bit-white-is-zero.tif": lambda path: tifffile.imwrite(path, SHAPE, photometric="miniswhite"),
    "one-bit-of-tifffile.tif": lambda path: tifffile.imwrite(path, SHAPE),
    "fax.tif": lambda path: Image.fromarray(SHAPE).save(path, compression="group4"),
}


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_the_lesion_is_where_it_was_drawn(name: str, tmp_path: Path) -> None:
    UNDERSTOOD[name](tmp_path / name)
    np.testing.assert_array_equal(read_mask(tmp_path / name, None), SHAPE)


REFUSED: dict[str, tuple[Writer, str]] = {
    "white-with-shape-in-alpha.png": (bands("RGBA", *[GREY | 255] * 3, GREY).save, "shape in the transparency"),
    "black-with-shape-in-alpha.png": (bands("RGBA", *[GREY * 0] * 3, GREY).save, "shape in the transparency"),
    "grey-with-shape-in-alpha.png": (bands("LA", GREY | 255, GREY).save, "shape in the transparency"),
    "all-white-all-transparent.png": (bands("LA", GREY | 255, GREY * 0).save, "pixels that are fully transparent"),
    "marked-and-transparent.png": (bands("LA", GREY, ~GREY).save, "pixels that are fully transparent"),
    "transparent-number.png": (lambda p: Image.fromarray(GREY).save(p, transparency=255), "fully transparent"),
    "transparent-colour.png": (
        lambda p: bands("RGB", GREY, GREY, GREY).save(p, transparency=WHITE), "fully transparent"
    ),
    "transparent-index.png": (lambda p: palette(SHAPE, BLACK, RED).save(p, transparency=1), "fully transparent"),
    "one-colour-twice.png": (palette(SHAPE, BLACK, BLACK).save, "indices 0 and 1 the same colour"),
    "red-twice.png": (palette(SHAPE * np.arange(1, 31) % 3, BLACK, RED, RED).save, "indices 1 and 2 the same colour"),
    "no-black.png": (palette(SHAPE, WHITE, RED).save, "palette without black"),
    "white-is-zero-checkered.tif": (
        lambda p: tifffile.imwrite(p, np.indices(SHAPE.shape).sum(0) % 2 == 0, photometric="miniswhite"),
        "neither black nor white holds most of its border",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_told_is_refused_with_the_mend(name: str, tmp_path: Path) -> None:
    write, words = REFUSED[name]
    write(tmp_path / name)
    with pytest.raises(SyndiffError, match=words) as error:
        read_mask_values(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)
    assert "save the mask" in str(error.value) or "export the mask" in str(error.value)


def test_numbers_of_few_bits_are_those_that_were_stored(tmp_path: Path) -> None:
    values = np.arange(16, dtype=np.uint8).reshape(2, 8)
    for bits in (2, 4):
        (tmp_path / "a.png").write_bytes(png_of_few_bits(values % 2**bits, bits))
        np.testing.assert_array_equal(read_mask_values(tmp_path / "a.png"), values % 2**bits)


def test_a_renumbered_palette_says_so_and_warns_with_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    palette(~SHAPE, RED, BLACK).save(tmp_path / "a.png")
    palette(SHAPE, BLACK, RED).save(tmp_path / "b.png")
    assert read_stored_mask(tmp_path / "a.png").renumbered and not read_stored_mask(tmp_path / "b.png").renumbered
    assert "a.png" in caplog.text and "1 (black) as background" in caplog.text


def test_a_lossy_webp_is_grey_and_needs_a_threshold(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.webp", quality=90)
    assert (read_mask(tmp_path / "a.webp", 127) == SHAPE).mean() > 0.99
    assert len(np.unique(read_mask_values(tmp_path / "a.webp"))) > 2


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 30), st.integers(1, 30), st.data())
def test_white_as_zero_never_depends_on_what_the_writer_meant(
    tmp_path: Path, height: int, width: int, data: st.DataObject
) -> None:
    """A lesion off the border reads alike, whether 0 or white was meant as background."""
    mask = np.zeros((height + 2, width + 2), bool)
    top, left = data.draw(st.integers(0, height)), data.draw(st.integers(0, width))
    mask[1 + top : 1 + height, 1 + left : 1 + width] = True
    for name, values in (("meant.tif", ~mask), ("not-meant.tif", mask)):
        tifffile.imwrite(tmp_path / name, values * np.uint8(255), photometric="miniswhite")
        np.testing.assert_array_equal(read_mask(tmp_path / name, None), mask)
