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
from syndiff.data.readers import (
    StoredMask,
    distinct,
    foreground,
    image_content,
    read_image,
    read_mask,
    read_stored_mask,
    read_stored_pages,
)
from syndiff.data.tables import read_table
from syndiff.data.targets import Targets
from syndiff.documents import WRITTEN_BY_HAND, digest, read_json
from syndiff.errors import SyndiffError, did_you_mean, shown
from syndiff.files import check_regular, sha256

DESCRIPTION_KEYS = frozenset({"images", "size", "groups", "reference", "notes", "description", "source"})
"""Keys of dataset.json that are kept for people: any value is allowed, none is read."""

MAX_NAME = 200
"""Bytes of a dataset's name, which becomes the name of a folder."""

MAX_CLASSES = 32
"""Classes that are told apart: each has a mask of its own in memory."""

_CLASS_NUMBER = re.compile("0|[1-9][0-9]{0,4}")
_TURNED = ", as after a quarter turn: one of the two bears an EXIF orientation that the other lacks"
_KEYS = frozenset({"name", "modality", "classes", "overlap", "mask_threshold", "licence"})


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
    value above which a mask is foreground, None when masks hold 0 and the numbers of classes, or one other value.
    `overlap`: whether classes may overlap, each with a page of its own in a mask. `modality` and `licence` are empty
    when dataset.json does not give them. `cases` are sorted by id. `ignored` are entries of images/ and masks/ that are
    no readable image files.

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
    overlap: bool = False

    @classmethod
    def open(cls, root: Path | str) -> "Dataset":
        """Open a dataset folder: names and tables are checked, no image is decoded.

        >>> dataset = syndiff.Dataset.open("my-polyps")
        >>> image, mask = dataset.load(dataset.cases[0])  # HxWx3 uint8 or uint16, and HxW bool

        Optional beside images/ and masks/: dataset.json (name, modality, classes, overlap, mask_threshold, licence),
        groups.csv (`case,group`) and captions.csv (`case,caption`), each naming every case once.

        Names of files and lines of tables that differ only in how Unicode encodes an accent are the same case.

        Raises SyndiffError for a missing folder or image or mask, two files of one name, names that cannot be written
        everywhere, and tables or settings that do not fit or bear almost the right name.
        """
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
            overlap=description.get("overlap", False),
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

    @functools.cached_property
    def told_apart(self) -> Targets:
        """The classes that a segmenter tells apart, with their numbers; one foreground where a threshold is set."""
        return _told_apart(self.classes, self.mask_threshold, overlap=self.overlap)

    @property
    def targets(self) -> tuple[str, ...]:
        """Their names, in the order of their numbers; of one foreground its class, else "foreground".

        >>> syndiff.Dataset.open("my-polyps").targets
        ('polyp',)
        """
        return self.told_apart.names

    def load(self, case: Case) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], NDArray[np.bool_]]:
        """Read one case: image HxWx3 (`uint8` or `uint16`) and mask HxW (True is foreground, of any class).

        Raises SyndiffError for unreadable files, a mask of another size and unexpected mask values.
        """
        image, masks = self.load_classes(case)
        return image, any_class(masks)

    def load_classes(self, case: Case) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], NDArray[np.bool_]]:
        """As `load`, with masks KxHxW: one for each of `targets`.

        >>> image, masks = dataset.load_classes(dataset.cases[0])
        >>> len(masks) == len(dataset.targets)
        True
        """
        image = read_image(case.image)
        return image, self.class_masks(case, image, self.stored_masks(case))

    def masks_alone(self, case: Case) -> NDArray[np.bool_]:
        """The masks (KxHxW) of `load_classes` without a look at the image; of one foreground no value is refused."""
        if not self.told_apart.several:
            return read_mask(case.mask, self.mask_threshold)[None]
        return self.class_masks(case, None, self.stored_masks(case))

    def stored_masks(self, case: Case) -> tuple[StoredMask, ...]:
        """What a case's mask file holds: one mask, or one for each class where they may overlap."""
        return read_stored_pages(case.mask, self.targets) if self.overlap else (read_stored_mask(case.mask),)

    def class_masks(self, case: Case, image: NDArray | None, stored: tuple[StoredMask, ...]) -> NDArray[np.bool_]:
        """Turn a case's `stored` masks into KxHxW booleans, checked against `image` where one is given.

        With a threshold every value is allowed. Without one, a mask may hold 0 and the numbers of the declared classes,
        or, when no class is declared and on a page of one class, 0 and any one other value; 1-bit masks pass.

        Raises SyndiffError for another size than the image's, for other values, and where classes are declared but
        the palette's indices are no class numbers.
        """
        for mask in stored:
            self._check_size(case, image if image is not None else stored[0].values, mask.values)
        if not self.told_apart.exclusive:
            return np.stack([self._one_class(case, mask, page) for page, mask in enumerate(stored, 1)])
        values = stored[0].values.astype(np.uint8) if stored[0].values.dtype == np.bool_ else stored[0].values
        self._check_values(case, values, renumbered=stored[0].renumbered)
        return values == np.array(self.told_apart.numbers)[:, None, None]

    def _one_class(self, case: Case, mask: StoredMask, page: int) -> NDArray[np.bool_]:
        """Mask (HxW) of the one foreground, or of the class that has this page."""
        values = mask.values
        if self.overlap:
            if values.dtype != np.bool_ and len(found := distinct(values)) > (2 if found[0] == 0 else 1):
                raise SyndiffError(
                    f"{case.mask}, page {page} ({self.targets[page - 1]}) holds {some(found)}; expected 0 for "
                    "background and one other value for this class. Mend the mask."
                )
            return foreground(values, None)
        self._check_values(case, values, renumbered=mask.renumbered)
        return foreground(values, self.mask_threshold)

    def _check_size(self, case: Case, image: NDArray, values: NDArray) -> None:
        if values.shape != image.shape[:2]:
            (mask_height, mask_width), (height, width) = values.shape, image.shape[:2]
            turned = (mask_height, mask_width) == (width, height)
            raise SyndiffError(
                f"{case.mask} is {mask_width}x{mask_height} (width x height) but its image {case.image} is "
                f"{width}x{height}{_TURNED if turned else ''}; export the mask at the size of its image."
            )

    def _check_values(self, case: Case, values: NDArray, *, renumbered: bool) -> None:
        """Raise SyndiffError for values that are neither background nor a class."""
        description = self.root / "dataset.json"
        if self.classes and renumbered:
            raise SyndiffError(
                f"{case.mask} has a colour palette whose black, the background, is not index 0, so its indices are not "
                f"the class numbers that {description} declares; save the mask as grey values: "
                f"{self._expected_values()}."
            )
        if self.mask_threshold is not None or values.dtype == np.bool_:
            return
        found = distinct(values)
        allowed = {0, *self.classes} if self.classes else {0, max(found)}
        if all(value in allowed for value in found):
            return
        if self.told_apart.several:
            raise SyndiffError(
                f"{case.mask} holds {some(found)}; expected {self._expected_values()}. Mend the mask, or name the "
                f"class in {description}. To take all classes as one foreground, set mask_threshold to 0 there."
            )
        raise SyndiffError(
            f"{case.mask} holds {some(found)}; expected {self._expected_values()}. "
            f"Mend the mask, or set mask_threshold in {description} (for example 127 "
            "for values from 0 to 255): greater values are foreground then."
        )

    def _expected_values(self) -> str:
        if self.told_apart.several:
            return f"0 and the numbers of the classes that dataset.json declares ({some(self.told_apart.numbers)})"
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
        mask values are foreground: mask_threshold, classes and overlap.
        """
        rows, classes = sorted(_hashed(self.cases)), sorted(self.classes.items())
        overlap = {"overlap": True} if self.overlap else {}
        return digest({"cases": rows, "mask_threshold": self.mask_threshold, "classes": classes, **overlap})

    def fingerprint_of(self, cases: Iterable[Case], captions: Mapping[str, str] | None = None) -> str:
        """SHA-256 (hexadecimal) over all that is read of some cases, in their order: what was made from them.

        Where captions are read too, give those of all cases, by id.
        """
        rows, classes = _hashed(cases), sorted(self.classes.items())
        read: list[Any] = [rows, (self.mask_threshold, classes, self.modality, *([True] if self.overlap else []))]
        return digest(read if captions is None else [*read, [captions[row[0]] for row in rows]])


def targets_in(root: Path) -> Targets:
    """What `Dataset.told_apart` is of a folder, from its dataset.json alone. Raises SyndiffError for a wrong one."""
    told = _read_description(root / "dataset.json")
    return _told_apart(told.get("classes", {}), told.get("mask_threshold"), overlap=told.get("overlap", False))


def _told_apart(classes: Mapping[int, str], threshold: int | None, *, overlap: bool) -> Targets:
    numbers = sorted(classes)
    if threshold is None and len(numbers) > 1:
        return Targets(tuple(classes[number] for number in numbers), tuple(numbers), overlap)
    return Targets((classes[numbers[0]],)) if len(numbers) == 1 else Targets()


def any_class(masks_khw: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Foreground (HxW) of masks KxHxW: the only one itself, else all of them together."""
    return masks_khw[0] if len(masks_khw) == 1 else np.logical_or.reduce(masks_khw)


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
    _check_several(path, classes, description.get("overlap", False), threshold)
    return {**description, "classes": classes}


