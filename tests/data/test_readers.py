"""Readers: what was stored comes back, upright and in full depth, or one sentence says why not."""

import io
import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from PIL import Image, ImageOps

from syndiff.data.decoding import MAX_PIXELS
from syndiff.data.readers import read_image, read_mask, read_mask_values, to_unit
from syndiff.errors import SyndiffError

ANY = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SIZES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(header: tuple[int, ...], rows: bytes) -> bytes:
    """A PNG file from its header fields and filtered rows: Pillow cannot write 16-bit colour."""
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", *header))
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


def deep_png(image: NDArray[np.uint16]) -> bytes:
    """16-bit PNG of HxWxC whose rows use the "Sub" filter, so that bytes depend on their neighbours."""
    height, width, channels = image.shape
    rows = image.astype(">u2").view(np.uint8).reshape(height, width, 2 * channels)
    filtered = np.diff(rows, axis=1, prepend=np.zeros((height, 1, 2 * channels), np.uint8))
    content = b"".join(b"\x01" + row.tobytes() for row in filtered)
    return png((width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0), content)


def random_image(*shape: int, dtype: type = np.uint8) -> NDArray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def lzw(content: bytes) -> bytes:
    """TIFF's LZW without a dictionary: a clear code before every hundred bytes keeps the codes at 9 bits."""
    codes = [code for index, byte in enumerate(content) for code in ([256] if index % 100 == 0 else []) + [byte]]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


# ---- what was stored comes back


@ANY
@given(st.data())
def test_colour_images_of_any_size_come_back(tmp_path: Path, data: st.DataObject) -> None:
    image = data.draw(arrays(np.uint8, (*data.draw(SIZES), 3)))
    for extension in ("png", "tif"):
        Image.fromarray(image).save(tmp_path / f"a.{extension}")
        read = read_image(tmp_path / f"a.{extension}")
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, image)


@ANY
@given(st.data())
def test_16_bit_images_of_any_size_come_back_in_full(tmp_path: Path, data: st.DataObject) -> None:
    image = data.draw(arrays(np.uint16, (*data.draw(SIZES), 3)))
    (tmp_path / "a.png").write_bytes(deep_png(image))
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb")
    for name in ("a.png", "a.tif"):
        read = read_image(tmp_path / name)
        assert read.dtype == np.uint16
        np.testing.assert_array_equal(read, image)


@ANY
@given(st.data())
def test_masks_of_any_size_come_back(tmp_path: Path, data: st.DataObject) -> None:
    mask = data.draw(arrays(np.bool_, data.draw(SIZES)))
    grey = mask.astype(np.uint8) * 255
    Image.fromarray(mask).save(tmp_path / "one-bit.png")
    Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "index.tif")
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(np.stack([grey] * 3, 2)).save(tmp_path / "rgb.png")
    Image.fromarray(np.stack([grey, grey], 2)).save(tmp_path / "alpha.png")
    Image.fromarray(mask.astype(np.uint16) * 65535).save(tmp_path / "deep.png")
    Image.fromarray(grey).convert("P").save(tmp_path / "palette.png")
    Image.fromarray(grey).save(tmp_path / "lossy.jpg", quality=95)
    for path in tmp_path.iterdir():
        read = read_mask(path, None if path.stem == "index" else 127)
        assert read.dtype == np.bool_
        np.testing.assert_array_equal(read, mask, err_msg=path.name)


@pytest.mark.parametrize(
    "options",
    [
        {"byteorder": ">"},
        {"planarconfig": "separate"},
        {"planarconfig": "separate", "compression": "zlib"},
        {"tile": (16, 16)},
        {"compression": "zlib", "predictor": True},
        {"compression": "zlib", "tile": (16, 16), "byteorder": ">"},
    ],
    ids=str,
)
def test_16_bit_colour_tiff_layouts(tmp_path: Path, options: dict) -> None:
    image = random_image(37, 53, 3, dtype=np.uint16)
    stored = image.transpose(2, 0, 1) if "planarconfig" in options else image
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", **options)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), image)


def test_16_bit_colour_tiff_with_lzw(tmp_path: Path) -> None:
    image = random_image(20, 30, 3, dtype=np.uint16)
    path = tmp_path / "a.tif"
    # tifffile cannot compress by LZW: its strip is written plain, then the file is pointed to our own
    tifffile.imwrite(path, image, photometric="rgb", rowsperstrip=20)
    strip = lzw(image.astype("<u2").tobytes())
    with tifffile.TiffFile(path, mode="r+") as file:
        tags = file.pages.first.tags
        tags["Compression"].overwrite(5)
        tags["StripOffsets"].overwrite(path.stat().st_size)
        tags["StripByteCounts"].overwrite(len(strip))
    path.write_bytes(path.read_bytes() + strip)
    np.testing.assert_array_equal(read_image(path), image)


