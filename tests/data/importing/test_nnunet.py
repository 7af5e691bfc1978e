"""nnU-Net's raw layout, after its documentation/dataset_format.md and region_based_training.md."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from annotated import box, drawn, imported, mask_file, picture, survives, written
from damage import damaged
from syndiff.data.readers import read_image
from syndiff.errors import SyndiffError

DESCRIPTION: dict[str, Any] = {
    "channel_names": {"0": "R", "1": "G", "2": "B"},
    "labels": {"background": 0, "polyp": 1, "instrument": 2},
    "numTraining": 2,
    "file_ending": ".png",
    "name": "polyps",
    "licence": "CC BY 4.0",
    "reference": "a paper",
}
VALUES = box(1, 1, 3, 3).astype(np.uint8) + 2 * box(5, 5, 7, 9)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Natural images: one RGB file a case, and its number of channels in dataset.json."""
    root = tmp_path / "Dataset101_Polyps"
    for case in ("frame_001", "frame_002"):
        picture(root / "imagesTr" / f"{case}_0000.png")
        mask_file(root / "labelsTr" / f"{case}.png", VALUES)
    picture(root / "imagesTs" / "frame_003_0000.png")
    written(root / "dataset.json", {**DESCRIPTION, "channel_names": {"0": "RGB"}})
    return root


def describe(source: Path, **changes: Any) -> Path:
    return written(source / "dataset.json", {**DESCRIPTION, **changes})


@pytest.mark.parametrize("names", [{"0": "RGB"}, DESCRIPTION["channel_names"]])
def test_natural_images(source: Path, tmp_path: Path, names: dict[str, str]) -> None:
    describe(source, channel_names=names)
    report = imported(source, tmp_path / "out", "nnunet")
    masks = drawn(tmp_path / "out")
    assert list(masks) == ["frame_001", "frame_002"]
    assert np.array_equal(masks["frame_001"]["polyp"], box(1, 1, 3, 3))
    assert np.array_equal(masks["frame_002"]["instrument"], box(5, 5, 7, 9))
    assert report.left == {"file in imagesTs, whose labels nnU-Net does not know": 1}
    first = tmp_path / "out" / "images" / "frame_001.png"
    assert first.read_bytes() == (source / "imagesTr" / "frame_001_0000.png").read_bytes()
    assert "CC BY 4.0" in (tmp_path / "out" / "dataset.json").read_text()


