"""Cases of a dataset with their masks drawn, as one picture to look at."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from syndiff.data.dataset import Dataset
from syndiff.errors import SyndiffError
from syndiff.files import check_output, write_output
from syndiff.imaging import as_shown, class_colour, encode_png

_CONNECTIVITY = np.ones((3, 3), bool)
_CELL_WIDTH, _CELL_HEIGHT, _LABEL_HEIGHT, _COLUMNS = 240, 180, 18, 6
_MADE_BY = "SynDiff data inspect"  # in every sheet, so that it may be drawn anew
_OUTLINE = (0, 255, 255)  # cyan is found neither in the bowel nor in stained tissue


def dataset_sheet(dataset: Dataset, path: Path, *, count: int = 24, seed: int = 0) -> None:
    """Draw cases with their masks drawn in cyan as a grid of thumbnails, and write it to `path` as PNG.

    Of several classes each is drawn in its own colour (`imaging.class_colour`), and a legend above says whose it is.

    `count` cases (or all, when there are fewer) are drawn at random, one from each of `count` stretches of the sorted
    cases, equal as far as they divide; the same seed gives the same cases and bytes.

    Raises SyndiffError for a case that cannot be read, a `count` below 1, and a `path` that holds another file.
    """
    if count < 1:
        raise SyndiffError(f"A contact sheet of {count} cases was asked for; expected 1 or more.")
    count = min(count, len(dataset.cases))
    edges = np.arange(count + 1) * len(dataset.cases) // count
    chosen = [dataset.cases[index] for index in np.random.default_rng(seed).integers(edges[:-1], edges[1:])]
    columns = min(_COLUMNS, count)
    rows = -(-count // columns)
    names = dataset.targets if dataset.told_apart.several else ()
    above = 16 * len(names) + 8 if names else 0
    sheet = Image.new("RGB", (columns * _CELL_WIDTH, above + rows * (_CELL_HEIGHT + _LABEL_HEIGHT)), "white")
    pen = ImageDraw.Draw(sheet)
    for index, case in enumerate(chosen):
        tile = _tile(*dataset.load_classes(case))
        left = index % columns * _CELL_WIDTH
        top = above + index // columns * (_CELL_HEIGHT + _LABEL_HEIGHT)
        sheet.paste(tile, (left + (_CELL_WIDTH - tile.width) // 2, top + (_CELL_HEIGHT - tile.height) // 2))
        label = case.id if len(case.id) <= 32 else f"{case.id[:31]}…"
        middle = (left + _CELL_WIDTH // 2, top + _CELL_HEIGHT + _LABEL_HEIGHT // 2)
        pen.text(middle, label, fill="black", font=ImageFont.load_default(12), anchor="mm")
    _draw_names(sheet, names)
    write_output(path, encode_png(sheet, software=_MADE_BY), made_by_us=_is_sheet, what="a contact sheet")


def _draw_names(sheet: Image.Image, names: Sequence[str]) -> None:
    """The names of several classes at the top left, each beside its colour."""
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for index, name in enumerate(names):
        pen.rectangle((4, 4 + 16 * index, 16, 16 + 16 * index), fill=class_colour(index), outline="black")
        pen.text((20, 10 + 16 * index), name, "black", font, anchor="lm")


def check_sheet(path: Path) -> None:
    """Raise SyndiffError where `dataset_sheet` would not write to `path`: another file is there."""
    check_output(path, made_by_us=_is_sheet, what="a contact sheet")


def _is_sheet(start: bytes) -> bool:
    return _MADE_BY.encode() in start


def _tile(image: NDArray[np.uint8] | NDArray[np.uint16], masks: NDArray[np.bool_]) -> Image.Image:
    """A thumbnail that fits a cell, the contour drawn just outside of the mask (KxHxW), of several just inside each."""
    height, width = masks.shape[1:]
    scale = min((_CELL_WIDTH - 6) / width, (_CELL_HEIGHT - 6) / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    tile = np.array(Image.fromarray(as_shown(image)).resize(size, Image.Resampling.LANCZOS))
    # the share of foreground under every pixel: even a lesion of one pixel keeps a contour
    shares = [np.asarray(Image.fromarray(m.astype(np.float32)).resize(size, Image.Resampling.BOX)) for m in masks]
    most = np.max(shares, axis=0)
    for index, share in enumerate(shares):
        inside = share > 0
        if len(masks) == 1:
            tile[ndimage.binary_dilation(inside, _CONNECTIVITY) & ~inside] = _OUTLINE
        else:  # where one class ends another may begin
            inside &= share == most
            tile[inside & ~ndimage.binary_erosion(inside, _CONNECTIVITY)] = class_colour(index)
    return Image.fromarray(tile)
