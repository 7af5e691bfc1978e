"""nnU-Net's raw layout: imagesTr, labelsTr and dataset.json. Classes that overlap become regions.

A region is a list of values. Each class has a value of its own, and each combination of classes that occurs another.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from syndiff.data.dataset import Dataset
from syndiff.data.readers import read_stored_image
from syndiff.errors import SyndiffError
from syndiff.files import write_bytes, write_json
from syndiff.imaging import encode_png

_SPECIAL = ("background", "ignore")  # labels that nnU-Net gives a meaning
_MOST = 255
_NATURAL = {"0": "R", "1": "G", "2": "B"}

Combination = tuple[bool, ...]


def write_nnunet(dataset: Dataset, made: Path, progress: bool) -> list[str]:
    """Write a dataset as nnU-Net's raw data: PNG, or TIFF where a picture has 16 bits, each of three channels.

    Raises SyndiffError for classes with names that nnU-Net reserves, and for too many combinations of classes.
    """
    reserved = [name for name in dataset.targets if name in _SPECIAL]
    if reserved:
        raise SyndiffError(
            f"{dataset.root}: the class {reserved[0]!r} has a name that means something else in nnU-Net; rename it in "
            "dataset.json."
        )
    values, deep = _survey(dataset, progress)
    ending = ".tif" if deep else ".png"
    for case in tqdm(dataset.cases, desc="exporting", unit="case", disable=not progress):
        samples = read_stored_image(case.image).samples
        write_bytes(made / "imagesTr" / f"{case.id}_0000{ending}", _encoded(samples, ending))
        label = _label(dataset.load_classes(case)[1], values)
        write_bytes(made / "labelsTr" / f"{case.id}{ending}", _encoded(label, ending))
    regions = len(values) > len(dataset.targets)
    description: dict[str, Any] = {
        "channel_names": _NATURAL,
        "labels": {"background": 0, **_labels(dataset, values, regions=regions)},
        "numTraining": len(dataset.cases),
        "file_ending": ending,
        "name": dataset.name,
    }
    if regions:
        description["regions_class_order"] = list(range(1, len(dataset.targets) + 1))
    if dataset.licence:
        description["licence"] = dataset.licence
    write_json(made / "dataset.json", description)
    notes = [f"pictures are written anew as {ending[1:].upper()} of three channels, since nnU-Net reads no JPEG"]
    if regions:
        notes.append(f"classes overlap: they are regions of {len(values)} values")
    return [*notes, "nnU-Net expects the folder under nnUNet_raw, with a name such as Dataset101_Polyps"]


def _survey(dataset: Dataset, progress: bool) -> tuple[dict[Combination, int], bool]:
    """The value of each combination of classes, those of a single class first; and whether a picture has 16 bits."""
    count = len(dataset.targets)
    alone = [tuple(place == number for place in range(count)) for number in range(count)]
    found: set[Combination] = set()
    deep = False
    for case in tqdm(dataset.cases, desc="reading", unit="case", disable=not progress):
        image, masks = dataset.load_classes(case)
        deep |= image.dtype == np.uint16
        several = masks[:, masks.sum(axis=0) > 1]
        found.update(tuple(each) for each in np.unique(several, axis=1).T.tolist())
    values = {combination: value for value, combination in enumerate([*alone, *sorted(found, reverse=True)], 1)}
    if len(values) > _MOST:
        raise SyndiffError(
            f"{dataset.root}: {count} classes overlap in {len(found)} combinations, more than the {_MOST} values that "
            "a label can tell apart here; join classes or make them exclude each other."
        )
    return values, deep


def _label(masks: NDArray[np.bool_], values: dict[Combination, int]) -> NDArray[np.uint8]:
    """The value of each pixel (HxW) of the masks of a case (KxHxW)."""
    label = np.zeros(masks.shape[1:], np.uint8)
    several = masks.sum(axis=0) > 1
    for combination, value in values.items():
        if sum(combination) == 1:
            label[masks[combination.index(True)]] = value
        elif several.any():
            label[(masks == np.array(combination)[:, None, None]).all(axis=0)] = value
    return label


def _labels(dataset: Dataset, values: dict[Combination, int], *, regions: bool) -> dict[str, int | list[int]]:
    """What dataset.json says of each class: its value, or all values of which it is a part."""
    several = {
        name: [value for combination, value in values.items() if combination[place]]
        for place, name in enumerate(dataset.targets)
    }
    return {name: numbers if regions else numbers[0] for name, numbers in several.items()}


def _encoded(samples: NDArray, ending: str) -> bytes:
    if ending == ".png":
        return encode_png(samples)
    import tifffile

    content = io.BytesIO()
    kind = "rgb" if samples.ndim == 3 else "minisblack"
    tifffile.imwrite(content, samples, photometric=kind, metadata=None, software=False)
    return content.getvalue()
