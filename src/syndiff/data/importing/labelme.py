"""LabelMe: one JSON beside each picture, with polygons, rectangles, circles and masks; the picture may lie within it.

After labelme's own files (version 5): `shapes`, each with `label`, `shape_type` and `points`; `imagePath`, `imageData`,
`imageWidth`, `imageHeight`, `flags`. A circle is its centre and a point on its rim. A mask is a PNG of its box, whose
corners are its first and last pixel. The label `_background_` takes away what was drawn before, as labelme itself does.
"""

import base64
import binascii
import io
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from syndiff.data.decoding import MAX_PIXELS
from syndiff.data.importing.annotations import (
    EXPORT_AGAIN,
    Annotations,
    Item,
    as_stored,
    inside,
    pictures,
    shape_item,
    stated_size,
)
from syndiff.data.importing.settings import ImportSettings
from syndiff.data.importing.shapes import Shape, bitmap, ellipse, points, polygon, rectangle
from syndiff.data.listing import check_text, natural, some
from syndiff.documents import Kinds, check_object, read_object
from syndiff.errors import SyndiffError, shown

_ERASES, _IGNORE = "_background_", "__ignore__"
_NO_AREA = ("point", "points", "line", "linestrip")
_KINDS: Kinds = {"shapes": list, "imagePath": (str, type(None)), "imageWidth": object, "imageHeight": object}


def read_labelme(source: Path, settings: ImportSettings) -> Annotations:
    """Every JSON of labelme under a folder, or a single one; other JSON files are left.

    Raises SyndiffError for shapes that cannot be read, and for paths of pictures that lead out of the folder.
    """
    files = [source] if source.is_file() else sorted(source.rglob("*.json"))
    root = source.parent if source.is_file() else source
    left: Counter[str] = Counter()
    flags: Counter[str] = Counter()
    items: list[Item] = []
    labels: set[str] = set()
    taken: set[Path] = set()
    for file in files:
        if any(part.startswith(".") for part in file.relative_to(root).parts):
            continue
        content = read_object(file, {}, mend=EXPORT_AGAIN)
        if "shapes" not in content:
            left["JSON file without shapes, which is none of labelme's"] += 1
            continue
        check_object(file, content, _KINDS, mend=EXPORT_AGAIN)
        entries = enumerate(content["shapes"], 1)
        read = [_shape(f"{file}, shape {place}", entry, settings, left) for place, entry in entries]
        shapes = [shape for shape in read if shape]
        labels.update(label for label, _ in shapes if label is not None)
        flags.update(_flags(content))
        image = _image(file, root, content, settings)
        taken.update({image} if isinstance(image, Path) else ())
        size = stated_size(content["imageWidth"], content["imageHeight"], str(file))
        items.append(
            shape_item(f"{file.relative_to(root).with_suffix('').as_posix()}.png", image, str(file), size, shapes)
        )
    if not items:
        raise SyndiffError(f"{source} holds no JSON of labelme; give the folder where they lie.")
    found = Annotations("LabelMe", items, tuple(sorted(labels, key=natural)), left=left)
    alone = [path for path in pictures(root) if root / path not in taken] if source.is_dir() else []
    if alone:
        left["picture without a JSON, which nobody has annotated"] = len(alone)
    if flags:
        told = some(f"{flag} ({count})" for flag, count in sorted(flags.items()))
        found.notes.append(f"flags are not read; set are {told}")
    return found


def _image(file: Path, root: Path, content: dict[str, Any], settings: ImportSettings) -> Path | bytes:
    """The file of the picture, or its bytes where only the JSON holds them."""
    named = (content["imagePath"] or "").replace("\\", "/")
    data = content.get("imageData")
    if settings.images is not None:
        return settings.images / file.parent.relative_to(root) / inside(named.rpartition("/")[2], str(file))
    beside = file.parent.relative_to(root).as_posix()
    try:
        path = root / inside(f"{beside}/{named}" if named[:1] != "/" and named[1:2] != ":" else named, str(file))
    except SyndiffError:
        if data is None:
            raise
        path = root  # labelme names the picture elsewhere on its machine, but brings it along
    if data is None or as_stored(path).is_file():
        return path
    if not isinstance(data, str):
        raise SyndiffError(f"{file}: imageData is {shown(data)}, expected the picture as base64 text. {EXPORT_AGAIN}")
    return _base64(data, f"{file}: imageData")


def _base64(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise SyndiffError(f"{where} is damaged: it is no base64 text. {EXPORT_AGAIN}") from None


def _flags(content: dict[str, Any]) -> list[str]:
    """The names of the flags that are set, of the picture and of its shapes."""
    several = [content.get("flags"), *(entry.get("flags") for entry in content["shapes"] if isinstance(entry, dict))]
    return [flag for flags in several if isinstance(flags, dict) for flag, value in flags.items() if value is True]


def _shape(where: str, entry: Any, settings: ImportSettings, left: Counter[str]) -> tuple[str | None, Shape] | None:
    """The label and what is drawn; None, counted in `left`, for what has no area."""
    check_object(where, entry, {"label": str, "points": list}, mend=EXPORT_AGAIN)
    label, kind = entry["label"].strip(), entry.get("shape_type") or "polygon"
    check_text(label, f"{where}: its label")
    if not label:
        raise SyndiffError(f"{where}: its label is empty; give it one in labelme.")
    if label == _IGNORE and not settings.classes:
        raise SyndiffError(
            f"{where}: has the label {_IGNORE}, but a mask here cannot hold pixels to be ignored; name the classes "
            "with --classes if they shall become background."
        )
    if kind in _NO_AREA:
        left[f"{kind}, which has no area"] += 1
        return None
    corners = points(entry["points"], where)
    shape = _area(kind, corners, where, entry)
    if shape is None:
        left["polygon of fewer than three points"] += 1
        return None
    return (None if label == _ERASES else label), shape


def _area(kind: str, corners: NDArray[np.float64], where: str, entry: dict[str, Any]) -> Shape | None:
    if kind in ("polygon", "oriented_rectangle"):
        return polygon(corners) if len(corners) > 2 else None
    if kind not in ("rectangle", "circle", "mask"):
        raise SyndiffError(
            f"{where}: its shape_type is {shown(kind)}, which is not known; expected polygon, rectangle, "
            "oriented_rectangle, circle or mask."
        )
    if len(corners) != 2:
        raise SyndiffError(f"{where}: a {kind} has {len(corners)} points, expected two. {EXPORT_AGAIN}")
    (x, y), (other_x, other_y) = corners.tolist()
    if kind == "rectangle":
        return rectangle((x, y), (other_x, other_y))
    if kind == "circle":
        radius = math.hypot(other_x - x, other_y - y)
        return ellipse((x, y), (radius, radius))
    return bitmap(
        _pixels(entry.get("mask"), (int(other_x) - int(x) + 1, int(other_y) - int(y) + 1), where), int(y), int(x)
    )


def _pixels(text: Any, size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """The pixels of a mask, a PNG of the given width and height."""
    if not isinstance(text, str):
        raise SyndiffError(f"{where}: its mask is {shown(text)}, expected a PNG as base64 text. {EXPORT_AGAIN}")
    content = _base64(text, f"{where}: its mask")
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
            if picture.size == size and size[0] * size[1] <= MAX_PIXELS:
                return np.asarray(picture.convert("L")) > 0
            told = f"is {picture.width}x{picture.height} pixels, but its two points span {size[0]}x{size[1]}"
    except Exception:  # damaged bytes make the decoder raise nearly anything
        told = "is no PNG that can be read"
    raise SyndiffError(f"{where}: its mask {told}. {EXPORT_AGAIN}")
