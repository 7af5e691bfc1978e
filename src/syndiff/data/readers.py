"""Image and mask files as arrays: 8- and 16-bit PNG, JPEG, TIFF, BMP and WebP, upright, or refused with a sentence."""

import functools
import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile

from syndiff.data.decoding import Decoded, array, count_pages, decode, decode_pages, deep_samples, unsupported
from syndiff.errors import SyndiffError

IMAGE_EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})

_CONVERTED = {
    "1": "1-bit black and white",
    "P": "palette colours",
    "PA": "palette colours",
    "CMYK": "CMYK colours",
    "YCbCr": "YCbCr colours",
}
_PLAIN = frozenset({"L", "LA", "RGB", "RGBA", "RGBX"})
_ROUNDING = 4  # lossy WebP has no grey: decoding makes red, green and blue of one number differ by so much
_CLEAR = 0.75  # this share of the border's pixels must agree on what the background is


@dataclass(frozen=True)
class StoredImage:
    """An image file: `samples` HxWx3, `uint8` or `uint16`, upright.

    `mode` is Pillow's name of the stored colour mode, `orientation` the EXIF one that was undone (1: none).
    """

    samples: NDArray[np.uint8] | NDArray[np.uint16]
    mode: str
    orientation: int


@dataclass(frozen=True)
class StoredMask:
    """A mask file: `values` HxW, an integer type, or `bool` for a 1-bit file, upright; 0 is the background.

    `orientation` is the EXIF one that was undone (1: none). `renumbered`: the file is a colour palette whose black is
    not index 0, so two indices were exchanged and are no class numbers.
    """

    values: NDArray
    orientation: int
    renumbered: bool = False


def read_stored_image(path: Path) -> StoredImage:
    """Read a picture as it is stored, upright by its EXIF orientation.

    Grey becomes three equal channels and alpha is dropped. CMYK, YCbCr, palette and 1-bit pictures are
    converted to 8-bit RGB and a warning names the file.

    Raises SyndiffError for a file that is missing, damaged, of another format, of more pixels or bytes than
    `decoding` allows, of several pages, or of samples other than 8- or 16-bit integers.
    """
    decoded = decode(path, _image_samples)
    return StoredImage(_three_channels(decoded.samples), decoded.mode, decoded.orientation)


def read_image(path: Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The samples of `read_stored_image` (HxWx3), which says what is refused."""
    return read_stored_image(path).samples


def read_pages(path: Path) -> Iterator[NDArray[np.uint8] | NDArray[np.uint16]]:
    """The pages of a TIFF (HxWx3 each, of any size) as `read_image` reads its only one, each when it is asked for.

    Raises SyndiffError as `read_image` does, naming the page.
    """
    for decoded in decode_pages(path, _image_samples):
        yield _three_channels(decoded.samples)


def read_stored_mask(path: Path) -> StoredMask:
    """Read a mask as the numbers that are stored in it, upright by its EXIF orientation.

    An RGB mask must have equal channels. A palette of greys is read as its grey values, one of colours as its indices
    (with a warning), black being the background whatever its index. In a TIFF whose zero is white the value that holds
    most of the border is the background (with a warning where that is not black).

    Raises SyndiffError as `read_stored_image` does, for coloured pixels, for a shape that lies in the transparency,
    and where the background cannot be told.
    """
    return _stored_mask(decode(path, _mask_samples), path)


def read_stored_pages(path: Path, classes: Sequence[str]) -> tuple[StoredMask, ...]:
    """Read a TIFF of one mask for each of the `classes`, in their order, each as `read_stored_mask` does.

    Raises SyndiffError as that does, and for another number of pages.
    """
    found = count_pages(path)
    if found != len(classes):
        raise SyndiffError(
            f"{path} has {found} page{'' if found == 1 else 's'}; expected a TIFF of {len(classes)} pages, one mask "
            f"for each class in this order: {', '.join(classes)}. Export it again, or mend classes in dataset.json."
        )
    return tuple(_stored_mask(decoded, path) for decoded in decode_pages(path, _mask_samples))


def _stored_mask(decoded: Decoded, path: Path) -> StoredMask:
    if decoded.palette is not None:
        values, renumbered = _from_palette(decoded.samples, decoded.palette, path)
    else:
        values, renumbered = _grey(decoded.samples, path), False
    if decoded.step > 1:
        values = values // decoded.step
    _check_alpha(values, _alpha(decoded, values), path)
    if decoded.white_is_zero:
        values = _dark_ground(values, decoded.step, path)
    return StoredMask(np.ascontiguousarray(values), decoded.orientation, renumbered)


def read_mask_values(path: Path) -> NDArray:
    """The values of `read_stored_mask` (HxW), which says what is refused."""
    return read_stored_mask(path).values


def distinct(values: NDArray) -> list[int]:
    """The different values of a mask, sorted."""
    if values.dtype in (np.uint8, np.uint16):
        return np.flatnonzero(np.bincount(values.ravel())).tolist()
    return [int(value) for value in np.unique(values)]


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

    Raises SyndiffError as `read_stored_mask` does. `Dataset.load` also checks the values.
    """
    return foreground(read_mask_values(path), threshold)


def to_unit(image: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.float32]:
    """Scale an image to `float32` in [0, 1] by the largest number of its type (255 or 65535)."""
    return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)


def conversion(mode: str) -> str | None:
    """What `read_image` converts to RGB when a file is stored in `mode`, in words; None when nothing."""
    return _CONVERTED.get(mode)


