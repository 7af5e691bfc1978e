"""Picture files as they are decoded: within limits, 16 bits in full, upright, or refused with a sentence."""

import contextlib
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from syndiff.errors import SyndiffError, shown
from syndiff.files import check_regular

MAX_PIXELS = 100_000_000
"""Pictures of more pixels are refused before anything is decoded (decompression bombs)."""

MAX_BYTES = 400_000_000
"""Pictures whose samples, in three channels or more, take more bytes are refused before anything is decoded."""

MAX_SCANS = 100
"""JPEGs of more scans are refused, since each is decoded over the whole picture. Progressive files have about ten."""

MAX_METADATA = 64 * 2**20
"""Bytes that a PNG's texts and colour profile may take once they are unpacked."""

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
_ORIENTATION, _BITS_PER_SAMPLE, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT, _DESCRIPTION = 274, 258, 262, 284, 339, 270
_SIGNED = 2
_TURNED = range(2, 9)  # orientations other than upright
_ROWS = 256  # copied at a time, so that no second picture is held while the first one is taken over

_IMAGEJ = re.compile(r"ImageJ=[^\n]*\nimages=([0-9]{1,9})\n")

# Pillow's own limit of 1 MiB makes it call whole files with a large colour profile damaged.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MAX_METADATA

# Pillow keeps one byte of each 16-bit colour sample, the high one. Read in the other byte order it
# keeps the low one, so decoding twice gives all 16 bits in every compression that Pillow knows.
_SWAPPED = {f"{mode};16{order}": f"{mode};16{other}" for mode in ("RGB", "RGBA", "RGBX")
            for order, other in ("LB", "BL", "NB" if sys.byteorder == "little" else "NL")}  # fmt: skip

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_MARKER = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")  # those that a length follows, and the end of the picture (D9)


@dataclass(frozen=True)
class Decoded:
    """A picture as it is stored, upright, and what its file says of it.

    `samples` are HxW or HxWxC. `mode` is Pillow's name of the colour mode ("L", "RGB", "CMYK", "1", ...), `orientation`
    the EXIF or TIFF one that was undone (1: none). `step` lies between the numbers of a 2- or 4-bit grey picture,
    which Pillow stretches to 8 bits (1 elsewhere). `palette` holds the colours (Nx3) of mode P; `transparency` is the
    index, value or colour that a PNG declares as transparent, or the alpha of each index; both None elsewhere.
    """

    samples: NDArray
    mode: str
    orientation: int
    step: int
    white_is_zero: bool
    palette: NDArray[np.uint8] | None
    transparency: int | tuple[int, ...] | bytes | None


def decode(path: Path, take: Callable[[ImageFile.ImageFile, Path], NDArray]) -> Decoded:
    """Decode the picture in `path`; `take` takes its samples (HxW or HxWxC), which are then turned upright.

    Raises SyndiffError for a file that is missing, no regular file, damaged, of another format, beyond the limits, or
    of several pages; whatever a decoder raises in `take` becomes one.
    """
    with _opened(path) as picture:
        _check_single(path, picture)
        return _decoded(picture, path, take)


def decode_pages(path: Path, take: Callable[[ImageFile.ImageFile, Path], NDArray]) -> Iterator[Decoded]:
    """The pages of a TIFF in order, each decoded as `decode` does when it is asked for; of another format, its picture.

    Raises SyndiffError as `decode` does, naming the page.
    """
    number = 0
    try:
        with _opened(path) as picture:
            for number in range(_pages(picture) if picture.format == "TIFF" else 1):
                picture.seek(number)
                _check_size(path, picture)
                yield _decoded(picture, path, take)
    except SyndiffError as error:
        raise (SyndiffError(f"Page {number + 1}: {error}") if number else error) from None


def count_pages(path: Path) -> int:
    """How many pages a TIFF has; 1 for every other format, which `decode` may still refuse.

    Raises SyndiffError as `decode` does for a file that cannot be opened, and for one that hides pages.
    """
    with _opened(path) as picture:
        if not isinstance(picture, TiffImagePlugin.TiffImageFile):
            return 1
        pages, slices = _pages(picture), _IMAGEJ.match(str(picture.tag_v2.get(_DESCRIPTION, "")))
        if slices and pages == 1 < int(slices[1]):
            raise SyndiffError(
                f"{path} holds {slices[1]} slices behind a single page, as ImageJ writes stacks of more than 4 GB; "
                "save it in parts, or every slice as a file of its own."
            )
        return pages