def test_white_is_zero_is_turned_round(tmp_path: Path) -> None:
    for dtype in (np.uint8, np.uint16):
        grey = random_image(5, 7, dtype=dtype)
        tifffile.imwrite(tmp_path / "a.tif", np.iinfo(dtype).max - grey, photometric="miniswhite")
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[..., 1], grey)


def test_grey_becomes_three_channels_and_alpha_is_dropped(tmp_path: Path) -> None:
    for dtype in (np.uint8, np.uint16):
        image = random_image(6, 9, 4, dtype=dtype)
        tifffile.imwrite(tmp_path / "grey.tif", image[..., 0])
        tifffile.imwrite(tmp_path / "rgba.tif", image, photometric="rgb", extrasamples=["unassalpha"])
        np.testing.assert_array_equal(read_image(tmp_path / "grey.tif"), image[..., :1].repeat(3, axis=2))
        np.testing.assert_array_equal(read_image(tmp_path / "rgba.tif"), image[..., :3])
    (tmp_path / "rgba.png").write_bytes(deep_png(image))
    (tmp_path / "grey.png").write_bytes(deep_png(image[..., :1]))
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png"), image[..., :3])
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), image[..., :1].repeat(3, axis=2))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("extension", ["png", "jpg", "tif"])
def test_orientation_is_undone_on_image_and_mask(tmp_path: Path, extension: str, orientation: int) -> None:
    stored = np.zeros((16, 24), np.uint8)
    stored[2:5, 4:20] = stored[2:12, 4:6] = 255  # an L: no orientation maps it onto itself
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"a.{extension}"
    Image.fromarray(stored).save(path, exif=exif, **({"quality": 100} if extension == "jpg" else {}))
    oriented = Image.fromarray(stored)
    oriented.getexif()[274] = orientation
    expected = np.asarray(ImageOps.exif_transpose(oriented))
    np.testing.assert_array_equal(read_mask(path, 127), expected > 127)
    np.testing.assert_array_equal(read_image(path)[..., 0] > 127, expected > 127)


@pytest.mark.parametrize("planar", [False, True])
def test_orientation_of_16_bit_colour_tiff(tmp_path: Path, planar: bool) -> None:
    image = random_image(6, 9, 3, dtype=np.uint16)
    stored = image.transpose(2, 0, 1) if planar else image
    layout = "separate" if planar else "contig"
    turned = [(274, "H", 1, 6, True)]  # shown after a quarter turn clockwise
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=layout, extratags=turned)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), np.rot90(image, -1))


def test_to_unit_scales_by_the_type() -> None:
    for dtype in (np.uint8, np.uint16):
        unit = to_unit(np.array([[[0, 1, np.iinfo(dtype).max]]], dtype))
        assert unit.dtype == np.float32
        np.testing.assert_allclose(unit.ravel(), [0, 1 / np.iinfo(dtype).max, 1])


# ---- what is converted is said


@pytest.mark.parametrize("mode, extension", [("CMYK", "jpg"), ("CMYK", "tif"), ("1", "png"), ("P", "png")])
def test_converted_pictures_are_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: str, extension: str
) -> None:
    picture = Image.new("RGB", (20, 10), (255, 0, 0)).convert(mode)
    path = tmp_path / f"a.{extension}"
    picture.save(path)
    with caplog.at_level(logging.WARNING, "syndiff"):
        image = read_image(path)
        read_image(path)
    assert image.shape == (10, 20, 3) and image.dtype == np.uint8
    np.testing.assert_allclose(image, np.asarray(picture.convert("RGB")), atol=3)
    assert len(caplog.messages) == 1
    assert str(path) in caplog.messages[0] and "converted" in caplog.messages[0]


def test_a_colour_palette_mask_is_read_as_indices(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    indices = np.array([[0, 1], [2, 0]], np.uint8)
    picture = Image.fromarray(indices, "P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask_values(tmp_path / "a.png"), indices)
    assert "a.png" in caplog.text and "indices" in caplog.text


def test_threshold_is_exclusive_and_1_bit_masks_need_none(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 1, 127, 128]], np.uint8)).save(tmp_path / "grey.png")
    assert read_mask(tmp_path / "grey.png", 127).tolist() == [[False, False, False, True]]
    assert read_mask(tmp_path / "grey.png", None).tolist() == [[False, True, True, True]]
    Image.fromarray(np.array([[False, True]])).save(tmp_path / "bit.png")
    assert read_mask(tmp_path / "bit.png", 127).tolist() == [[False, True]]


# ---- what cannot be read says why


