"""The dataset folder: pairs of images and masks, and what the user wrote beside them."""

import csv
import functools
import hashlib
import io
import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syndiff.data.readers import IMAGE_EXTENSIONS, foreground, image_content, read_image, read_mask_values
from syndiff.documents import read_json
from syndiff.errors import SyndiffError, did_you_mean
from syndiff.files import sha256, write_parts

DESCRIPTION_KEYS = frozenset({"images", "size", "groups", "reference", "notes", "description", "source"})
"""Keys of dataset.json that are kept for people: any value is allowed, none is read."""

_KEYS = frozenset({"name", "modality", "classes", "mask_threshold", "licence"})


@dataclass(frozen=True)
class Case:
    """One image with its mask. `group` is the patient or video it comes from, None when unknown."""

    id: str
    image: Path
    mask: Path
    group: str | None = None
    caption: str | None = None


@dataclass(frozen=True)
class DatasetFolder:
    """A folder of `images/<case>.<ext>` and `masks/<case>.<ext>`, opened and found consistent.

    `classes` holds the foreground classes by index (empty when not declared); `mask_threshold` is the grey
    value above which a mask is foreground, None when masks hold 0 and one other value. `modality` and
    `licence` are empty when dataset.json does not give them. `cases` are sorted by id.
    `ignored` are entries of images/ and masks/ that are no readable image files.
    """

    root: Path
    name: str
    modality: str
    classes: dict[int, str]
    mask_threshold: int | None
    licence: str
    cases: tuple[Case, ...]
    ignored: tuple[Path, ...] = ()

    @classmethod
    def open(cls, root: Path) -> "DatasetFolder":
        """Open a dataset folder: names and tables are checked, no image is decoded.

        Optional beside images/ and masks/: dataset.json (name, modality, classes, mask_threshold, licence),
        groups.csv (`case,group`) and captions.csv (`case,caption`), each naming every case once.

        Raises SyndiffError for a missing folder or image or mask, two files of one name, and tables or
        settings that do not fit.
        """
        root = Path(root)
        if not root.is_dir():
            found = "is a file" if root.exists() else "does not exist"
            raise SyndiffError(f"The dataset folder {root} {found}; give a folder that holds images/ and masks/.")
        description = _read_description(root / "dataset.json")
        images, ignored_images = _files(root / "images")
        masks, ignored_masks = _files(root / "masks")
        _check_pairs(root, images, masks)
        groups = _read_table(root / "groups.csv", "group", images.keys())
        captions = _read_table(root / "captions.csv", "caption", images.keys())
        return cls(
            root=root,
            name=description.get("name", root.resolve().name),
            modality=description.get("modality", ""),
            classes=description.get("classes", {}),
            mask_threshold=description.get("mask_threshold"),
            licence=description.get("licence", ""),
            cases=tuple(
                Case(case, images[case], masks[case], groups.get(case), captions.get(case)) for case in sorted(images)
            ),
            ignored=(*ignored_images, *ignored_masks),
        )

    @property
    def has_groups(self) -> bool:
        """Whether every case names the patient or video it comes from."""
        return all(case.group is not None for case in self.cases)

    @functools.cached_property
    def _by_id(self) -> dict[str, Case]:
        return {case.id: case for case in self.cases}

    def __getitem__(self, case_id: str) -> Case:
        """Look up a case by its id; an unknown one is a SyndiffError."""
        if case_id not in self._by_id:
            raise SyndiffError(f"{self.root} has no case {case_id!r}{did_you_mean(case_id, self._by_id)}.")
        return self._by_id[case_id]

    def load(self, case: Case) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], NDArray[np.bool_]]:
        """Read one case: image HxWx3 (`uint8` or `uint16`) and mask HxW (True is foreground).

        Raises SyndiffError for unreadable files, a mask of another size and unexpected mask values.
        """
        image = read_image(case.image)
        return image, self.foreground(case, image, read_mask_values(case.mask))

    def foreground(self, case: Case, image: NDArray, values: NDArray) -> NDArray[np.bool_]:
        """Turn the stored `values` (HxW) of a case's mask into its foreground, checked against `image`.

        With a threshold every value is allowed. Without one, 1-bit masks pass, and others may hold 0 and the
        index of the one declared class, or, when no class is declared, 0 and any one other value.

        Raises SyndiffError for another size than the image's and for other values.
        """
        if values.shape != image.shape[:2]:
            (mask_height, mask_width), (height, width) = values.shape, image.shape[:2]
            raise SyndiffError(
                f"{case.mask} is {mask_width}x{mask_height} (width x height) but its image {case.image} is "
                f"{width}x{height}; export the mask at the size of its image."
            )
        if self.mask_threshold is None and values.dtype != np.bool_:
            found = np.unique(values).tolist()
            allowed = {0, *self.classes} if self.classes else {0, max(found)}
            unexpected = [value for value in found if value not in allowed]
            if unexpected:
                raise SyndiffError(
                    f"{case.mask} holds {_some(found)}; expected {self._expected_values()}. "
                    f"Mend the mask, or set mask_threshold in {self.root / 'dataset.json'} (for example 127 "
                    "for values from 0 to 255): greater values are foreground then."
                )
        return foreground(values, self.mask_threshold)

    def _expected_values(self) -> str:
        if self.classes:
            return f"0 and the class {_some(self.classes)} that dataset.json declares"
        return "0 for background and one other value for foreground"

    def content(self, case: Case) -> str:
        """What identifies the case's picture, read once: see `image_content`."""
        if case.id not in self._contents:
            self._contents[case.id] = image_content(read_image(case.image))
        return self._contents[case.id]

    @functools.cached_property
    def _contents(self) -> dict[str, str]:
        return {}

    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) over the sorted case ids with the bytes of image and mask, and the group."""
        rows = [(case.id, sha256(case.image), sha256(case.mask), case.group) for case in self.cases]
        return hashlib.sha256(json.dumps(sorted(rows)).encode()).hexdigest()


def _files(folder: Path) -> tuple[dict[str, Path], list[Path]]:
    """Readable images of a folder by stem, and the other entries. Hidden files do not count."""
    if not folder.is_dir():
        raise SyndiffError(
            f"{folder.parent} has no {folder.name}/ folder; a dataset is images/<case>.png beside masks/<case>.png."
        )
    files: dict[str, Path] = {}
    ignored: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() or path.suffix.lower() not in IMAGE_EXTENSIONS:
            ignored.append(path)
        elif path.stem in files:
            raise SyndiffError(
                f"{files[path.stem]} and {path} are two files for the case {path.stem!r}; keep one or rename it."
            )
        else:
            files[path.stem] = path
    return files, ignored


def _check_pairs(root: Path, images: dict[str, Path], masks: dict[str, Path]) -> None:
    if not images:
        raise SyndiffError(
            f"{root / 'images'} holds no images; expected files that end in {', '.join(sorted(IMAGE_EXTENSIONS))}."
        )
    for present, folder, other in ((images, "masks", masks), (masks, "images", images)):
        alone = sorted(present.keys() - other.keys())
        if alone:
            what, missing = ("image", "mask") if folder == "masks" else ("mask", "image")
            raise SyndiffError(
                f"{root}: {len(alone)} {what}(s) without {missing}: {_some(alone)}. "
                f"Put the {missing} of the same name into {root / folder} or remove the {what}."
            )


def _read_table(path: Path, column: str, cases: Iterable[str]) -> dict[str, str]:
    """Read a `case,<column>` CSV that names every case once; empty when the file is absent."""
    if not path.exists():
        return {}
    table: dict[str, str] = {}
    known = set(cases)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets write the mark
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            if header != ["case", column]:
                raise SyndiffError(f"{path} starts with {','.join(header)!r}; its first line must be case,{column}.")
            for row in reader:
                if not row:
                    continue
                where = f"{path}, line {reader.line_num}"
                if len(row) != 2 or not all(field.strip() for field in row):
                    raise SyndiffError(
                        f"{where}: found {','.join(row)!r}; expected a case and its {column} "
                        "(in quotes when it holds a comma)."
                    )
                case, value = (field.strip() for field in row)
                if case not in known:
                    raise SyndiffError(
                        f"{where}: case {case!r} has no image{did_you_mean(case, known)}; "
                        "remove the line or write the image's file name without its extension."
                    )
                if case in table:
                    raise SyndiffError(f"{where}: case {case!r} is listed twice; keep one line.")
                table[case] = value
    except (UnicodeDecodeError, csv.Error) as error:
        raise SyndiffError(f"{path} is no UTF-8 CSV file ({error}); save it as CSV in UTF-8.") from None
    absent = sorted(known - table.keys())
    if absent:
        raise SyndiffError(
            f"{path} does not list {len(absent)} case(s): {_some(absent)}. Add a {column} for each or delete the file."
        )
    return table


def write_table(path: Path, column: str, rows: Iterable[tuple[str, str | None]]) -> None:
    """Write a `case,<column>` CSV atomically, as `DatasetFolder.open` reads it; rows are written as they come."""
    write_parts(path, (_csv_row(row) for row in itertools.chain([("case", column)], rows)))


def _csv_row(row: tuple[str, str | None]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(row)
    return line.getvalue().encode()


def _read_description(path: Path) -> dict[str, Any]:
    """Read dataset.json and check it; `classes` comes back by index, background left out."""
    if not path.exists():
        return {}
    content = read_json(path)
    if not isinstance(content, dict):
        raise SyndiffError(f'{path} must be a JSON object such as {{"name": "my polyps"}}.')
    for key in content.keys() - _KEYS - DESCRIPTION_KEYS:
        raise SyndiffError(
            f"{path}: unknown key {key!r}{did_you_mean(key, _KEYS)}; "
            f"settings are {', '.join(sorted(_KEYS))}, free text is {', '.join(sorted(DESCRIPTION_KEYS))}."
        )
    for key in ("name", "modality", "licence"):
        if not isinstance(content.get(key, ""), str):
            raise SyndiffError(f"{path}: {key} is {json.dumps(content[key])}; expected text in quotes.")
    threshold = content.get("mask_threshold")
    if threshold is not None and (type(threshold) is not int or not 0 <= threshold < 65535):
        raise SyndiffError(
            f"{path}: mask_threshold is {json.dumps(threshold)}; "
            "expected a whole number from 0 to 65534 (mask values above it are foreground) or null."
        )
    classes = _parse_classes(path, content.get("classes", {}))
    if len(classes) > 1 and threshold is None:
        raise SyndiffError(
            f"{path}: declares {len(classes)} foreground classes ({_some(classes.values())}) "
            "but this version segments one foreground; "
            "set mask_threshold to 0 to take all classes as one, or declare one class."
        )
    return {**content, "classes": classes}


def _parse_classes(path: Path, classes: Any) -> dict[int, str]:
    if not isinstance(classes, dict) or not all(
        index.isascii() and index.isdigit() and int(index) < 65536 and isinstance(name, str)
        for index, name in classes.items()
    ):
        raise SyndiffError(
            f'{path}: classes is {json.dumps(classes)}; expected names by mask value, such as {{"1": "polyp"}}.'
        )
    return {int(index): name for index, name in classes.items() if int(index) != 0}


def _some(items: Iterable[Any], limit: int = 5) -> str:
    """The first few of many, readable."""
    listed = [str(item) for item in items]
    return ", ".join(listed[:limit]) + (f", ... ({len(listed)} in all)" if len(listed) > limit else "")
