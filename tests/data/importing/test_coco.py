"""COCO instances, laid out after "Data format" of cocodataset.org."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotated import box, drawn, imported, picture, survives, written
from damage import damaged
from syndiff.errors import SyndiffError

CONTENT: dict[str, Any] = {
    "info": {"description": "two polyps", "version": "1.0", "year": 2026},
    "licenses": [{"id": 1, "name": "CC BY 4.0", "url": ""}],
    "categories": [
        {"id": 3, "name": "polyp", "supercategory": "lesion"},
        {"id": 1, "name": "instrument", "supercategory": ""},
        {"id": 7, "name": "artefact", "supercategory": ""},
    ],
    "images": [
        {"id": 10, "file_name": "one frame.png", "width": 12, "height": 10, "license": 1},
        {"id": 20, "file_name": "two.jpg", "width": 12, "height": 10},
        {"id": 30, "file_name": "empty.png", "width": 12, "height": 10},
    ],
    "annotations": [
        # two polygons are one object: their union
        {"id": 1, "image_id": 10, "category_id": 3, "iscrowd": 0, "area": 8, "bbox": [1, 1, 8, 4],
         "segmentation": [[1, 1, 3, 1, 3, 3, 1, 3], [7, 3, 9, 3, 9, 5, 7, 5]]},
        # rows 6 to 7, columns 2 to 4, counted down the columns
        {"id": 2, "image_id": 10, "category_id": 1, "iscrowd": 1, "area": 6, "bbox": [2, 6, 3, 2],
         "segmentation": {"size": [10, 12], "counts": [26, 2, 8, 2, 8, 2, 72]}},
        {"id": 3, "image_id": 20, "category_id": 3, "iscrowd": 0, "area": 6, "bbox": [2, 6, 3, 2],
         "segmentation": {"size": [10, 12], "counts": "j028000P2"}},
        {"id": 4, "image_id": 20, "category_id": 3, "iscrowd": 0, "bbox": [0, 0, 2, 2], "segmentation": []},
        {"id": 5, "image_id": 99, "category_id": 3, "iscrowd": 0, "segmentation": [[0, 0, 1, 0, 1, 1]]},
    ],
}  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder as CVAT and others export COCO: annotations/ beside images/."""
    for name in ("one frame.png", "two.jpg", "empty.png"):
        picture(tmp_path / "coco" / "images" / name)
    written(tmp_path / "coco" / "annotations" / "instances_default.json", CONTENT)
    return tmp_path / "coco" / "annotations" / "instances_default.json"


def change(source: Path, **changes: Any) -> Path:
    return written(source, {**copy.deepcopy(CONTENT), **changes})


def test_polygons_and_run_lengths_become_masks(source: Path, tmp_path: Path) -> None:
    report = imported(source, tmp_path / "out", "coco")
    masks = drawn(tmp_path / "out")
    assert list(masks) == ["empty", "one frame", "two"]
    assert list(masks["two"]) == ["polyp", "instrument"]
    assert np.array_equal(masks["one frame"]["polyp"], box(1, 1, 3, 3) | box(3, 7, 5, 9))
    assert np.array_equal(masks["one frame"]["instrument"], box(6, 2, 8, 5))
    assert np.array_equal(masks["two"]["polyp"], box(6, 2, 8, 5))
    assert not np.any(list(masks["empty"].values()))
    image = tmp_path / "out" / "images" / "two.jpg"
    assert image.read_bytes() == (source.parents[1] / "images" / "two.jpg").read_bytes()
    assert report.left == {
        "annotation of an image that the file does not list": 1,
        "annotation without segmentation (a box or key points)": 1,
        "label 'artefact', which is declared but never drawn": 1,
    }
    assert report.notes == [
        "1 crowds (iscrowd) are taken as foreground of their category",
        "1 pictures with nothing drawn on them are taken with an empty mask",
    ]