def refusal(path: Path) -> str:
    """The one sentence for a file that is neither image nor mask; it names the file."""
    sentences = set()
    for read in (read_image, read_mask_values):
        with pytest.raises(SyndiffError) as error:
            read(path)
        sentences.add(str(error.value))
    assert len(sentences) == 1
    (sentence,) = sentences
    assert str(path) in sentence and "\n" not in sentence
    return sentence


def test_files_that_are_no_pictures(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "absent.png")
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("not a picture")
    Image.new("RGB", (4, 4)).save(tmp_path / "gif", "GIF")
    (tmp_path / "gif").rename(tmp_path / "gif.png")
    for name in ("empty.png", "text.jpg", "gif.png"):
        assert "no PNG, JPEG, TIFF, BMP or WebP" in refusal(tmp_path / name)


@pytest.mark.parametrize("extension", ["png", "jpg", "tif"])
def test_a_truncated_picture_is_refused(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    Image.fromarray(random_image(40, 40, 3)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "damaged" in refusal(path)


def encoded(extension: str) -> bytes:
    if extension == "deep.png":
        return deep_png(random_image(8, 8, 3, dtype=np.uint16))
    content = io.BytesIO()
    if extension == "deep.tif":
        planes = random_image(3, 8, 8, dtype=np.uint16)
        tifffile.imwrite(content, planes, photometric="rgb", planarconfig="separate")
    else:
        Image.fromarray(random_image(8, 8, 3)).save(content, Image.registered_extensions()[f".{extension}"])
    return content.getvalue()


ENCODED = {extension: encoded(extension) for extension in ("png", "jpg", "tif", "bmp", "webp", "deep.png", "deep.tif")}


@settings(ANY, max_examples=100)
@given(st.sampled_from(sorted(ENCODED)), st.data())
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_give_a_picture_or_a_sentence(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    content = bytearray(ENCODED[kind][: data.draw(st.integers(0, len(ENCODED[kind])))])
    for _ in range(data.draw(st.integers(0, 3))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / f"a.{kind}"
    path.write_bytes(content)
    for read in (read_image, read_mask_values):
        try:
            assert read(path).ndim in (2, 3)
        except SyndiffError as error:
            assert str(path) in str(error)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # between Pillow's limit and ours
@pytest.mark.parametrize("width, height", [(20_000, 20_000), (10_001, 10_000)])
def test_bombs_are_refused_from_their_header(tmp_path: Path, width: int, height: int) -> None:
    assert width * height > MAX_PIXELS
    (tmp_path / "a.png").write_bytes(png((width, height, 8, 2, 0, 0, 0), b""))
    for name, samples in (
        ("a.tif", random_image(4, 4, 3)),
        ("b.tif", random_image(4, 4, 3, dtype=np.uint16)),
    ):
        tifffile.imwrite(tmp_path / name, samples, photometric="rgb")
        with tifffile.TiffFile(tmp_path / name, mode="r+") as file:
            file.pages.first.tags["ImageWidth"].overwrite(width)
            file.pages.first.tags["ImageLength"].overwrite(height)
    for name in ("a.png", "a.tif", "b.tif"):
        # none of the files holds the data it promises: decoding would give another sentence
        assert "100,000,000 pixels" in refusal(tmp_path / name)


def test_unsupported_samples_are_named(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "pages.tif", random_image(3, 8, 8), photometric="minisblack")
    assert "3 pages" in refusal(tmp_path / "pages.tif")
    tifffile.imwrite(tmp_path / "float.tif", np.zeros((4, 4), np.float32))
    assert "mode F" in refusal(tmp_path / "float.tif")
    (tmp_path / "la.png").write_bytes(deep_png(random_image(4, 4, 2, dtype=np.uint16)))
    assert "16-bit LA" in refusal(tmp_path / "la.png")
    tifffile.imwrite(tmp_path / "int.tif", np.zeros((4, 4), np.uint32))
    with pytest.raises(SyndiffError, match="mode I;"):
        read_image(tmp_path / "int.tif")
    tifffile.imwrite(tmp_path / "signed.tif", np.array([[0, 7]], np.int16))
    assert read_mask_values(tmp_path / "signed.tif").tolist() == [[0, 7]]


def test_a_coloured_mask_is_refused_with_the_first_pixel(tmp_path: Path) -> None:
    mask = np.zeros((4, 5, 3), np.uint8)
    mask[2, 3] = 255, 0, 0
    Image.fromarray(mask).save(tmp_path / "a.png")
    with pytest.raises(SyndiffError, match=r"coloured mask \(RGB \(255, 0, 0\) at x=3, y=2\)"):
        read_mask(tmp_path / "a.png", 127)