def _three_channels(samples: NDArray) -> NDArray:
    """Samples (HxW or HxWxC) as HxWx3: grey three times, alpha dropped."""
    if samples.ndim == 2:
        samples = samples[..., None]
    if samples.shape[2] < 3:
        samples = samples[..., :1].repeat(3, axis=2)
    return np.ascontiguousarray(samples[..., :3])


def _image_samples(picture: ImageFile.ImageFile, path: Path) -> NDArray:
    deep = deep_samples(picture, path)
    if deep is not None:
        return deep
    if picture.mode in _CONVERTED:
        _say_once(path, f"is stored as {_CONVERTED[picture.mode]}: converted to 8-bit RGB.")
    elif picture.mode not in _PLAIN:
        raise unsupported(path, picture.mode)
    return array(picture.convert("RGB"))


def _mask_samples(picture: ImageFile.ImageFile, path: Path) -> NDArray:
    deep = deep_samples(picture, path)
    if deep is not None:
        return deep
    if picture.mode not in ("1", "I", "P") and picture.mode not in _PLAIN:
        raise unsupported(path, picture.mode)
    samples = array(picture)
    if picture.format == "WEBP" and np.ptp(samples[..., :3], axis=2).max() <= _ROUNDING:
        return np.concatenate([samples[..., 1:2]] * 3 + [samples[..., 3:]], axis=2)
    return samples


def _grey(samples: NDArray, path: Path) -> NDArray:
    """The one number of each pixel."""
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
    return grey


def _from_palette(indices: NDArray, palette: NDArray[np.uint8], path: Path) -> tuple[NDArray, bool]:
    """Grey values of a grey palette, else indices with 0 for black; and whether indices were exchanged for that."""
    used = distinct(indices)
    if used[-1] >= len(palette):
        raise SyndiffError(
            f"{path} uses the palette index {used[-1]} but its palette has {len(palette)} colours; export it again."
        )
    colours = [tuple(colour) for colour in palette[used].tolist()]
    if twice := next((colour for colour in colours if colours.count(colour) > 1), None):
        same = [str(index) for index, colour in zip(used, colours, strict=True) if colour == twice]
        raise SyndiffError(
            f"{path} has a palette that gives the indices {' and '.join(same[:3])} the same colour (RGB {twice}), so "
            "what it marks cannot be told from what is seen; save the mask as grey values, 0 for background."
        )
    if all(red == green == blue for red, green, blue in colours):
        return palette[indices, 0], False
    black = used[colours.index((0, 0, 0))] if (0, 0, 0) in colours else 0
    if palette[black].any():
        raise SyndiffError(
            f"{path} has a colour palette without black (RGB {', '.join(map(str, colours[:3]))}), so which colour is "
            "the background cannot be told; save the mask as grey values, 0 for background."
        )
    _say_once(path, f"is a mask with a colour palette: its palette indices are read, {black} (black) as background.")
    if black == 0:
        return indices, False
    exchanged = np.arange(len(palette), dtype=indices.dtype)
    exchanged[[0, black]] = black, 0
    return exchanged[indices], True


def _alpha(decoded: Decoded, values: NDArray) -> NDArray | None:
    """How opaque each pixel is (HxW, 0 is fully transparent); None where the file does not say."""
    samples, declared = decoded.samples, decoded.transparency
    if decoded.mode in ("LA", "RGBA"):
        return samples[..., -1]
    if isinstance(declared, bytes):  # of a palette
        return np.frombuffer(declared.ljust(256, b"\xff"), np.uint8)[samples]
    if isinstance(declared, tuple):
        return (samples[..., :3] != declared).any(axis=2)
    if declared is None:
        return None
    stored = samples if decoded.palette is not None else values
    return stored != (declared > 0 if stored.dtype == np.bool_ else declared)


def _check_alpha(values: NDArray, alpha: NDArray | None, path: Path) -> None:
    """Refuse a mask whose shape, or a part of it, lies in the transparency alone."""
    if alpha is None:
        return
    if (values == values.flat[0]).all() and (alpha != alpha.flat[0]).any():
        raise SyndiffError(
            f"{path} has one colour everywhere and holds its shape in the transparency, which is not read; export the "
            "mask without transparency: white where the lesion is, black elsewhere."
        )
    hidden = (alpha == 0) & (values != 0)
    if hidden.any():
        y, x = np.argwhere(hidden)[0]
        raise SyndiffError(
            f"{path} marks pixels that are fully transparent (such as x={x}, y={y}, value {values[y, x]}), so whether "
            "they belong to the lesion cannot be told; export the mask without transparency, 0 for background."
        )


def _dark_ground(values: NDArray, step: int, path: Path) -> NDArray:
    """Mask values of a TIFF whose zero is white, as they are shown, or exchanged where the border is white.

    Some programs set that tag and mean that 0 is the background, others mean that white is the lesion.
    """
    white = 1 if values.dtype == np.bool_ else np.iinfo(values.dtype).max // step
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    if (border == 0).mean() >= _CLEAR:
        return values
    if (border == white).mean() >= _CLEAR:
        _say_once(path, "is a TIFF whose zero is white, and its border is white: white is taken as background.")
        return ~values if values.dtype == np.bool_ else white - values
    raise SyndiffError(
        f"{path} is a TIFF whose zero is white, and neither black nor white holds most of its border, so which one is "
        "the background cannot be told; save the mask as PNG, 0 for background."
    )


@functools.cache  # once per file, however often it is read
def _say_once(path: Path, words: str) -> None:
    logging.getLogger("syndiff").warning("%s %s", path, words)