def test_pictures_elsewhere_and_in_folders(source: Path, tmp_path: Path) -> None:
    for patient in ("a", "b"):
        picture(tmp_path / "elsewhere" / "set" / patient / "1.png")
    images = [{"id": n, "file_name": f"set/{p}/1.png", "width": 12, "height": 10} for n, p in ((10, "a"), (20, "b"))]
    change(source, images=images, annotations=CONTENT["annotations"][:3])
    with pytest.raises(SyndiffError, match=r"2 of 2 cases cannot be taken:\n.*does not exist; put it there"):
        imported(source, tmp_path / "out", "coco")
    report = imported(source, tmp_path / "out", "coco", images=tmp_path / "elsewhere", group_pattern="(.*)/.*")
    assert list(drawn(tmp_path / "out")) == ["a_1", "b_1"]
    assert report.groups == {"a_1": "a", "b_1": "b"}
    with pytest.raises(SyndiffError, match=r"--images .*nowhere is no folder"):
        imported(source, tmp_path / "new", "coco", images=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change_of", "words"),
    [
        ({"images": {}}, "images is {}, expected a list"),
        ({"images": [{"id": 1, "width": 2, "height": 2}]}, "image 0 lacks 'file_name'"),
        ({"images": [{"id": 1, "file_name": "../secret.png", "width": 2, "height": 2}]}, "leads out of the folder"),
        ({"images": [{"id": 1, "file_name": "/etc/secret.png", "width": 2, "height": 2}]}, "is a path of the machine"),
        ({"images": [{"id": 1, "file_name": "C:\\a.png", "width": 2, "height": 2}]}, "is a path of the machine"),
        ({"images": [{"id": 1, "file_name": "http://x.org/a.png", "width": 2, "height": 2}]}, "is an address"),
        ({"images": [{"id": 1, "file_name": "a\nb.png", "width": 2, "height": 2}]}, "a line break"),
        ({"images": [{"id": 1, "file_name": "\ud800.png", "width": 2, "height": 2}]}, r"\\ud800.png, is no UTF-8"),
        ({"images": [{"id": 1, "file_name": "é" * 130, "width": 2, "height": 2}]}, "longer than the name of any file"),
        (
            {"images": [{"id": 1, "file_name": "a/" * 1001, "width": 2, "height": 2}]},
            "longer than the name of any file",
        ),
        ({"images": [{"id": 1, "file_name": " ", "width": 2, "height": 2}]}, "expected a file name"),
        ({"images": [CONTENT["images"][0]] * 2}, "the id 10 stands twice"),
        ({"images": [CONTENT["images"][0], {**CONTENT["images"][0], "id": 11}]}, "is annotated twice"),
        ({"images": [{**CONTENT["images"][0], "width": 24, "height": 20}]}, "annotated at 24x20 .* is 12x10"),
        ({"images": [{**CONTENT["images"][0], "width": "12"}]}, "run lengths|Imported"),
        ({"images": [{**CONTENT["images"][0], "width": -12}]}, "its size is -12 x 10"),
        ({"images": []}, "holds no picture"),
        ({"categories": CONTENT["categories"][:1]}, "no category has the id 1"),
        ({"categories": [{"id": 3, "name": ""}, {"id": 1, "name": "b"}]}, "has an empty name"),
        ({"categories": [{"id": 3, "name": "a\x07"}, {"id": 1, "name": "b"}]}, "control character"),
        ({"annotations": [3]}, "annotation 0 holds 3; expected an object"),
        ({"annotations": []}, "nothing was drawn on any of the 3 pictures"),
    ],
)
def test_wrong_files_are_refused(source: Path, tmp_path: Path, change_of: dict[str, Any], words: str) -> None:
    change(source, **change_of)
    if words == "run lengths|Imported":  # a number in quotes is one
        assert imported(source, tmp_path / "out", "coco").names
        return
    with pytest.raises(SyndiffError, match=words):
        imported(source, tmp_path / "out", "coco")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        ([[1, 1, 3]], "3 numbers, expected pairs"),
        ([[1, 1, 3, 1, "x", 3]], "found 'x', expected a number"),
        ([[1, 1, 3, 1, 1e300, 3]], "between -1e9 and 1e9"),
        ([1, 1, 3, 1, 3, 3], "expected a list of polygons"),
        ("rle", "expected a list of polygons"),
        ({"counts": [120]}, "lacks 'size'"),
        ({"counts": [120], "size": [12, 10]}, r"of \[12, 10\] \(height, width\), its image is \[10, 12\]"),
        ({"counts": [10**9], "size": [10, 12]}, "no whole numbers from 0 to 120"),
        ({"counts": [7], "size": [10, 12]}, "cover 7 pixels, expected 120"),
        ({"counts": "é", "size": [10, 12]}, "no compressed run lengths"),
        ({"counts": "P", "size": [10, 12]}, "are cut off"),
    ],
)
def test_wrong_segmentations_are_refused(source: Path, tmp_path: Path, segmentation: object, words: str) -> None:
    change(source, annotations=[{"id": 8, "image_id": 10, "category_id": 3, "segmentation": segmentation}])
    with pytest.raises(SyndiffError, match=rf"annotation 8.*{words}"):
        imported(source, tmp_path / "out", "coco")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"images": [], "images": []}', "stands twice"),
        ('{"images": NaN}', "NaN is no number"),
        ("<xml/>", "not valid JSON"),
        ("[]", "expected an object with images, annotations, categories"),
    ],
)
def test_what_is_no_json_of_coco(source: Path, tmp_path: Path, text: str, words: str) -> None:
    written(source, text)
    with pytest.raises(SyndiffError, match=words):
        imported(source, tmp_path / "out", "coco")


def test_thin_and_outlying_shapes_are_counted(source: Path, tmp_path: Path) -> None:
    polygons = [[[50, 50, 60, 50, 60, 60]], [[1, 1, 1.2, 1, 1.2, 9]], [[1, 1, 2, 2]], [[-5, -5, 3, -5, 3, 3, -5, 3]]]
    entries = [{"id": n, "image_id": 10, "category_id": 3, "segmentation": each} for n, each in enumerate(polygons)]
    change(source, annotations=entries)
    report = imported(source, tmp_path / "out", "coco")
    assert report.left["drawn outside its picture or too thin to hold the centre of a pixel"] == 2
    assert report.left["polygon of fewer than three points"] == 1
    assert np.array_equal(drawn(tmp_path / "out")["one frame"]["polyp"], box(0, 0, 3, 3))


def test_a_folder_of_one_json_will_do(source: Path, tmp_path: Path) -> None:
    assert len(imported(source.parent, tmp_path / "out", "coco").names) == 3
    written(source.with_name("other.json"), CONTENT)
    with pytest.raises(SyndiffError, match=r"several files \(instances_default.json, other.json\)"):
        imported(source.parent, tmp_path / "new", "coco")


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_is_read_or_refused_with_words(source: Path, data: st.DataObject) -> None:
    path = change(source)
    path.write_bytes(data.draw(damaged(path)))
    survives(source, "coco")
