"""What is exported and imported again has the same pictures, masks and classes; and what the written files hold."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from annotated import box, drawn, imported, mask_file, picture, written
from conftest import Outcome
from syndiff.data.dataset import Dataset
from syndiff.data.exporting import export_dataset
from syndiff.data.readers import read_image
from syndiff.errors import SyndiffError

FORMATS = ("nnunet", "coco")
PLANES = hnp.arrays(bool, st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)))


def dataset(root: Path, planes: NDArray[np.bool_], *, overlap: bool, **description: Any) -> Dataset:
    """A folder of one case with a mask (KxHxW); numbers of classes are odd, so that none is by chance a position."""
    shutil.rmtree(root, ignore_errors=True)
    picture(root / "images" / "a b.png", planes.shape[2], planes.shape[1])
    (root / "masks").mkdir()
    if overlap:
        with tifffile.TiffWriter(root / "masks" / "a b.tif") as file:
            for plane in planes:
                file.write(plane.astype(np.uint8), contiguous=False, photometric="minisblack")
    else:
        numbers = np.arange(1, 2 * len(planes) + 1, 2, np.uint8)[:, None, None]
        mask_file(root / "masks" / "a b.png", (planes * numbers).max(axis=0))
    classes = {str(2 * place + 1): f"class {place}" for place in range(len(planes))}
    written(root / "dataset.json", {"classes": classes, **({"overlap": True} if overlap else {}), **description})
    return Dataset.open(root)


def there_and_back(data: Dataset, tmp_path: Path, to: Any) -> dict[str, dict[str, NDArray[np.bool_]]]:
    for folder in ("exported", "back"):
        shutil.rmtree(tmp_path / folder, ignore_errors=True)
    export_dataset(data, tmp_path / "exported", to)
    imported(tmp_path / "exported", tmp_path / "back", to, classes=",".join(data.targets))
    for case in data.cases:
        assert np.array_equal(read_image(case.image), read_image(Dataset.open(tmp_path / "back")[case.id].image))
    return drawn(tmp_path / "back")


@pytest.mark.parametrize("to", FORMATS)
@given(planes=PLANES, overlap=st.booleans())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_masks_come_back(tmp_path: Path, planes: NDArray[np.bool_], overlap: bool, to: str) -> None:
    planes[0].flat[0] = True  # a set without any foreground is none
    overlap = overlap and len(planes) > 1
    if not overlap:
        planes &= np.cumsum(planes, axis=0) == 1
    data = dataset(tmp_path / "data", planes, overlap=overlap)
    back = there_and_back(data, tmp_path, to)
    assert list(back["a b"]) == list(data.targets)
    assert np.array_equal(np.stack(list(back["a b"].values())), planes)


@pytest.mark.parametrize("to", FORMATS)
def test_a_turned_picture_and_one_of_16_bits_come_back(tmp_path: Path, to: Any) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    data = dataset(tmp_path / "data", box(0, 0, 4, 5, 10, 12)[None], overlap=False)
    (tmp_path / "data" / "images" / "a b.png").unlink()
    picture(tmp_path / "data" / "images" / "a b.jpg", 12, 10, exif=exif)
    deep = np.arange(360, dtype=np.uint16).reshape(10, 12, 3) * 150
    tifffile.imwrite(tmp_path / "data" / "images" / "deep.tif", deep, photometric="rgb")
    mask_file(tmp_path / "data" / "masks" / "deep.png", box(2, 2, 9, 9))
    data = Dataset.open(tmp_path / "data")
    back = there_and_back(data, tmp_path, to)
    assert np.array_equal(back["a b"]["class 0"], box(0, 0, 4, 5, 10, 12))
    assert np.array_equal(back["deep"]["class 0"], box(2, 2, 9, 9))


def test_the_files_of_nnunet(tmp_path: Path) -> None:
    planes = np.stack([box(0, 0, 4, 4), box(2, 2, 6, 6)])
    data = dataset(tmp_path / "data", planes, overlap=True, licence="CC0", name="two")
    notes = export_dataset(data, tmp_path / "Dataset7_two", "nnunet")
    described = json.loads((tmp_path / "Dataset7_two" / "dataset.json").read_text())
    assert described == {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, "class 0": [1, 3], "class 1": [2, 3]},
        "numTraining": 1,
        "file_ending": ".png",
        "name": "two",
        "regions_class_order": [1, 2],
        "licence": "CC0",
    }
    label = np.asarray(Image.open(tmp_path / "Dataset7_two" / "labelsTr" / "a b.png"))
    assert np.array_equal(label, planes[0] + 2 * planes[1])
    assert Image.open(tmp_path / "Dataset7_two" / "imagesTr" / "a b_0000.png").mode == "RGB"
    assert "regions of 3 values" in notes[1]


def test_the_files_of_coco(tmp_path: Path) -> None:
    planes = np.stack([box(0, 0, 2, 2) | box(5, 5, 9, 8), box(3, 0, 4, 4)])
    written(tmp_path / "data" / "unused", "")
    export_dataset(dataset(tmp_path / "data", planes, overlap=False, licence="CC0"), tmp_path / "out", "coco")
    content = json.loads((tmp_path / "out" / "instances.json").read_text())
    assert content["categories"][1] == {"id": 2, "name": "class 1", "supercategory": ""}
    assert content["images"] == [{"id": 1, "file_name": "a b.png", "width": 12, "height": 10}]
    told = [(each["category_id"], each["area"], each["bbox"]) for each in content["annotations"]]
    assert told == [(1, 4, [0, 0, 2, 2]), (1, 12, [5, 5, 3, 4]), (2, 4, [0, 3, 4, 1])]
    original, copy = (root / "images" / "a b.png" for root in (tmp_path / "data", tmp_path / "out"))
    assert copy.read_bytes() == original.read_bytes()


@pytest.mark.parametrize("to", FORMATS)
def test_groups_go_along(tmp_path: Path, syndiff: Callable[..., Outcome], to: str) -> None:
    out, data = tmp_path / "out", tmp_path / "data"
    dataset(data, box(0, 0, 4, 4)[None], overlap=False)
    written(data / "groups.csv", "case,group\na b,anna\n")
    done = syndiff("data", "export", "--data", data, "--to", to, "--out", out)
    assert done.status == 0 and done.out.startswith(f"1 cases written to {out}\n  - ")
    report = imported(out, tmp_path / "back", to, groups=f"{out / 'groups.csv'}:group")
    assert report.groups == {"a b": "anna"}
    again = syndiff("data", "export", "--data", data, "--to", to, "--out", out)
    assert again.status == 2 and "exists already and is not an empty folder" in again.err


def test_what_nnunet_cannot_hold(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data", box(0, 0, 4, 4)[None], overlap=False, classes={"1": "ignore"})
    with pytest.raises(SyndiffError, match="'ignore' has a name that means something else in nnU-Net; rename it"):
        export_dataset(data, tmp_path / "out", "nnunet")
    many = np.random.default_rng(0).random((9, 40, 40)) < 0.5
    with pytest.raises(SyndiffError, match=r"9 classes overlap in \d+ combinations, more than the 255 values"):
        export_dataset(dataset(tmp_path / "data", many, overlap=True), tmp_path / "out", "nnunet")
    assert not (tmp_path / "out").exists()
