"""Pictures side by side: a row for each case, a column for each way."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from syndiff.data.masks import bounding_box
from syndiff.imaging import as_shown, encode_png

_TILE, _HEADER = 160, 20


def draw_sheet(columns: Sequence[str], rows: Sequence[Sequence[NDArray | None]]) -> bytes:
    """A PNG of pictures (HxWx3), each at most 160 pixels wide and high; where there is none, the place is empty."""
    sheet = Image.new("RGB", (_TILE * len(columns), _HEADER + len(rows) * _TILE), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for column, name in enumerate(columns):
        pen.text(((column + 0.5) * _TILE, _HEADER / 2), name, fill="black", font=font, anchor="mm")
    for number, row in enumerate(rows):
        for column, picture in enumerate(row):
            if picture is not None:
                sheet.paste(_tile(picture), (column * _TILE, _HEADER + number * _TILE))
    return encode_png(sheet)


def around_lesion(image: NDArray, lesion: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A square of a frame (HxWx3) with the lesion (HxW) in its middle, twice as long, as far as the frame allows."""
    rows, columns = bounding_box(lesion)
    height, width = lesion.shape
    side = min(2 * max(rows.stop - rows.start, columns.stop - columns.start), height, width)
    top = min(max((rows.start + rows.stop - side) // 2, 0), height - side)
    left = min(max((columns.start + columns.stop - side) // 2, 0), width - side)
    return as_shown(image)[top : top + side, left : left + side]


def _tile(picture: NDArray) -> Image.Image:
    tile = Image.fromarray(as_shown(picture))
    scale = _TILE / max(tile.size)
    return tile.resize([max(1, round(side * scale)) for side in tile.size], Image.Resampling.BICUBIC)