def _decoded(picture: ImageFile.ImageFile, path: Path, take: Callable[[ImageFile.ImageFile, Path], NDArray]) -> Decoded:
    """The page of an open picture that it stands at."""
    tags = picture.tag_v2 if isinstance(picture, TiffImagePlugin.TiffImageFile) else {}
    tagged, white_is_zero = tags.get(_ORIENTATION), tags.get(_PHOTOMETRIC) == 0
    if _SIGNED in tags.get(_SAMPLE_FORMAT, ()) and picture.mode in ("L", "RGB", "RGBA"):
        raise unsupported(path, "signed 8-bit")  # Pillow takes them for unsigned ones
    step = {"L;2": 85, "L;4": 17}.get(_rawmode(picture)[:3], 1)
    samples = take(picture, path)
    # asked after decoding: Pillow turns a TIFF upright while it decodes it, and drops the tag then
    left = picture.getexif().get(_ORIENTATION)
    return Decoded(
        samples=upright(samples, left),
        mode=picture.mode,
        orientation=next((told for told in _TURNED if told in (tagged, left)), 1),
        step=step,
        white_is_zero=white_is_zero,
        palette=np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3) if picture.mode == "P" else None,
        transparency=picture.info.get("transparency"),
    )


def deep_samples(picture: ImageFile.ImageFile, path: Path) -> NDArray[np.uint16] | None:
    """The 16-bit samples of a picture, HxW or HxWxC; None when it holds fewer bits.

    Needs little more than the samples and Pillow's 8-bit picture, about 1.7 times the samples of an RGB image.
    """
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        tags = picture.tag_v2
        if max(tags.get(_BITS_PER_SAMPLE, (1,))) == 16 and (tags.get(_PLANAR, 1) == 2 or tags.get(_PHOTOMETRIC) == 0):
            return _tifffile_samples(path, picture.tell())  # Pillow misreads both
    if picture.mode.startswith("I;16"):
        return array(picture).astype(np.uint16, copy=False)
    raw = _rawmode(picture)
    if picture.mode == "I" or ";16" not in raw:
        return None
    if raw not in _SWAPPED:
        raise SyndiffError(f"{path} stores 16-bit {raw[:-4]} samples; save it as 16-bit grey or RGB.")
    with path.open("rb") as file, Image.open(file, formats=_FORMATS) as again:
        again.seek(picture.tell())
        again.tile = [
            tile._replace(args=(_SWAPPED[raw], *tile.args[1:]) if isinstance(tile.args, tuple) else _SWAPPED[raw])
            for tile in again.tile
        ]
        again.load()
        samples = np.empty((again.height, again.width, len(again.getbands())), "<u2")
        halves = samples.view(np.uint8).reshape(*samples.shape, 2)
        _copy(again, halves[..., 0])
    picture.load()
    _copy(picture, halves[..., 1])
    return samples.astype(np.uint16, copy=False)


def array(picture: Image.Image) -> NDArray:
    """A picture's samples as Pillow decodes them."""
    picture.load()  # may still turn it, and NumPy asks for the size before it asks for the data
    return np.asarray(picture)


def _rawmode(picture: ImageFile.ImageFile) -> str:
    """How the samples lie in the file, in Pillow's words ("L;2", "RGB;16B"); empty where it does not say.

    To be asked before the picture is decoded. Some pictures are decoded in several tiles, all stored alike.
    """
    arguments = picture.tile[0].args if picture.tile else ""
    raw = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return raw if isinstance(raw, str) else ""


def upright(samples: NDArray, orientation: object) -> NDArray:
    """Undo an EXIF/TIFF orientation (1 to 8; anything else means upright) on HxW or HxWxC."""
    if orientation in (5, 6, 7, 8):
        samples = samples.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return np.ascontiguousarray(samples)


def unsupported(path: Path, mode: str) -> SyndiffError:
    """The sentence for a colour mode that is not read."""
    words = {"F": "decimal numbers, ", "I": "signed or 32-bit numbers, ", "LAB": "L*a*b* colours, "}.get(mode, "")
    if mode == "signed 8-bit":
        return SyndiffError(f"{path} stores signed 8-bit numbers; save it as 8- or 16-bit unsigned grey or RGB.")
    return SyndiffError(f"{path} stores {words}Pillow's mode {mode}; save it as 8- or 16-bit grey or RGB.")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    """Open a picture and check its header; whatever goes wrong until it is closed becomes a SyndiffError."""
    try:
        check_regular(path)
        # given a path, Pillow maps a turned TIFF into memory with its sides exchanged; given a file it reads
        with path.open("rb") as file:
            _check_scans(path, file)
            _check_sums(path, file)
            with Image.open(file, formats=_FORMATS) as picture:
                _check_size(path, picture)
                yield picture
    except SyndiffError:
        raise
    except FileNotFoundError:
        raise SyndiffError(f"{path} does not exist.") from None
    except PermissionError:
        raise SyndiffError(f"{path} may not be read; give yourself read permission.") from None
    except Image.DecompressionBombError:
        raise SyndiffError(
            f"{path} has more than {MAX_PIXELS:,} pixels, the most that is read; scale it down or cut it into tiles."
        ) from None
    except UnidentifiedImageError:
        raise SyndiffError(
            f"{path} is damaged, or is no PNG, JPEG, TIFF, BMP or WebP of one, three or four channels of 8 or 16 bits; "
            "copy it again or export it as PNG."
        ) from None
    except MemoryError:
        raise SyndiffError(f"{path} does not fit into memory; scale it down or free memory.") from None
    except Exception as error:  # damaged bytes make the decoders raise nearly anything
        told = str(error) or type(error).__name__
        if "MAX_TEXT" in told:
            raise SyndiffError(
                f"{path} carries more than {MAX_METADATA // 2**20} MiB of texts or colour profile beside its picture; "
                "save it again without metadata."
            ) from None
        raise SyndiffError(f"{path} is damaged or cut off ({told}); copy or export it again.") from None