def test_three_files_of_grey_become_one_picture(source: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for case in ("frame_001", "frame_002"):
        for channel in range(3):
            mask_file(source / "imagesTr" / f"{case}_000{channel}.png", random.integers(0, 255, (10, 12)))
    describe(source)
    report = imported(source, tmp_path / "out", "nnunet")
    stored = np.asarray(Image.open(source / "imagesTr" / "frame_001_0002.png"))
    assert np.array_equal(read_image(tmp_path / "out" / "images" / "frame_001.png")[..., 2], stored)
    assert report.notes == ["the three channels (R, G, B) of each case became red, green and blue of one picture"]


def test_regions_may_overlap(source: Path, tmp_path: Path) -> None:
    labels = {"background": 0, "whole": [1, 2], "core": [2]}
    describe(source, channel_names={"0": "x"}, labels=labels, regions_class_order=[1, 2])
    report = imported(source, tmp_path / "out", "nnunet")
    masks = drawn(tmp_path / "out")["frame_001"]
    assert np.array_equal(masks["whole"], box(1, 1, 3, 3) | box(5, 5, 7, 9))
    assert np.array_equal(masks["core"], box(5, 5, 7, 9))
    assert report.overlapping == {"frame_001": 8, "frame_002": 8}
    assert (tmp_path / "out" / "masks" / "frame_001.tif").is_file()


def test_pixels_to_be_ignored(source: Path, tmp_path: Path) -> None:
    describe(source, channel_names={"0": "x"}, labels={"background": 0, "polyp": 1, "ignore": 2})
    with pytest.raises(SyndiffError, match=r"pixels to be ignored \(value 2\).*--classes"):
        imported(source, tmp_path / "out", "nnunet")
    imported(source, tmp_path / "out", "nnunet", classes="polyp")
    assert np.array_equal(drawn(tmp_path / "out")["frame_001"]["polyp"], box(1, 1, 3, 3))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"file_ending": ".nii.gz"}, "file_ending is '.nii.gz'. Volumes are not taken"),
        ({"file_ending": 7}, "file_ending is 7, expected text"),
        ({"labels": {"0": "background", "1": "polyp"}}, "is written as in nnU-Net 1"),
        ({"labels": {"background": 0}}, "names nothing but background"),
        ({"labels": {"background": 1, "polyp": 0}}, "must have background as 0"),
        ({"labels": {"background": 0, "polyp": 1.5}}, "the label 'polyp' is 1.5"),
        ({"labels": {"background": 0, "polyp": []}}, r"the label 'polyp' is \[\]"),
        ({"labels": {"background": 0, "polyp": 1}}, "holds 2, which is no value of a label"),
        ({"labels": []}, r"labels is \[\], expected an object"),
        ({"dataset": {}}, "names its files one by one"),
        ({"channel_names": {"0": "T1", "1": "T2"}}, "has 1 channels and dataset.json names 2"),
    ],
)
def test_wrong_descriptions_are_refused(source: Path, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    describe(source, **{"channel_names": {"0": "x"}, **changes})
    with pytest.raises(SyndiffError, match=words):
        imported(source, tmp_path / "out", "nnunet")
    assert not (tmp_path / "out").exists()


def test_wrong_folders_are_refused(source: Path, tmp_path: Path) -> None:
    def refused(words: str) -> None:
        with pytest.raises(SyndiffError, match=words):
            imported(source, tmp_path / "out", "nnunet")

    written(source / "dataset.json", {"modality": {"0": "CT"}, "labels": {"0": "background"}})
    refused("has the layout of nnU-Net 1; convert it")
    describe(source, channel_names={"0": "x"})
    stray = picture(source / "imagesTr" / "other.png")
    refused("expected a name such as CASE_0000.png")
    stray.rename(source / "imagesTr" / "frame_009_0001.png")
    refused("with all channels from 0000 on")
    (source / "imagesTr" / "frame_009_0001.png").rename(source / "imagesTr" / "frame_009_0000.png")
    refused("has no .*frame_009.png; put it there")
    assert len(imported(source, tmp_path / "skipped", "nnunet", skip=True).names) == 2
    (source / "imagesTr" / "frame_009_0000.png").unlink()
    mask_file(source / "labelsTr" / "frame_002.png", VALUES[:5])
    refused(r"annotated at 12x5 \(width x height\), but its picture is 12x10")
    (source / "imagesTr" / "frame_002_0000.png").unlink()
    refused("frame_002.png has no picture frame_002_0000.png")
    with pytest.raises(SyndiffError, match=r"dataset.json does not exist; give the folder of a raw"):
        imported(source / "imagesTr", tmp_path / "out", "nnunet")


def test_a_tiff_of_several_pages_is_no_picture(source: Path, tmp_path: Path) -> None:
    for path in [*source.glob("*Tr/*.png")]:
        page = Image.open(path)
        page.save(path.with_suffix(".tif"), save_all=True, append_images=[page] * 4 if "images" in str(path) else [])
        path.unlink()
    describe(source, channel_names={"0": "x"}, file_ending=".tif")
    with pytest.raises(SyndiffError, match="holds 5 pages; save every one as a file of its own"):
        imported(source, tmp_path / "out", "nnunet")


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_is_read_or_refused_with_words(source: Path, data: st.DataObject) -> None:
    path = describe(source, channel_names={"0": "RGB"})
    path.write_bytes(data.draw(damaged(path)))
    survives(source, "nnunet")
