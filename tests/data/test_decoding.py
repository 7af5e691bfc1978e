"""Decoding: what would take too long or too much memory is refused before it is decoded."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin

from syndiff.data.decoding import MAX_SCANS, count_pages
from syndiff.data.readers import read_image, read_pages
from syndiff.errors import SyndiffError

NOISE = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)


def refusal(path: Path) -> str:
    with pytest.raises(SyndiffError) as error:
        read_image(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


def progressive() -> tuple[bytes, bytes]:
    """A progressive JPEG without its end, and its last scan."""
    content = io.BytesIO()
    Image.fromarray(NOISE).save(content, "JPEG", progressive=True)
    whole = content.getvalue()[:-2]
    return whole, whole[whole.rindex(b"\xff\xda") :]


def test_a_jpeg_of_thousands_of_scans_is_refused_and_an_ordinary_one_read(tmp_path: Path) -> None:
    start, scan = progressive()
    path = tmp_path / "a.jpg"
    path.write_bytes(start + scan * 3000 + b"\xff\xd9")
    message = refusal(path)
    assert "scans" in message and f"the {MAX_SCANS} that are read" in message
    # what phones write after the picture (a film) is no scan
    path.write_bytes(start + b"\xff\xd9" + b"\xff\xda\x00\x02" * 3000)
    assert read_image(path).shape == (40, 50, 3)


def test_bytes_are_limited_not_only_pixels(tmp_path: Path) -> None:
    """70 million pixels: 210 MB with 8 bits, 420 with 16."""
    for bits, expected in ((8, "damaged or cut off"), (16, "420 MB once it is decoded (10000x7000, 16 bits)")):
        header = struct.pack(">IIBBBBB", 10_000, 7_000, bits, 2, 0, 0, 0)
        chunks = ((b"IHDR", header), (b"IDAT", b""), (b"IEND", b""))
        parts = (struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
        (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
        assert expected in refusal(tmp_path / "a.png")


def test_a_large_colour_profile_or_text_does_not_make_a_png_damaged(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("roi", "x" * 3_000_000, zip=True)
    Image.fromarray(NOISE).save(tmp_path / "text.png", pnginfo=text)
    Image.fromarray(NOISE).save(tmp_path / "profile.png", icc_profile=os.urandom(1000) * 2500)
    for name in ("text.png", "profile.png"):
        np.testing.assert_array_equal(read_image(tmp_path / name), NOISE)


@pytest.mark.parametrize("name", ["a.bmp", "a.webp", "webp-by-another-name.jpg"])
def test_bmp_and_webp_are_read(tmp_path: Path, name: str) -> None:
    kind = {"lossless": True, "format": "WEBP"} if "webp" in name else {}
    Image.fromarray(NOISE).save(tmp_path / name, **kind)
    np.testing.assert_array_equal(read_image(tmp_path / name), NOISE)


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_an_animation_is_refused(tmp_path: Path, name: str) -> None:
    Image.fromarray(NOISE).save(tmp_path / name, save_all=True, append_images=[Image.fromarray(255 - NOISE)])
    assert "2 frames of an animation" in refusal(tmp_path / name)


def test_a_pipe_and_a_link_to_nowhere_are_no_pictures(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert "is a pipe" in refusal(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("/nowhere/a.png")
    assert "a link to /nowhere/a.png, which does not exist" in refusal(tmp_path / "link.png")


def test_a_tall_16_bit_picture_is_put_together_row_by_row(tmp_path: Path) -> None:
    """More rows than are copied at a time, and their number no multiple of it."""
    image = np.random.default_rng(0).integers(0, 65536, (601, 3, 3)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), image)


@pytest.mark.parametrize("start", [0.3, 0.5, 0.9])
def test_a_png_that_lost_a_block_is_refused(tmp_path: Path, start: float) -> None:
    """Decoders leave the lines that are lost black, so a lesion would shrink without a word."""
    path = tmp_path / "mask.png"
    Image.fromarray(NOISE[..., 0]).save(path)
    content = bytearray(path.read_bytes())
    content[int(start * len(content)) :] = bytes(len(content) - int(start * len(content)))
    path.write_bytes(content)
    assert "checksum" in refusal(path)


def test_signed_samples_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", NOISE[..., 0].astype(np.int8))
    assert "signed 8-bit" in refusal(tmp_path / "a.tif")


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_every_page_of_a_stack_is_read_with_all_its_bits(tmp_path: Path, planar: str) -> None:
    """Pages of 16-bit colours, which Pillow alone would cut to 8 bits, or misread as separate planes."""
    generator = np.random.default_rng(0)
    pages = [generator.integers(0, 2**16, (9, 8 + page, 3), dtype=np.uint16) for page in range(3)]
    with tifffile.TiffWriter(tmp_path / "stack.tif") as file:
        for page in pages:
            stored = page if planar == "contig" else np.moveaxis(page, -1, 0)
            file.write(stored, photometric="rgb", planarconfig=planar, contiguous=False)
    assert count_pages(tmp_path / "stack.tif") == 3
    for page, read in zip(pages, read_pages(tmp_path / "stack.tif"), strict=True):
        assert read.dtype == np.uint16 and np.array_equal(read, page)


def test_pages_of_other_kinds_are_each_turned_and_converted(tmp_path: Path) -> None:
    colours = Image.fromarray(np.random.default_rng(0).integers(0, 255, (6, 9, 3), dtype=np.uint8))
    turned = colours.copy()
    turned.getexif()[274] = 6
    path = tmp_path / "stack.tif"
    colours.save(path, save_all=True, append_images=[turned, colours.convert("L"), colours.quantize(8)])
    shapes = [page.shape for page in read_pages(path)]
    assert shapes[0] == shapes[2] == shapes[3] == (6, 9, 3)
    with pytest.raises(SyndiffError, match="holds 4 pages"):
        read_image(path)


def test_an_unfit_page_is_named(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    with tifffile.TiffWriter(path) as file:
        for kind in (np.uint8, np.uint8, np.float32):
            file.write(np.zeros((4, 5), kind), photometric="minisblack", contiguous=False)
    pages = read_pages(path)
    assert next(pages).shape == next(pages).shape == (4, 5, 3)
    with pytest.raises(SyndiffError, match=r"Page 3: .*stack\.tif stores decimal numbers"):
        next(pages)
