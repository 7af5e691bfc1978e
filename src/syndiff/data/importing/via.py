"""VGG Image Annotator (VIA) 2: a project or its annotations as JSON, or the annotations as CSV.

After the files that VIA 2.0 saves: `_via_img_metadata` with `filename`, `size` (bytes) and `regions`, each with
`shape_attributes` and `region_attributes`. The CSV has the same, a region a line. `theta` of an ellipse is in radians,
clockwise. VIA states no width and height.
"""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syndiff.data.importing.annotations import (
    EXPORT_AGAIN,
    FOREGROUND,
    Annotations,
    inside,
    only_file,
    picture_root,
    shape_item,
)
from syndiff.data.importing.settings import ImportSettings
from syndiff.data.importing.shapes import Shape, ellipse, number, points, polygon, rectangle
from syndiff.data.listing import check_text, natural
from syndiff.documents import check_object, read_json, read_text
from syndiff.errors import SyndiffError, did_you_mean, shown

_COLUMNS = ("filename", "region_shape_attributes", "region_attributes")
_NO_AREA = ("point", "polyline", "line")


@dataclass
class _Picture:
    """A file name, its bytes as VIA counted them, and its regions: shape and attributes, with their place."""

    name: str
    size: Any
    regions: list[tuple[dict[str, Any], dict[str, Any], str]] = field(default_factory=list)


def read_via(source: Path, settings: ImportSettings) -> Annotations:
    """The pictures of a file of VIA 2. The label of a region is one of its attributes, `settings.label_attribute`.

    It may be left out where regions have one attribute, or none. A region whose attribute is a list of boxes to tick
    has every label that is ticked. Raises SyndiffError for files of VIA 3, regions without the attribute, and shapes
    without sense.
    """
    file = only_file(source, ("*.json", "*.csv"), "VIA")
    options: dict[str, list[str]] = {}
    read = _from_csv(file) if file.suffix.lower() == ".csv" else _from_json(file, options)
    names = [inside(picture.name, str(file)) for picture in read]
    root = picture_root(settings.images, file.parent, names)
    attribute = _attribute(file, settings.label_attribute, read)
    left: Counter[str] = Counter()
    found = Annotations("VIA", [], (), tuple(options.get(attribute or "", ())), left)
    used: set[str] = set()
    other_size = 0
    for name, picture in zip(names, read, strict=True):
        shapes = []
        for shape, attributes, where in picture.regions:
            drawn = _shape(shape, where, left)
            labels = [FOREGROUND] if attribute is None else _labels(attributes, attribute, where)
            used.update(labels if drawn else ())
            shapes += [(label, drawn) for label in labels if drawn]
        path = root / name
        other_size += path.is_file() and type(picture.size) is int and picture.size not in (-1, path.stat().st_size)
        found.items.append(shape_item(str(name), path, f"{file}, {name}", None, shapes))
    if other_size:
        found.notes.append(
            f"{other_size} pictures have another size in bytes than VIA saw: look whether they are the same"
        )
    known = [label for label in found.declared if label in used]
    labels_used = (*known, *sorted(used.difference(known), key=natural))
    return Annotations(found.tool, found.items, labels_used, found.declared, left, found.notes)


def _from_json(file: Path, declared: dict[str, list[str]]) -> list[_Picture]:
    """The pictures of a JSON; `declared` takes the choices of a project for each attribute of regions."""
    content = check_object(file, read_json(file, mend=EXPORT_AGAIN), {}, mend=EXPORT_AGAIN)
    if "metadata" in content and "project" in content:
        raise SyndiffError(f"{file} is a project of VIA 3, which is not read; export it as VIA 2 JSON or COCO.")
    if "_via_img_metadata" in content:
        for name, described in _dictionary(_dictionary(content.get("_via_attributes")).get("region")).items():
            options = _dictionary(_dictionary(described).get("options"))
            declared[name] = [option for option in options if option.strip()]
        content = check_object(file, content["_via_img_metadata"], {}, mend=EXPORT_AGAIN)
    pictures = []
    for key, entry in content.items():
        where = f"{file}, {shown(key)}"
        check_object(where, entry, {"filename": str, "regions": (list, dict)}, mend=EXPORT_AGAIN)
        several = entry["regions"].values() if isinstance(entry["regions"], dict) else entry["regions"]
        picture = _Picture(entry["filename"], entry.get("size"))
        for place, region in enumerate(several, 1):
            told = f"{file}, {entry['filename']}, region {place}"
            check_object(told, region, {"shape_attributes": dict, "region_attributes": dict}, mend=EXPORT_AGAIN)
            picture.regions.append((region["shape_attributes"], region["region_attributes"], told))
        pictures.append(picture)
    if not pictures:
        raise SyndiffError(f"{file} holds no pictures; save the project or its annotations from VIA 2.")
    return pictures