def _check_size(path: Path, picture: ImageFile.ImageFile) -> None:
    pixels = picture.width * picture.height
    if pixels > MAX_PIXELS:
        raise Image.DecompressionBombError
    deep = ";16" in _rawmode(picture) or picture.mode.startswith("I;16")
    size = pixels * max(3, len(picture.getbands())) * (2 if deep else 1)
    if size > MAX_BYTES:
        raise SyndiffError(
            f"{path} takes {size / 1e6:,.0f} MB once it is decoded ({picture.width}x{picture.height}, "
            f"{16 if deep else 8} bits), more than the {MAX_BYTES / 1e6:.0f} MB that are read; scale it down, cut it "
            "into tiles, or save it with 8 bits."
        )


def _pages(picture: ImageFile.ImageFile) -> int:
    """How many pictures a file holds; a JPEG of several (MPO) is a photo with its previews."""
    return getattr(picture, "n_frames", 1) if picture.format != "MPO" else 1


def _check_single(path: Path, picture: ImageFile.ImageFile) -> None:
    pages = _pages(picture)
    if pages > 1:
        what = "pages" if picture.format == "TIFF" else "frames of an animation"
        raise SyndiffError(f"{path} holds {pages} {what}; save every one as a file of its own.")


def _check_scans(path: Path, file: BinaryIO) -> None:
    """Refuse a JPEG of an absurd number of scans; leaves the file at its start."""
    content = file.read() if file.read(len(_JPEG)) == _JPEG else b""
    file.seek(0)
    position, scans = 0, 0
    while (marker := _MARKER.search(content, position)) and marker[1] != b"\xd9":
        scans += marker[1] == b"\xda"
        position = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2])
    if scans > MAX_SCANS:
        raise SyndiffError(
            f"{path} is a progressive JPEG of {scans:,} scans, more than the {MAX_SCANS} that are read; "
            "save it again as PNG or as a plain JPEG."
        )


def _check_sums(path: Path, file: BinaryIO) -> None:
    """Refuse a PNG whose checksums are wrong: decoders leave the lines that are lost black. Leaves it at its start."""
    content = file.read() if file.read(len(_PNG)) == _PNG else b""
    file.seek(0)
    position, kind = 0, b""
    while content and kind != b"IEND":
        size, kind = int.from_bytes(content[position : position + 4]), content[position + 4 : position + 8]
        end = position + 8 + size
        if zlib.crc32(content[position + 4 : end]).to_bytes(4) != content[end : end + 4]:
            raise SyndiffError(
                f"{path} is damaged or cut off (a checksum of its part {shown(kind)[1:]} is wrong); copy or export it "
                "again."
            )
        position = end + 4


def _copy(picture: Image.Image, target: NDArray[np.uint8]) -> None:
    """Copy the samples of a decoded picture into `target` (HxWxC), a few rows at a time."""
    for top in range(0, picture.height, _ROWS):
        bottom = min(top + _ROWS, picture.height)
        target[top:bottom] = np.asarray(picture.crop((0, top, picture.width, bottom)))


def _tifffile_samples(path: Path, number: int) -> NDArray[np.uint16]:
    """16-bit samples of a TIFF's page (0 is the first) with one plane per channel, or with white as zero."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        page = file.pages[number]
        assert isinstance(page, tifffile.TiffPage)
        if page.dtype != np.uint16:
            raise SyndiffError(f"{path} stores samples of type {page.dtype}; save it with 8- or 16-bit unsigned ones.")
        try:
            samples = page.asarray()
        except ValueError as error:
            if "imagecodecs" in str(error):
                raise SyndiffError(
                    f"{path} is a 16-bit TIFF with separate planes or white as zero, which is read only "
                    "without compression or deflated; save it again without compression."
                ) from None
            raise
        if page.planarconfig == 2 and samples.ndim == 3:
            samples = np.moveaxis(samples, 0, -1)
        if page.photometric == 0:
            samples = np.iinfo(np.uint16).max - samples
        return samples
