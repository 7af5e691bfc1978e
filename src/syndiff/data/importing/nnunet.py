"""nnU-Net's raw layout (version 2): imagesTr/CASE_0000.png, labelsTr/CASE.png, and dataset.json with the labels.

After documentation/dataset_format.md and region_based_training.md of nnU-Net. Two-dimensional pictures only.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from syndiff.data.importing.annotations import Annotations, Drawn, Item
from syndiff.data.importing.masks import drawn_size, whole
from syndiff.data.importing.settings import ImportSettings
from syndiff.data.listing import check_text, some
from syndiff.data.readers import IMAGE_EXTENSIONS, distinct, read_mask_values
from syndiff.documents import read_object
from syndiff.errors import SyndiffError, shown

_CHANNEL = re.compile(r"(.+)_([0-9]{4})")
_BACKGROUND, _IGNORE = "background", "ignore"
_MEND = "It must be as nnU-Net 2 asks for it: labels, file_ending and channel_names."


def read_nnunet(source: Path, settings: ImportSettings) -> Annotations:
    """The training cases of a raw dataset. Labels keep their order; regions (lists of values) may overlap.

    Raises SyndiffError for volumes, the layout of version 1, cases of another number of channels than one or three, and
    pictures and labels that do not go together.
    """
    description = _description(source / "dataset.json")
    values, ignore = _labels(source / "dataset.json", description["labels"])
    ending = description["file_ending"]
    channels = len(description["channel_names"])
    images = _images(source / "imagesTr", ending)
    labels = {path.name.removesuffix(ending): path for path in _files(source / "labelsTr", ending)}
    found = Annotations("nnU-Net", [], tuple(values), description=_for_people(description))
    for case, files in images.items():
        if case not in labels:
            what = f"{files[0]} has no {source / 'labelsTr' / (case + ending)}"
            if not settings.skip:
                raise SyndiffError(f"{what}; put it there, remove the picture, or leave such cases out with --skip.")
            found.left["picture without its file in labelsTr"] += 1
            continue
        if channels not in (1, 3) or len(files) not in (1, channels):
            raise SyndiffError(
                f"{files[0]}: the case {case!r} has {len(files)} channels and dataset.json names {channels}; one file "
                "(grey, or natural colours) or three are read, which become red, green and blue. Choose one or three."
            )
        found.items.append(_item(case, files, labels[case], values, ignore, settings))
    for case in sorted(labels.keys() - images.keys()):
        raise SyndiffError(f"{labels[case]} has no picture {case}_0000{ending} in imagesTr; put it there or remove it.")
    unused = len(list((source / "imagesTs").glob(f"*{ending}"))) if (source / "imagesTs").is_dir() else 0
    found.left.update({"file in imagesTs, whose labels nnU-Net does not know": unused} if unused else {})
    if description.get("numTraining", len(images)) != len(images):
        found.notes.append(
            f"dataset.json says {shown(description['numTraining'])} training cases, {len(images)} are there"
        )
    if channels == 3 and len(next(iter(images.values()), ())) == 3:
        names = ", ".join(str(name) for name in description["channel_names"].values())
        found.notes.append(f"the three channels ({names}) of each case became red, green and blue of one picture")
    return found


def _description(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise SyndiffError(
            f"{path} does not exist; give the folder of a raw nnU-Net dataset, such as Dataset101_Polyps."
        )
    description = read_object(path, {"labels": dict}, mend=_MEND)
    if "modality" in description and "channel_names" not in description:
        raise SyndiffError(
            f"{path} has the layout of nnU-Net 1; convert it with nnUNetv2_convert_old_nnUNet_dataset, then import it."
        )
    if "dataset" in description:
        raise SyndiffError(
            f"{path} names its files one by one (key 'dataset'), which is not read; put them into imagesTr and "
            "labelsTr."
        )
    description = read_object(path, {"labels": dict, "file_ending": str, "channel_names": dict}, mend=_MEND)
    ending = description["file_ending"]
    if ending.lower() not in IMAGE_EXTENSIONS:
        raise SyndiffError(
            f"{path}: file_ending is {shown(ending)}. Volumes are not taken, pictures are: save each slice as PNG, its "
            f"label too, and set file_ending to .png. Known are {', '.join(sorted(IMAGE_EXTENSIONS))}."
        )
    return description


def _labels(path: Path, labels: dict[str, Any]) -> tuple[dict[str, list[int]], int | None]:
    """The values of each label, background left out, and the value of pixels that are to be ignored."""
    values: dict[str, list[int]] = {}
    for name, value in labels.items():
        check_text(name, f"{path}: a label")
        several = value if isinstance(value, list) else [value]
        if not several or not all(type(each) is int and 0 <= each < 65536 for each in several):
            if name.isdecimal() and isinstance(value, str):
                raise SyndiffError(
                    f'{path}: labels is written as in nnU-Net 1; expected {{"{value}": {name}}}. {_MEND}'
                )
            raise SyndiffError(
                f"{path}: the label {name!r} is {shown(value)}, expected a whole number or a list of them."
            )
        values[name] = several
    if values.pop(_BACKGROUND, [0]) != [0] or any(0 in several for several in values.values()):
        raise SyndiffError(f"{path}: labels must have background as 0, and nothing else there. {_MEND}")
    ignore = values.pop(_IGNORE, None)
    if not values:
        raise SyndiffError(f"{path}: labels names nothing but background. {_MEND}")
    return values, ignore[0] if ignore else None


def _files(folder: Path, ending: str) -> list[Path]:
    if not folder.is_dir():
        raise SyndiffError(f"{folder} does not exist; a raw nnU-Net dataset has imagesTr, labelsTr and dataset.json.")
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    taken = [path for path in files if path.name.endswith(ending)]
    if not taken:
        there = f" It holds {some(path.name for path in files)}." if files else ""
        raise SyndiffError(f"{folder} holds no file that ends in {ending}, the file_ending of dataset.json.{there}")
    return taken


def _images(folder: Path, ending: str) -> dict[str, tuple[Path, ...]]:
    """The files of each case, in the order of the channels."""
    images: dict[str, list[Path]] = {}
    for path in _files(folder, ending):
        parts = _CHANNEL.fullmatch(path.name.removesuffix(ending))
        if not parts or int(parts[2]) != len(images.setdefault(parts[1], [])):
            raise SyndiffError(
                f"{path}: expected a name such as CASE_0000{ending}, with all channels from 0000 on; rename it or add "
                "the missing channel."
            )
        images[parts[1]].append(path)
    return {case: tuple(files) for case, files in images.items()}


def _item(
    case: str,
    files: tuple[Path, ...],
    mask: Path,
    labels: dict[str, list[int]],
    ignore: int | None,
    settings: ImportSettings,
) -> Item:
    known = {0, *(value for several in labels.values() for value in several), *([] if ignore is None else [ignore])}

    def draw(height: int, width: int) -> Iterator[Drawn]:
        values = read_mask_values(mask)
        if values.dtype == np.bool_:
            values = values.astype(np.uint8)
        found = distinct(values)
        strange = [value for value in found if value not in known]
        if strange:
            raise SyndiffError(
                f"{mask} holds {some(strange)}, which is no value of a label in dataset.json ({some(sorted(known))}); "
                "mend the mask or add the label."
            )
        if ignore in found and not settings.classes:
            raise SyndiffError(
                f"{mask} has pixels to be ignored (value {ignore}), which a mask here cannot hold; name the classes "
                "with --classes if they shall become background."
            )
        for label, several in labels.items():
            if not set(several).isdisjoint(found):
                yield Drawn(label, whole(np.isin(values, several), mask, height, width))

    image = files if len(files) > 1 else files[0]
    return Item(f"{case}{files[0].suffix}", image, str(mask), lambda: drawn_size(mask), draw)


def _for_people(description: dict[str, Any]) -> dict[str, Any]:
    """What dataset.json keeps of nnU-Net's."""
    kept = {key: description[key] for key in ("description", "reference") if description.get(key)}
    licence = description.get("licence") or description.get("license")
    return kept | ({"licence": licence} if isinstance(licence, str) else {})
