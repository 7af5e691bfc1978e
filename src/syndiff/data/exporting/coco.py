"""COCO instances: images/ and instances.json, each lesion an annotation with the run lengths of its pixels."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from syndiff.data.dataset import Dataset
from syndiff.data.importing.runs import down_columns
from syndiff.data.masks import bounding_box, components
from syndiff.data.readers import read_stored_image
from syndiff.files import write_bytes, write_json
from syndiff.imaging import encode_exactly


def write_coco(dataset: Dataset, made: Path, progress: bool) -> list[str]:
    """Write a dataset as COCO: pictures byte for byte, except those that EXIF turns, which are written upright.

    An annotation is a connected piece of a class; the masks come back exactly. Categories are ordered as the classes.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    (made / "images").mkdir(parents=True)
    turned = 0
    for case in tqdm(dataset.cases, desc="exporting", unit="case", disable=not progress):
        stored = read_stored_image(case.image)
        name = case.image.name
        if stored.orientation == 1:
            shutil.copyfile(case.image, made / "images" / name)
        else:
            content, suffix = encode_exactly(stored.samples)
            name, turned = f"{case.id}{suffix}", turned + 1
            write_bytes(made / "images" / name, content)
        height, width = stored.samples.shape[:2]
        images.append({"id": len(images) + 1, "file_name": name, "width": width, "height": height})
        for category, mask in enumerate(dataset.load_classes(case)[1], 1):
            labels, areas = components(mask)
            for number, area in enumerate(areas.tolist(), 1):
                about = {"id": len(annotations) + 1, "image_id": len(images), "category_id": category, "iscrowd": 0}
                annotations.append({**about, "area": area, **_pixels(labels == number)})
    licences = [{"id": 1, "name": dataset.licence, "url": ""}] if dataset.licence else []
    categories = [{"id": number, "name": name, "supercategory": ""} for number, name in enumerate(dataset.targets, 1)]
    content_ = {"info": {"description": dataset.name}, "licenses": licences, "categories": categories}
    write_json(made / "instances.json", {**content_, "images": images, "annotations": annotations})
    notes = [f"{len(annotations)} annotations, one for each connected piece of a class, as run lengths (RLE)"]
    return notes + ([f"{turned} pictures that EXIF turns are written upright, as PNG or TIFF"] if turned else [])


def _pixels(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """The box (left, top, width, height) and the segmentation of a mask that is not empty."""
    rows, columns = bounding_box(mask)
    box = [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start]
    return {"bbox": box, "segmentation": down_columns(mask)}
