"""The dataset folder: pairs of images and masks, and what the user wrote beside them."""

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syndiff.data.listing import Listing, check_near_misses, check_pairs, check_root, check_text, is_text, some
from syndiff.data.readers import StoredMask, distinct, foreground, image_content, read_image, read_stored_mask
from syndiff.data.tables import read_table
from syndiff.documents import WRITTEN_BY_HAND, digest, read_json
from syndiff.errors import SyndiffError, did_you_mean, shown
from syndiff.files import check_regular, sha256

DESCRIPTION_KEYS = frozenset({"images", "size", "groups", "reference", "notes", "description", "source"})
"""Keys of dataset.json that are kept for people: any value is allowed, none is read."""

MAX_NAME = 200
"""Bytes of a dataset's name, which becomes the name of a folder."""

_CLASS_NUMBER = re.compile("0|[1-9][0-9]{0,4}")
_TURNED = ", as after a quarter turn: one of the two bears an EXIF orientation that the other lacks"
_KEYS = frozenset({"name", "modality", "classes", "mask_threshold", "licence"})


@dataclass(frozen=True)
class Case:
    """One image with its mask. `group` is the patient or video it comes from, None when unknown.

    >>> case = syndiff.Dataset.open("my-polyps").cases[0]
    >>> case.image.name == f"{case.id}.png"
    True
    """

    id: str
    image: Path
    mask: Path
    group: str | None = None
    caption: str | None = None


