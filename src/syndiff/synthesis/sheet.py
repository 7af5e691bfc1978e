"""A contact sheet of synthetic samples: source, mask, result, and what was changed."""

from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from syndiff.data.class_view import ClassView, written_with
from syndiff.data.readers import read_image, read_mask
from syndiff.data.written_masks import read_masks
from syndiff.files import write_bytes
from syndiff.imaging import encode_png
from syndiff.synthesis.manifest import Sample, SynthesisFolder
from syndiff.synthesis.placement.album import Album

_ROWS, _WIDTH, _HEADER, _LABEL = 8, 240, 22, 20
_COLUMNS = ("source", "mask", "result", "difference x 3")
_OUTLINE = (53, 224, 255)


def comparison_sheet(folder: SynthesisFolder, album: Album, path: Path) -> None:
    """Draw up to eight accepted samples, at even distances through the manifest, as a PNG at `path`.

    A row shows the frame, the new label, the result and three times the absolute difference; drawn are the
    label on the result and the new lesion on the difference. `album` gives the frames. Without an accepted sample
    nothing is written.
    """
    count = sum(sample.accepted for sample in folder)
    chosen = {i * count // min(_ROWS, count) for i in range(min(_ROWS, count))}
    accepted = (sample for sample in folder if sample.accepted)
    rows = [_row(folder, album, sample) for i, sample in enumerate(islice(accepted, count)) if i in chosen]
    if not rows:
        return
    sheet = Image.new("RGB", (_WIDTH * len(_COLUMNS), _HEADER + sum(row.height for row in rows)), "white")
    pen, font = ImageDraw.Draw(sheet), _font()
    for i, title in enumerate(_COLUMNS):
        pen.text(((i + 0.5) * _WIDTH, _HEADER / 2), title, fill="black", font=font, anchor="mm")
    top = _HEADER
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    write_bytes(path, encode_png(sheet))


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(12)


def _row(folder: SynthesisFolder, album: Album, sample: Sample) -> Image.Image:
    frame = album.frame(album[str(sample.source_case)])
    source = frame.image
    picture = folder.picture(sample)
    assert picture is not None
    result, label = read_image(picture), _label(folder, album, sample)
    # often 10 or 12 bits in 16: shown by the frame's own brightest value
    white = 255 if source.dtype == np.uint8 else max(1, int(source.max()))
    change = np.minimum(np.maximum(result, source) - np.minimum(result, source), white // 3) * 3
    tiles = [
        _tile(source, white, None),
        _tile(label[..., None].repeat(3, axis=2).astype(np.uint8), 1, None),
        _tile(result, white, label),
        _tile(change, white, label & ~frame.own if sample.setting("background_lesion") == "keep" else label),
    ]
    row = Image.new("RGB", (_WIDTH * len(tiles), tiles[0].height + _LABEL), "white")
    for i, tile in enumerate(tiles):
        row.paste(tile, (i * _WIDTH, 0))
    words = f"{sample.id}: {sample.told}"
    font = _font()
    while font.getlength(words) > row.width - 8:
        words = words[: -max(2, len(words) // 20)].rstrip("… ") + "…"
    ImageDraw.Draw(row).text((4, tiles[0].height + _LABEL / 2), words, fill="black", font=font, anchor="lm")
    return row


def _label(folder: SynthesisFolder, album: Album, sample: Sample) -> NDArray[np.bool_]:
    """The new label (HxW) of the class that was painted."""
    path, dataset = folder.label(sample), album.dataset
    assert path is not None
    if isinstance(dataset, ClassView):
        return read_masks(path, written_with(dataset))[dataset.index]
    return read_mask(path, 127)


def _tile(values: NDArray, white: int, label: NDArray[np.bool_] | None) -> Image.Image:
    """A picture (HxWx3, 0 to `white`) as a thumbnail, the contour drawn just outside of the label (HxW)."""
    height, width = values.shape[:2]
    size = (_WIDTH - 4, max(1, round(height * (_WIDTH - 4) / width)))
    if white != 255:
        values = (np.minimum(values, white) * (255 / white)).astype(np.uint8)
    tile = np.array(Image.fromarray(values).resize(size))
    if label is not None:
        # the share of the label under every pixel: even a lesion of one pixel keeps an contour
        inside = np.asarray(Image.fromarray(label.astype(np.float32)).resize(size, Image.Resampling.BOX)) > 0
        tile[ndimage.binary_dilation(inside) & ~inside] = _OUTLINE
    return Image.fromarray(tile)