def _check_several(path: Path, classes: dict[int, str], overlap: Any, threshold: int | None) -> None:
    """Raise SyndiffError for classes that cannot be told apart, and for an `overlap` that says nothing."""
    if type(overlap) is not bool:
        raise SyndiffError(f"{path}: overlap is {shown(overlap)}; expected true or false, without quotes.")
    if overlap and (len(classes) < 2 or threshold is not None):
        why = f"declares {len(classes)} of them" if len(classes) < 2 else "sets mask_threshold, which makes them one"
        raise SyndiffError(
            f"{path}: overlap is true, which says that two or more classes may overlap, but it {why}. Leave out "
            "overlap, or mend the other."
        )
    if len(classes) < 2 or threshold is not None:
        return
    if len(classes) > MAX_CLASSES:
        raise SyndiffError(
            f"{path}: declares {len(classes)} foreground classes, and {MAX_CLASSES} are told apart at most; leave out "
            "or merge some, or set mask_threshold to 0 to take all as one."
        )
    for number, name in classes.items():
        check_text(name, f"{path}: the class {number}")
        if len(name.encode()) > MAX_NAME or name != name.strip():
            raise SyndiffError(
                f"{path}: the class {number} is called {shown(name)}; expected text of 1 to {MAX_NAME} bytes without "
                "spaces around it, since results are told under it."
            )
        if twice := [other for other, its in classes.items() if its == name and other != number]:
            raise SyndiffError(
                f"{path}: the classes {number} and {twice[0]} are both called {name}; rename one of them."
            )


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
