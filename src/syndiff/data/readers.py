"""Image and mask files as arrays: 8- and 16-bit PNG, JPEG and TIFF, upright, or refused with a sentence."""

import contextlib
import functools
import hashlib
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from syndiff.errors import SyndiffError

MAX_PIXELS = 100_000_000
"""Images of more pixels are refused before anything is decoded (decompression bombs)."""

IMAGE_EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff"})

_FORMATS = ("PNG", "JPEG", "TIFF")
_ORIENTATION, _BITS_PER_SAMPLE, _PHOTOMETRIC, _PLANAR = 274, 258, 262, 284
_CONVERTED = {
    "1": "1-bit black and white",
    "P": "palette colours",
    "PA": "palette colours",
    "CMYK": "CMYK colours",
    "YCbCr": "YCbCr colours",
}
_PLAIN = frozenset({"L", "LA", "RGB", "RGBA", "RGBX"})

# Pillow keeps one byte of each 16-bit colour sample, the high one. Read in the other byte order it
# keeps the low one, so decoding twice gives all 16 bits in every compression that Pillow knows.
_SWAPPED = {f"{mode};16{order}": f"{mode};16{other}" for mode in ("RGB", "RGBA", "RGBX")
            for order, other in ("LB", "BL", "NB" if sys.byteorder == "little" else "NL")}  # fmt: skip


def read_image(path: Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Read a picture as HxWx3, `uint8` or `uint16` as it is stored, upright by its EXIF orientation.

    Grey becomes three equal channels and alpha is dropped. CMYK, YCbCr, palette and 1-bit pictures are
    converted to 8-bit RGB and a warning names the file.

    Raises SyndiffError for a file that is missing, damaged, of another format, of more than
    `MAX_PIXELS` pixels, of several pages, or of samples other than 8- or 16-bit integers.
    """
    samples = _decode(path, _image_samples)
    if samples.ndim == 2:
        samples = samples[..., None]
    if samples.shape[2] < 3:
        samples = samples[..., :1].repeat(3, axis=2)
    return np.ascontiguousarray(samples[..., :3])


def read_mask_values(path: Path) -> NDArray:
    """Read a mask as the values that are stored in it: HxW, an integer type, or `bool` for a 1-bit file.

    An RGB mask must have equal channels; alpha is dropped. A palette mask is read as grey values when its
    palette is grey, else as palette indices (with a warning). Upright by its EXIF orientation.

    Raises SyndiffError as `read_image` does, and for a mask with coloured pixels.
    """
    samples = _decode(path, _mask_samples)
    if samples.ndim == 2:
        return samples
    grey = samples[..., 0]
    if samples.shape[2] >= 3:
        coloured = (samples[..., 1] != grey) | (samples[..., 2] != grey)
        if coloured.any():
            y, x = np.argwhere(coloured)[0]
            raise SyndiffError(
                f"{path} is a coloured mask (RGB {tuple(samples[y, x, :3].tolist())} at x={x}, y={y}); "
                "a mask holds one number per pixel: save it as grey values, 0 for background."
            )
    return np.ascontiguousarray(grey)


def image_content(image: NDArray[np.uint8] | NDArray[np.uint16]) -> str:
    """SHA-256 (hexadecimal) of a decoded picture: what it shows, whatever file, name or lossless format it is from."""
    digest = hashlib.sha256(f"{image.dtype} {image.shape}".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def foreground(values: NDArray, threshold: int | None) -> NDArray[np.bool_]:
    """Foreground of mask values: above `threshold`, or above 0 when it is None; 1-bit masks as they are."""
    if values.dtype == np.bool_:
        return values
    return values > (0 if threshold is None else threshold)


def read_mask(path: Path, threshold: int | None) -> NDArray[np.bool_]:
    """Read a mask as HxW booleans: True above `threshold`, or above 0 when it is None.

    Raises SyndiffError as `read_mask_values` does. `DatasetFolder.load` also checks the values.
    """
    return foreground(read_mask_values(path), threshold)


def read_mode(path: Path) -> str:
    """Pillow's name of the stored colour mode ("L", "RGB", "CMYK", "1", ...), from the header alone."""
    with _opened(path) as picture:
        return picture.mode


def to_unit(image: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.float32]:
    """Scale an image to `float32` in [0, 1] by the largest number of its type (255 or 65535)."""
    return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)


