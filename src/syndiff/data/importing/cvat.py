"""CVAT for images 1.1: one XML with an `image` element for each picture, and its shapes within.

After "XML annotation format" of docs.cvat.ai. Shapes are drawn by `z_order`, then in the order of the file. `rotation`
is in degrees, clockwise. Run lengths of a mask go along the rows of its box, background first. The parser is expat,
which reads nothing from outside; a document type, which could define entities, is refused.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

from syndiff.data.decoding import MAX_PIXELS
from syndiff.data.importing import runs
from syndiff.data.importing.annotations import (
    EXPORT_AGAIN,
    Annotations,
    inside,
    only_file,
    picture_root,
    shape_item,
    stated_size,
)
from syndiff.data.importing.settings import ImportSettings
from syndiff.data.importing.shapes import Region, Shape, bitmap, ellipse, number, points, polygon, rectangle
from syndiff.data.listing import check_text
from syndiff.errors import SyndiffError, shown
from syndiff.files import check_regular

MAX_DEPTH = 50
"""Levels of elements; CVAT writes seven."""

_AREAS = ("polygon", "box", "ellipse", "mask")
_NO_AREA = ("polyline", "points", "cuboid", "skeleton", "tag")
_FOR_VIDEO = "is of CVAT for video; export the task as 'CVAT for images 1.1'"


@dataclass
class _Picture:
    """The attributes of an `image` element, and the name and attributes of each shape in it."""

    attributes: dict[str, str]
    shapes: list[tuple[str, dict[str, str]]] = field(default_factory=list)


def read_cvat(source: Path, settings: ImportSettings) -> Annotations:
    """The pictures of an XML of CVAT, or of the folder that an export was unpacked to.

    Raises SyndiffError for XML that is damaged, of CVAT for video or of something else, and for shapes without sense.
    """
    file = only_file(source, ("*.xml",), "CVAT", "annotations.xml")
    read, declared = _parse(file)
    names = [inside(picture.attributes.get("name"), f"{file}, image {place}") for place, picture in enumerate(read)]
    subsets = {picture.attributes.get("subset", "") for picture in read} - {""}
    folders = [f"images/{subset}" for subset in sorted(subsets) if inside(subset, str(file)).name == subset]
    root = picture_root(settings.images, file.parent, names, *(folders if len(folders) == 1 else ()))
    left: Counter[str] = Counter()
    found = Annotations("CVAT", [], (), tuple(dict.fromkeys(declared)), left)
    used: dict[str, None] = {}
    for name, picture in zip(names, read, strict=True):
        origin = f"{file}, image {name}"
        size = stated_size(picture.attributes.get("width"), picture.attributes.get("height"), origin)
        shapes = [shape for kind, values in _ordered(picture, origin) if (shape := _shape(kind, values, origin, left))]
        used.update(dict.fromkeys(label for label, _ in shapes))
        found.items.append(shape_item(str(name), root / name, origin, size, shapes))
    labels = (
        *(label for label in found.declared if label in used),
        *(label for label in used if label not in declared),
    )
    return Annotations(found.tool, found.items, labels, found.declared, left)


def _parse(file: Path) -> tuple[list[_Picture], list[str]]:
    """The pictures of a file, and the labels that its task declares."""
    check_regular(file)
    pictures: list[_Picture] = []
    labels: list[str] = []
    path: list[str] = []
    text: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        path.append(name)
        text.clear()
        if len(path) > MAX_DEPTH:
            raise SyndiffError(
                f"{file} is nested more than {MAX_DEPTH} levels deep, as CVAT never does. {EXPORT_AGAIN}"
            )
        if name == "track":
            raise SyndiffError(f"{file} {_FOR_VIDEO}.")
        if path == ["annotations", "image"]:
            pictures.append(_Picture(attributes))
        elif path[:-1] == ["annotations", "image"]:
            pictures[-1].shapes.append((name, attributes))

    def end(name: str) -> None:
        if path[-3:] == ["labels", "label", "name"]:
            labels.append("".join(text).strip())
        path.pop()

    def refuse(*_: Any) -> None:
        raise SyndiffError(f"{file} has a document type (<!DOCTYPE ...>), which CVAT writes none of. {EXPORT_AGAIN}")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = text.append
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        with file.open("rb") as opened:
            parser.ParseFile(opened)
    except SyndiffError:
        raise
    except (expat.ExpatError, LookupError, ValueError) as error:  # the latter two of encodings that are not known
        raise SyndiffError(f"{file} is no valid XML ({error}). {EXPORT_AGAIN}") from None
    if not pictures:
        raise SyndiffError(
            f"{file} holds no pictures; expected <annotations> with <image> elements, as CVAT writes them."
        )
    return pictures, labels


def _ordered(picture: _Picture, origin: str) -> list[tuple[str, dict[str, str]]]:
    return sorted(picture.shapes, key=lambda shape: number(shape[1].get("z_order", "0"), f"{origin}: z_order"))


def _shape(kind: str, values: dict[str, str], origin: str, left: Counter[str]) -> tuple[str, Shape] | None:
    """The label and what is drawn; None, counted in `left`, for what has no area."""
    if kind not in _AREAS:
        left[f"{kind}, which has no area" if kind in _NO_AREA else f"{kind}, which is not known"] += 1
        return None
    label = values.get("label", "").strip()
    where = f"{origin}, {kind} {label}"
    if not label:
        raise SyndiffError(f"{where}has no label. {EXPORT_AGAIN}")
    check_text(label, f"{origin}: a label")
    if kind == "polygon":
        corners = points((pair.split(",") for pair in values.get("points", "").split(";")), where)
        if len(corners) < 3:
            left["polygon of fewer than three points"] += 1
            return None
        return label, polygon(corners)
    turn = number(values.get("rotation", "0"), f"{where}: rotation")
    if kind == "box":
        xtl, ytl, xbr, ybr = _numbers(values, where, "xtl", "ytl", "xbr", "ybr")
        return label, rectangle((xtl, ytl), (xbr, ybr), turn)
    if kind == "ellipse":
        cx, cy, rx, ry = _numbers(values, where, "cx", "cy", "rx", "ry")
        return label, ellipse((cx, cy), (rx, ry), turn)
    return label, _mask(values, where)


def _numbers(values: dict[str, str], where: str, *names: str) -> list[float]:
    absent = [name for name in names if name not in values]
    if absent:
        raise SyndiffError(f"{where}: lacks {', '.join(absent)}. {EXPORT_AGAIN}")
    return [number(values[name], f"{where}: {name}") for name in names]


def _mask(values: dict[str, str], where: str) -> Shape:
    left, top, width, height = (int(value) for value in _numbers(values, where, "left", "top", "width", "height"))
    texts = [text.strip() for text in values.get("rle", "").split(",")]
    if width < 1 or height < 1 or not all(text.isdecimal() and len(text) < 12 for text in texts):
        raise SyndiffError(
            f"{where}: its rle is {shown(values.get('rle'))} with a box of {width}x{height}; expected whole numbers "
            f"with commas, and a box of a pixel at least. {EXPORT_AGAIN}"
        )
    if width * height > MAX_PIXELS:
        raise SyndiffError(
            f"{where}: its box of {width}x{height} has more than {MAX_PIXELS:,} pixels, the most that is read. "
            f"{EXPORT_AGAIN}"
        )

    def draw(rows: int, columns: int) -> Region:
        pixels = runs.decode(list(map(int, texts)), width * height, where)
        return bitmap(pixels.reshape(height, width), top, left)(rows, columns)

    return draw
