"""COCO's instances: one JSON of images, categories and annotations with polygons or run lengths.

After "Data format" of cocodataset.org. A polygon list is a union of polygons, run lengths go down the columns.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syndiff.data.importing import runs
from syndiff.data.importing.annotations import (
    EXPORT_AGAIN,
    Annotations,
    Drawn,
    Item,
    inside,
    only_file,
    picture_root,
    stated_size,
)
from syndiff.data.importing.settings import ImportSettings
from syndiff.data.importing.shapes import Shape, bitmap, number, polygon, together
from syndiff.data.listing import check_text
from syndiff.documents import check_object, read_object
from syndiff.errors import SyndiffError, shown


def read_coco(source: Path, settings: ImportSettings) -> Annotations:
    """The images of a COCO file, with every annotation that has a segmentation; crowds are taken as their category.

    Raises SyndiffError for a file that is none, ids that stand twice or that nothing has, and names that lead out of
    the folder of the pictures.
    """
    file = only_file(source, ("*.json",), "COCO")
    content = read_object(file, {"images": list, "annotations": list, "categories": list}, mend=EXPORT_AGAIN)
    categories = _categories(file, content["categories"])
    images = _by_id(file, content["images"], {"file_name": str, "width": object, "height": object}, "image")
    names = {key: inside(image["file_name"], f"{file}, image {shown(key)}") for key, image in images.items()}
    root = picture_root(settings.images, file.parent, names.values())
    left: Counter[str] = Counter()
    drawn: dict[Any, list[tuple[str, Any, str]]] = {key: [] for key in images}
    for place, entry in enumerate(content["annotations"]):
        where = f"{file}, annotation {shown(entry.get('id', place) if isinstance(entry, dict) else place)}"
        entry = check_object(where, entry, {"image_id": (int, str), "category_id": (int, str)}, mend=EXPORT_AGAIN)
        if entry["category_id"] not in categories:
            raise SyndiffError(f"{where}: no category has the id {shown(entry['category_id'])}. {EXPORT_AGAIN}")
        if entry["image_id"] not in images:
            left["annotation of an image that the file does not list"] += 1
        elif not entry.get("segmentation"):
            left["annotation without segmentation (a box or key points)"] += 1
        else:
            drawn[entry["image_id"]].append((categories[entry["category_id"]], entry["segmentation"], where))
    used = {label for several in drawn.values() for label, _, _ in several}
    declared = tuple(dict.fromkeys(categories.values()))
    found = Annotations("COCO", [], tuple(label for label in declared if label in used), declared, left)
    for key, image in images.items():
        origin = f"{file}, image {shown(key)} ({names[key]})"
        found.items.append(_item(str(names[key]), root / names[key], origin, image, drawn[key], left))
    crowds = sum(bool(entry.get("iscrowd")) for entry in content["annotations"])
    if crowds:
        found.notes.append(f"{crowds} crowds (iscrowd) are taken as foreground of their category")
    return found


def _categories(file: Path, entries: list[Any]) -> dict[int | str, str]:
    categories = _by_id(file, entries, {"name": str}, "category")
    for category in categories.values():
        check_text(category["name"], f"{file}: the name of a category")
        if not category["name"].strip():
            raise SyndiffError(f"{file}: the category {shown(category['id'])} has an empty name. {EXPORT_AGAIN}")
    return {key: category["name"].strip() for key, category in categories.items()}


def _by_id(file: Path, entries: list[Any], kinds: dict[str, Any], what: str) -> dict[Any, dict[str, Any]]:
    found: dict[Any, dict[str, Any]] = {}
    for place, entry in enumerate(entries):
        where = f"{file}, {what} {place}"
        entry = check_object(where, entry, {"id": (int, str), **kinds}, mend=EXPORT_AGAIN)
        if entry["id"] in found:
            raise SyndiffError(
                f"{where}: the id {shown(entry['id'])} stands twice, so what belongs to it cannot be told."
            )
        found[entry["id"]] = entry
    return found


def _item(
    name: str, image: Path, origin: str, entry: dict[str, Any], drawn: list[tuple[str, Any, str]], left: Counter[str]
) -> Item:
    def draw(height: int, width: int) -> Iterator[Drawn]:
        for label, segmentation, where in drawn:
            shape = _shape(segmentation, where, height, width)
            if shape is None:
                left["polygon of fewer than three points"] += 1
            else:
                yield Drawn(label, shape(height, width))

    return Item(name, image, origin, lambda: stated_size(entry["width"], entry["height"], origin), draw)


def _shape(segmentation: Any, where: str, height: int, width: int) -> Shape | None:
    """What a segmentation draws; None where it has no polygon of three points."""
    if isinstance(segmentation, dict):
        return bitmap(_mask(segmentation, where, height, width), 0, 0)
    if not isinstance(segmentation, list) or not all(isinstance(each, list) for each in segmentation):
        raise SyndiffError(
            f"{where}: its segmentation is {shown(segmentation)}; expected a list of polygons, each x, y, x, y, ..., "
            "or an object with counts and size."
        )
    polygons = [_corners(each, where) for each in segmentation]
    shapes = [polygon(corners) for corners in polygons if len(corners) > 2]
    return together(shapes) if shapes else None


def _corners(values: list[Any], where: str) -> NDArray[np.float64]:
    if len(values) % 2:
        raise SyndiffError(f"{where}: a polygon has {len(values)} numbers, expected pairs of x and y. {EXPORT_AGAIN}")
    return np.array([number(value, where) for value in values], np.float64).reshape(-1, 2)


def _mask(segmentation: dict[str, Any], where: str, height: int, width: int) -> NDArray[np.bool_]:
    check_object(where, segmentation, {"counts": (list, str), "size": list}, mend=EXPORT_AGAIN)
    if segmentation["size"] != [height, width]:
        raise SyndiffError(
            f"{where}: its run lengths are of {shown(segmentation['size'])} (height, width), its image is "
            f"{[height, width]}; {EXPORT_AGAIN[0].lower()}{EXPORT_AGAIN[1:]}"
        )
    counts = segmentation["counts"]
    counts = runs.decompress(counts, where) if isinstance(counts, str) else counts
    return runs.decode(counts, height * width, where).reshape(width, height).T
