"""Pictures as bytes: one way to write a PNG, and how a picture of 16 bits is shown."""

import io
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

CLASS_COLOURS = (
    (255, 210, 31),
    (86, 180, 233),
    (0, 158, 115),
    (204, 121, 167),
    (255, 255, 255),
    (0, 114, 178),
    (213, 94, 0),
    (0, 0, 0),
)
"""Of the first class, the second, and so on: yellow, then Okabe and Ito's, told apart with any colour vision."""


def class_colour(index: int) -> tuple[int, int, int]:
    """The colour of the class with this index, from 0; after eight classes the first one comes again."""
    return CLASS_COLOURS[index % len(CLASS_COLOURS)]


def draw_legend(picture: NDArray[np.uint8], names: Sequence[str]) -> NDArray[np.uint8]:
    """A copy of a picture (HxWx3) with the colour of each class beside its name, at the top left."""
    drawn = Image.fromarray(picture)
    size = max(8, min(picture.shape[:2]) // 24)
    pen, font, pad = ImageDraw.Draw(drawn), ImageFont.load_default(size), size // 3
    width = max(pen.textlength(name, font) for name in names)
    line = size + pad
    pen.rectangle((0, 0, width + size + 3 * pad, len(names) * line + pad), fill=(40, 40, 40))
    for index, name in enumerate(names):
        top = pad + index * line
        pen.rectangle((pad, top, pad + size, top + size), fill=class_colour(index))
        pen.text((size + 2 * pad, top + size / 2), name, (255, 255, 255), font, anchor="lm")
    return np.array(drawn)


def encode_png(
    picture: NDArray[np.uint8] | NDArray[np.bool_] | Image.Image,
    *,
    compress_level: int = -1,
    compress_type: int = -1,
    software: str | None = None,
) -> bytes:
    """A picture as the bytes of a PNG: HxW or HxWx3 uint8, a mask (HxW bool: 0 and 255), or Pillow's own.

    `compress_level` (0 to 9) and `compress_type` (a strategy such as `zlib.Z_RLE`) are zlib's, -1 its defaults;
    `software` is noted in the file as what wrote it. The same picture gives the same bytes.
    """
    if not isinstance(picture, Image.Image):
        picture = Image.fromarray(picture if picture.dtype == np.uint8 else picture.astype(np.uint8) * np.uint8(255))
    notes = None
    if software is not None:
        notes = PngInfo()
        notes.add_text("Software", software)
    content = io.BytesIO()
    picture.save(content, "PNG", compress_level=compress_level, compress_type=compress_type, pnginfo=notes)
    return content.getvalue()


def encode_exactly(picture: NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.bool_]) -> tuple[bytes, str]:
    """A picture that is to be read again, without loss and quickly, and its file's extension.

    PNG, or TIFF for 16 bits (HxWx3), which Pillow cannot write as RGB PNG.
    """
    if picture.dtype == np.uint16:
        import tifffile

        content = io.BytesIO()
        tifffile.imwrite(content, picture, photometric="rgb", metadata=None, software=False)
        return content.getvalue(), ".tif"
    known: Any = picture
    return encode_png(known, compress_level=1, compress_type=zlib.Z_RLE), ".png"  # a quarter of the usual time


def encode_pages(pages: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """Grey pictures (NxHxW) as the pages of a TIFF; the same pictures give the same bytes."""
    import tifffile

    content = io.BytesIO()
    tifffile.imwrite(content, pages, photometric="minisblack", compression="zlib", metadata=None, software=False)
    return content.getvalue()


def as_shown(image: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    """An image (any shape) in 8 bits, for the eye: 16 bits are scaled to the brightest value found.

    Often 10 or 12 bits lie in 16, which would show as black.
    """
    if image.dtype == np.uint8:
        return image.astype(np.uint8, copy=False)
    return (image / max(1, int(image.max())) * 255).astype(np.uint8)


def encode_jpeg(picture: NDArray[np.uint8]) -> bytes:
    """A picture (HxWx3, sides of 65,500 pixels at most) as the bytes of a JPEG, for the eye; colours at full size."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "JPEG", quality=92, subsampling=0)
    return content.getvalue()