@dataclass(frozen=True)
class Dataset:
    """A folder of `images/<case>.<ext>` and `masks/<case>.<ext>`, opened and found consistent.

    `classes` holds the foreground classes by index (empty when not declared); `mask_threshold` is the grey
    value above which a mask is foreground, None when masks hold 0 and one other value. `modality` and
    `licence` are empty when dataset.json does not give them. `cases` are sorted by id.
    `ignored` are entries of images/ and masks/ that are no readable image files.

    >>> syndiff.Dataset.open("my-polyps").classes
    {1: 'polyp'}
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
    def open(cls, root: Path | str) -> "Dataset":
        """Open a dataset folder: names and tables are checked, no image is decoded.

        >>> dataset = syndiff.Dataset.open("my-polyps")
        >>> image, mask = dataset.load(dataset.cases[0])  # HxWx3 uint8 or uint16, and HxW bool

        Optional beside images/ and masks/: dataset.json (name, modality, classes, mask_threshold, licence),
        groups.csv (`case,group`) and captions.csv (`case,caption`), each naming every case once.

        Names of files and lines of tables that differ only in how Unicode encodes an accent are the same case.

        Raises SyndiffError for a missing folder or image or mask, two files of one name, names that cannot be written
        everywhere, and tables or settings that do not fit or bear almost the right name.
        """
        root = Path(root)
        root = Path(root)
        check_root(root)
        description = _read_description(root / "dataset.json")
        images, masks = Listing.read(root / "images"), Listing.read(root / "masks")
        check_near_misses(root, (images, masks))
        check_pairs(root, images, masks)
        groups = read_table(root / "groups.csv", "group", images.files)
        captions = read_table(root / "captions.csv", "caption", images.files)
        return cls(
            root=root,
            name=description.get("name", root.resolve().name),
            modality=description.get("modality", ""),
            classes=description.get("classes", {}),
            mask_threshold=description.get("mask_threshold"),
            licence=description.get("licence", ""),
            cases=tuple(
                Case(case, images.files[case], masks.files[case], groups.get(case), captions.get(case))
                for case in sorted(images.files)
            ),
            ignored=(*images.others, *masks.others),
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
        return image, self.foreground(case, image, read_stored_mask(case.mask))

    def foreground(self, case: Case, image: NDArray, mask: StoredMask) -> NDArray[np.bool_]:
        """Turn a case's stored `mask` into its foreground (HxW), checked against `image`.

        With a threshold every value is allowed. Without one, 1-bit masks pass, and others may hold 0 and the
        index of the one declared class, or, when no class is declared, 0 and any one other value.

        Raises SyndiffError for another size than the image's, for other values, and where classes are declared but
        the palette's indices are no class numbers.
        """
        values = mask.values
        if values.shape != image.shape[:2]:
            (mask_height, mask_width), (height, width) = values.shape, image.shape[:2]
            turned = (mask_height, mask_width) == (width, height)
            raise SyndiffError(
                f"{case.mask} is {mask_width}x{mask_height} (width x height) but its image {case.image} is "
                f"{width}x{height}{_TURNED if turned else ''}; export the mask at the size of its image."
            )
        if self.classes and mask.renumbered:
            raise SyndiffError(
                f"{case.mask} has a colour palette whose black, the background, is not index 0, so its indices are not "
                f"the class numbers that {self.root / 'dataset.json'} declares; save the mask as grey values: "
                f"{self._expected_values()}."
            )
        if self.mask_threshold is None and values.dtype != np.bool_:
            found = distinct(values)
            allowed = {0, *self.classes} if self.classes else {0, max(found)}
            unexpected = [value for value in found if value not in allowed]
            if unexpected:
                raise SyndiffError(
                    f"{case.mask} holds {some(found)}; expected {self._expected_values()}. "
                    f"Mend the mask, or set mask_threshold in {self.root / 'dataset.json'} (for example 127 "
                    "for values from 0 to 255): greater values are foreground then."
                )
        return foreground(values, self.mask_threshold)

    def _expected_values(self) -> str:
        if self.classes:
            return f"0 and the class {some(self.classes)} that dataset.json declares"
        return "0 for background and one other value for foreground"

    def content(self, case: Case) -> str:
        """What identifies the case's picture, read once: see `image_content`."""
        if case.id not in self.contents:
            self.contents[case.id] = image_content(read_image(case.image))
        return self.contents[case.id]

    @functools.cached_property
    def contents(self) -> dict[str, str]:
        """What `content` gives, by case, for those that were read; whoever decodes every image may fill it."""
        return {}

    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) over what decides on images, masks and groups.

        These are the sorted case ids with the bytes of image and mask and the group, and the settings that say which
        mask values are foreground: mask_threshold and classes.
        """
        rows, classes = sorted(_hashed(self.cases)), sorted(self.classes.items())
        return digest({"cases": rows, "mask_threshold": self.mask_threshold, "classes": classes})

    def fingerprint_of(self, cases: Iterable[Case], captions: Mapping[str, str] | None = None) -> str:
        """SHA-256 (hexadecimal) over all that is read of some cases, in their order: what was made from them.

        Where captions are read too, give those of all cases, by id.
        """
        rows, classes = _hashed(cases), sorted(self.classes.items())
        read: list[Any] = [rows, (self.mask_threshold, classes, self.modality)]
        return digest(read if captions is None else [*read, [captions[row[0]] for row in rows]])


def _hashed(cases: Iterable[Case]) -> list[tuple[str, str, str, str | None]]:
    """Id, hashes of image and mask, and group of each case."""
    return [(case.id, sha256(case.image), sha256(case.mask), case.group) for case in cases]


def _read_description(path: Path) -> dict[str, Any]:
    """Read dataset.json and check it; `classes` comes back by index, background left out."""
    if not path.exists() and not path.is_symlink():
        return {}
    check_regular(path)
    description = read_json(path, mend=WRITTEN_BY_HAND)
    if not isinstance(description, dict):
        raise SyndiffError(
            f'{path} holds {shown(description)}; it must be a JSON object such as {{"name": "my polyps"}}.'
        )
    for key in description.keys() - _KEYS - DESCRIPTION_KEYS:
        raise SyndiffError(
            f"{path}: unknown key {shown(key)}{did_you_mean(key, _KEYS)}; "
            f"settings are {', '.join(sorted(_KEYS))}, free text is {', '.join(sorted(DESCRIPTION_KEYS))}."
        )
    for key in ("name", "modality", "licence"):
        _check_words(path, key, description.get(key, "absent"))
    if len(description.get("name", "").encode()) > MAX_NAME or not description.get("name", "absent").strip():
        raise SyndiffError(
            f"{path}: name is {shown(description['name'])}; expected text of 1 to {MAX_NAME} bytes, since results are "
            "stored under it. Leave name out to take the folder's."
        )
    threshold = description.get("mask_threshold")
    if threshold is not None and (type(threshold) is not int or not 0 <= threshold < 65535):
        raise SyndiffError(
            f"{path}: mask_threshold is {shown(threshold)}; expected a whole number from 0 to 65534, without quotes or "
            "decimal point (mask values above it are foreground), or null."
        )
    classes = _parse_classes(path, description.get("classes", {}))
    if len(classes) > 1 and threshold is None:
        raise SyndiffError(
            f"{path}: declares {len(classes)} foreground classes ({some(classes.values())}) "
            "but this version segments one foreground; "
            "set mask_threshold to 0 to take all classes as one, or declare one class."
        )
    return {**description, "classes": classes}


def _check_words(path: Path, key: str, value: Any) -> None:
    if not isinstance(value, str) or not is_text(value):
        raise SyndiffError(f"{path}: {key} is {shown(value)}; expected text in quotes.")
    check_text(value, f"{path}: {key}")


def _parse_classes(path: Path, classes: Any) -> dict[int, str]:
    if not isinstance(classes, dict) or not all(
        _CLASS_NUMBER.fullmatch(index) and int(index) < 65536 and isinstance(name, str) and name.strip()
        for index, name in classes.items()
    ):
        raise SyndiffError(
            f'{path}: classes is {shown(classes)}; expected names by mask value, such as {{"1": "polyp"}}.'
        )
    return {int(index): name for index, name in classes.items() if int(index) != 0}