def _dictionary(value: Any) -> dict[str, Any]:
    """What is optional: the object, or an empty one."""
    return value if isinstance(value, dict) else {}


def _from_csv(file: Path) -> list[_Picture]:
    text = read_text(file, mend="Export it again from VIA, as CSV in UTF-8.")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    pictures: dict[str, _Picture] = {}
    try:
        header = [name.strip().lstrip("#") for name in next(reader, [])]
        if not set(_COLUMNS) <= set(header):
            raise SyndiffError(
                f"{file} starts with {shown(','.join(header))}; expected the columns of VIA's CSV, "
                f"{', '.join(_COLUMNS)}."
            )
        for row in filter(None, reader):
            where = f"{file}, line {reader.line_num}"
            if len(row) != len(header):
                raise SyndiffError(f"{where}: has {len(row)} columns, expected {len(header)}. {EXPORT_AGAIN}")
            line = dict(zip(header, row, strict=True))
            size = line.get("file_size", "")
            known = int(size) if size.isdecimal() and len(size) < 15 else None
            picture = pictures.setdefault(line["filename"], _Picture(line["filename"], known))
            shape, attributes = (_object(line[name], where) for name in _COLUMNS[1:])
            if shape:
                picture.regions.append((shape, attributes, where))
    except csv.Error as error:
        raise SyndiffError(f"{file}, line {reader.line_num}: {error}. {EXPORT_AGAIN}") from None
    return list(pictures.values())


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        return check_object(where, json.loads(text or "{}"), {}, mend=EXPORT_AGAIN)
    except (ValueError, RecursionError) as error:
        if isinstance(error, SyndiffError):
            raise
        raise SyndiffError(f"{where}: {shown(text)} is no JSON object. {EXPORT_AGAIN}") from None


def _attribute(file: Path, wanted: str, read: list[_Picture]) -> str | None:
    """The attribute whose value is the label; None where regions have none at all."""
    names = dict.fromkeys(name for picture in read for _, attributes, _ in picture.regions for name in attributes)
    if wanted and wanted not in names:
        there = f"; there are {', '.join(names)}" if names else "; regions have none"
        raise SyndiffError(f"{file}: no region has the attribute {wanted!r}{did_you_mean(wanted, names)}{there}.")
    if not wanted and len(names) > 1:
        raise SyndiffError(
            f"{file}: regions have the attributes {', '.join(names)}, and which one is the label cannot be told; name "
            "it with --label-attribute."
        )
    return wanted or next(iter(names), None)


def _labels(attributes: dict[str, Any], attribute: str, where: str) -> list[str]:
    value = attributes.get(attribute)
    ticked = [name for name, set_ in value.items() if set_] if isinstance(value, dict) else [value]
    labels = [label.strip() for label in ticked if isinstance(label, str) and label.strip()]
    if len(labels) != len(ticked) or not labels:
        raise SyndiffError(f"{where}: its {attribute} is {shown(value)}, expected a label; give it one in VIA.")
    for label in labels:
        check_text(label, f"{where}: its {attribute}")
    return labels


def _shape(values: dict[str, Any], where: str, left: Counter[str]) -> Shape | None:
    """What a region draws; None, counted in `left`, for what has no area."""
    kind = values.get("name")
    if kind in _NO_AREA:
        left[f"{kind}, which has no area"] += 1
        return None
    if kind == "polygon":
        xs, ys = (values.get(name) for name in ("all_points_x", "all_points_y"))
        if not isinstance(xs, list) or not isinstance(ys, list) or len(xs) != len(ys):
            raise SyndiffError(f"{where}: a polygon must have as many all_points_x as all_points_y. {EXPORT_AGAIN}")
        if len(xs) < 3:
            left["polygon of fewer than three points"] += 1
            return None
        return polygon(points(zip(xs, ys, strict=True), where))
    if kind == "rect":
        x, y, width, height = _numbers(values, where, "x", "y", "width", "height")
        return rectangle((x, y), (x + width, y + height))
    if kind == "circle":
        x, y, radius = _numbers(values, where, "cx", "cy", "r")
        return ellipse((x, y), (radius, radius))
    if kind == "ellipse":
        x, y, a, b = _numbers(values, where, "cx", "cy", "rx", "ry")
        return ellipse((x, y), (a, b), math.degrees(number(values.get("theta", 0), f"{where}: theta")))
    raise SyndiffError(
        f"{where}: its shape is {shown(kind)}, expected polygon, rect, circle or ellipse. {EXPORT_AGAIN}"
    )


def _numbers(values: dict[str, Any], where: str, *names: str) -> Iterator[float]:
    for name in names:
        if name not in values:
            raise SyndiffError(f"{where}: a {values.get('name')} lacks {name}. {EXPORT_AGAIN}")
        yield number(values[name], f"{where}: {name}")