def conversion(mode: str) -> str | None:
    """What `read_image` converts to RGB when a file is stored in `mode`, in words; None when nothing."""
    return _CONVERTED.get(mode)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    """Open a picture and check its header; whatever goes wrong until it is closed becomes a SyndiffError."""
    try:
        # given a path, Pillow maps a turned TIFF into memory with its sides exchanged; given a file it reads
        with path.open("rb") as file, Image.open(file, formats=_FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            pages = getattr(picture, "n_frames", 1) if picture.format == "TIFF" else 1
            if pages > 1:
                raise SyndiffError(f"{path} holds {pages} pages; save every page as a file of its own.")
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
            f"{path} is damaged, or is no PNG, JPEG or TIFF of one, three or four channels; "
            "copy it again or export it as PNG."
        ) from None
    except MemoryError:
        raise SyndiffError(f"{path} does not fit into memory; scale it down or free memory.") from None
    except Exception as error:  # damaged bytes make the decoders raise nearly anything
        raise SyndiffError(
            f"{path} is damaged or cut off ({str(error) or type(error).__name__}); copy or export it again."
        ) from None


def _decode(path: Path, samples: Callable[[ImageFile.ImageFile, Path], NDArray]) -> NDArray:
    """What `samples` takes from the picture, turned upright."""
    with _opened(path) as picture:
        array = samples(picture, path)
        # asked after decoding: Pillow turns a TIFF upright while it decodes it, and drops the tag then
        return _upright(array, picture.getexif().get(_ORIENTATION, 1))


def _image_samples(picture: ImageFile.ImageFile, path: Path) -> NDArray:
    deep = _deep_samples(picture, path)
    if deep is not None:
        return deep
    if picture.mode in _CONVERTED:
        _say_converted(path, picture.mode)
    elif picture.mode not in _PLAIN:
        raise _unsupported(path, picture.mode)
    return _array(picture.convert("RGB"))


def _mask_samples(picture: ImageFile.ImageFile, path: Path) -> NDArray:
    deep = _deep_samples(picture, path)
    if deep is not None:
        return deep
    if picture.mode in ("1", "I") or picture.mode in _PLAIN:
        return _array(picture)
    if picture.mode == "P":
        indices = _array(picture)
        palette = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
        colours = palette[np.unique(indices)]
        if (colours == colours[:, :1]).all():
            return palette[indices, 0]
        _say_palette_mask(path)
        return indices
    raise _unsupported(path, picture.mode)


def _deep_samples(picture: ImageFile.ImageFile, path: Path) -> NDArray[np.uint16] | None:
    """The 16-bit samples of a picture, HxW or HxWxC; None when it holds fewer bits."""
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        tags = picture.tag_v2
        if max(tags.get(_BITS_PER_SAMPLE, (1,))) == 16 and (tags.get(_PLANAR, 1) == 2 or tags.get(_PHOTOMETRIC) == 0):
            return _tifffile_samples(path)  # Pillow misreads both
    if picture.mode.startswith("I;16"):
        return _array(picture).astype(np.uint16)
    # some pictures are decoded in several tiles, all stored alike
    arguments = picture.tile[0].args if picture.tile else ""
    rawmode = arguments[0] if isinstance(arguments, tuple) else arguments
    if picture.mode == "I" or not isinstance(rawmode, str) or ";16" not in rawmode:
        return None
    if rawmode not in _SWAPPED:
        raise SyndiffError(f"{path} stores 16-bit {rawmode[:-4]} samples; save it as 16-bit grey or RGB.")
    with path.open("rb") as file, Image.open(file, formats=_FORMATS) as again:
        again.tile = [
            tile._replace(
                args=(_SWAPPED[rawmode], *tile.args[1:]) if isinstance(tile.args, tuple) else _SWAPPED[rawmode]
            )
            for tile in again.tile
        ]
        low = _array(again)
    return _array(picture).astype(np.uint16) << 8 | low


def _tifffile_samples(path: Path) -> NDArray[np.uint16]:
    """16-bit samples of a TIFF with one plane per channel, or with white as zero."""
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
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


def _array(picture: Image.Image) -> NDArray:
    """A picture's samples as Pillow decodes them."""
    picture.load()  # may still turn it, and NumPy asks for the size before it asks for the data
    return np.asarray(picture)


def _upright(array: NDArray, orientation: int) -> NDArray:
    """Undo an EXIF/TIFF orientation (1 to 8; anything else means upright) on HxW or HxWxC."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def _unsupported(path: Path, mode: str) -> SyndiffError:
    return SyndiffError(f"{path} is stored in mode {mode}; save it as 8- or 16-bit grey or RGB.")


@functools.cache  # once per file, however often it is read
def _say_converted(path: Path, mode: str) -> None:
    logging.getLogger("syndiff").warning("%s is stored as %s: converted to 8-bit RGB.", path, _CONVERTED[mode])


@functools.cache
def _say_palette_mask(path: Path) -> None:
    logging.getLogger("syndiff").warning(
        "%s is a mask with a colour palette: its palette indices are read, 0 as background.", path
    )
