"""Masks as files beside pictures: in a folder of their own or under names with a suffix; several of one picture too."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from syndiff.data.importing.annotations import FOREGROUND, Annotations, Drawn, Item, pictures
from syndiff.data.importing.colours import Colours
from syndiff.data.importing.settings import ImportSettings
from syndiff.data.importing.shapes import Region
from syndiff.data.listing import some
from syndiff.data.readers import distinct, foreground, read_mask_values, read_stored_image
from syndiff.errors import SyndiffError, shown

SMEARED = 127
"""The threshold of black and white masks that were saved as JPEG."""

Owners = dict[PurePosixPath, list[tuple[PurePosixPath, str | None]]]
"""The masks of each picture, with the labels that their suffixes give them."""

_JPEG = b"\xff\xd8\xff"
_USUAL = ("_mask", "_segmentation", "_Segmentation", "_label", "_seg", "_gt", "-mask", ".mask")
_CLEAR = 0.9  # of a JPEG mask's pixels that must be nearly black or nearly white
_FRINGE = 32


def drawn_size(mask: Path) -> tuple[int, int] | None:
    """Width and height of a mask file, read from its header; None where it cannot be read, which `draw` says."""
    try:
        with Image.open(mask) as opened:
            width, height = opened.size
            return (height, width) if opened.getexif().get(0x112) in (5, 6, 7, 8) else (width, height)
    except Exception:  # whatever a damaged header makes Pillow raise
        return None


def whole(pixels: NDArray[np.bool_], file: Path, height: int, width: int) -> Region:
    """Pixels (HxW) of a mask file as they lie in its picture. Raises SyndiffError where sizes differ."""
    if pixels.shape != (height, width):
        raise SyndiffError(
            f"{file} is {pixels.shape[1]}x{pixels.shape[0]} (width x height) but its picture is {width}x{height}; "
            "export the mask at the size of its picture."
        )
    return Region(0, 0, pixels)


def read_masks(source: Path, settings: ImportSettings) -> Annotations:
    """The pictures under `source` with their masks.

    Masks lie in `settings.masks`, in `masks/` beside `images/`, or beside the pictures under names with a suffix.
    `CASE_mask_1.png` beside `CASE_mask.png` is a further mask of the same picture.

    Raises SyndiffError for folders that are not there, masks without picture, and pictures without mask.
    """
    if not source.is_dir():
        raise SyndiffError(f"{source} is no folder; give the folder of the pictures, their masks in it or in --masks.")
    folder, masks = source, settings.masks
    if masks is None and (source / "images").is_dir() and (source / "masks").is_dir():
        folder, masks = source / "images", source / "masks"
    if masks is not None and not masks.is_dir():
        raise SyndiffError(f"--masks {masks} is no folder; give the folder that holds the masks.")
    suffixes = dict(_suffix(text) for text in settings.mask_suffix)
    there = pictures(folder)
    if not there:
        raise SyndiffError(f"{folder} holds no pictures; give the folder that does.")
    if not suffixes and masks is None:
        raise SyndiffError(
            f"{folder}: which files are masks cannot be told; give --mask-suffix{_likely(there)}, or --masks with the "
            "folder that holds them."
        )
    files = there if masks is None else pictures(masks)
    if suffixes:
        owners, others = _masks_of(files, suffixes)
    else:
        owners, others = _named_alike(files, {path.with_suffix("") for path in there}), []
    return _paired(folder, masks or folder, others if masks is None else there, owners, settings, suffixes)


def _suffix(text: str) -> tuple[str, str | None]:
    """A suffix and, after "=", the label of the masks that bear it."""
    suffix, equals, label = text.partition("=")
    if not suffix or (equals and not label.strip()):
        raise SyndiffError(f"--mask-suffix has {shown(text)}; expected a suffix or suffix=label, such as _mask=polyp.")
    return suffix, label.strip() or None


def _likely(there: list[PurePosixPath]) -> str:
    found = [suffix for suffix in _USUAL if any(path.stem.endswith(suffix) for path in there)]
    return f" ({found[0]}, it seems)" if found else ", such as _mask"


def _masks_of(paths: list[PurePosixPath], suffixes: dict[str, str | None]) -> tuple[Owners, list[PurePosixPath]]:
    """The masks of each picture, which is named by its path without extension, with their labels; and all others."""
    owners: Owners = {}
    others = []
    for path in paths:
        for suffix in sorted(suffixes, key=len, reverse=True):
            match = re.fullmatch(f"(.+){re.escape(suffix)}(?:_[0-9]+)?", path.stem, re.DOTALL)
            if match:
                owners.setdefault(path.with_name(match[1]), []).append((path, suffixes[suffix]))
                break
        else:
            others.append(path)
    return owners, others


def _named_alike(paths: list[PurePosixPath], images: set[PurePosixPath]) -> Owners:
    """The masks of each picture where they bear its name, or its name and a number (`CASE_1`)."""
    owners: Owners = {}
    for path in paths:
        whole = path.with_suffix("")
        shorter = path.with_name(re.sub("(?<=.)_[0-9]+$", "", path.stem))
        owners.setdefault(shorter if whole not in images and shorter in images else whole, []).append((path, None))
    return owners


def _paired(
    folder: Path,
    masks: Path,
    images: list[PurePosixPath],
    owners: Owners,
    settings: ImportSettings,
    suffixes: dict[str, str | None],
) -> Annotations:
    colours = Colours.parse(settings.colours) if settings.colours else None
    labels = _labels(settings, colours, suffixes)
    found = Annotations("masks", [], labels)
    bare = [path for path in images if path.with_suffix("") not in owners]
    strays = sorted(owners.keys() - {path.with_suffix("") for path in images})
    if (bare or strays) and not settings.skip:
        one = [f"{len(bare)} pictures without mask: {some(bare)}"] if bare else []
        other = (
            [f"{len(strays)} masks without picture: {some(owners[path][0][0] for path in strays)}"] if strays else []
        )
        raise SyndiffError(
            f"{folder}: {'; '.join(one + other)}. Give --mask-suffix as the names have it, add what is missing, or "
            "leave them out with --skip."
        )
    found.left.update({"picture without mask": len(bare)} if bare else {})
    found.left.update({"mask without picture": len(strays)} if strays else {})
    for path in images:
        files = [(masks / name, label) for name, label in owners.get(path.with_suffix(""), [])]
        if files:
            found.items.append(_item(str(path), folder / path, files, settings, colours, found))
    return found


def _labels(
    settings: ImportSettings, colours: Colours | None, suffixes: dict[str, str | None]
) -> tuple[str, ...] | None:
    """The labels that masks can give, None where any value may stand for one."""
    named = tuple(dict.fromkeys(label for label in suffixes.values() if label))
    if colours is not None:
        return tuple(dict.fromkeys((*colours.labels, *named)))
    if named:
        return (*named, FOREGROUND) if None in suffixes.values() else named
    if settings.threshold is not None or not settings.classes:
        return (FOREGROUND,)
    return None


def _item(
    name: str,
    image: Path,
    files: list[tuple[Path, str | None]],
    settings: ImportSettings,
    colours: Colours | None,
    found: Annotations,
) -> Item:
    by_value = found.labels is None and not _only_foreground(settings)

    def draw(height: int, width: int) -> Iterator[Drawn]:
        for file, label in files:
            for found_label, pixels in read(file, label):
                yield Drawn(found_label, whole(pixels, file, height, width))

    def read(file: Path, label: str | None) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        if colours is not None and label is None:
            samples = read_stored_image(file).samples
            yield from colours.find(samples, file, smeared=_is_jpeg(file), notes=found.notes)
            return
        values = read_mask_values(file)
        if by_value and label is None:
            if _is_jpeg(file):
                raise SyndiffError(f"{file} is a JPEG, which smears the numbers of classes; save the masks as PNG.")
            yield from ((str(int(value)), values == value) for value in distinct(values) if value)
            return
        yield label or FOREGROUND, _binary(file, values, settings.threshold, found)

    return Item(name, image, f"{image.name} with {files[0][0].name}", lambda: drawn_size(files[0][0]), draw)


def _only_foreground(settings: ImportSettings) -> bool:
    """Whether --classes does no more than name what is marked, as in `foreground=polyp`."""
    entries = [entry.strip().partition("=")[0].strip() for entry in settings.classes.split(",")]
    return entries == [FOREGROUND]


def _binary(file: Path, values: NDArray, threshold: int | None, found: Annotations) -> NDArray[np.bool_]:
    """The foreground of a mask: above the threshold, or whatever is not 0 in a mask of two values."""
    if values.dtype == np.bool_ or threshold is not None:
        return foreground(values, threshold)
    several = distinct(values)
    if len([value for value in several if value]) < 2:
        return values > 0
    if _is_jpeg(file) and values.dtype == np.uint8:
        clear = ((values <= _FRINGE) | (values >= 255 - _FRINGE)).mean()
        if clear >= _CLEAR and (values.max() > SMEARED or values.max() <= _FRINGE // 2):
            note = (
                f"masks saved as JPEG have a fringe of greys: above {SMEARED} is foreground (--threshold changes that)"
            )
            if note not in found.notes:
                found.notes.append(note)
            return values > SMEARED
    raise SyndiffError(
        f"{file} holds {some(several)}; expected 0 and one other value. Where the values are classes, name them: "
        "--classes 1=polyp,2=instrument; where they number single lesions, --threshold 0 joins them; where they are "
        "shades of grey, --threshold 127 takes the brighter ones."
    )


def _is_jpeg(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(_JPEG)) == _JPEG
