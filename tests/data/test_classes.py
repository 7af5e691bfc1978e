"""Several classes: read apart, refused with a sentence, inspected, split, resized and augmented one by one."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from syndiff.data.augmentation import Augmentation
from syndiff.data.dataset import Dataset
from syndiff.data.inspection import inspect
from syndiff.data.loading import load_cases
from syndiff.data.resize import resize_masks
from syndiff.data.settings import AugmentationSettings
from syndiff.data.splits import make_split
from syndiff.data.targets import Targets
from syndiff.errors import SyndiffError

NAMES = {"1": "polyp", "2": "instrument"}
SHAPE = (24, 32)


def labels(*, polyp: bool = True, tool: bool = True) -> NDArray[np.uint8]:
    """A polyp at the left and an instrument at the right, or none of the two."""
    values = np.zeros(SHAPE, np.uint8)
    values[4:12, 3:11] = polyp
    values[10:14, 20:] = 2 * tool
    return values


def pages(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same as a page for each class, where the polyp goes on behind the instrument."""
    masks = np.stack([values == 1, values == 2]) * np.uint8(255)
    masks[0, 11:13, 3:24] = 255
    return masks


def write(root: Path, masks: dict[str, NDArray], *, overlap: bool = False, **more: object) -> Dataset:
    """A dataset of these masks, pages where classes overlap; groups are the letters that the cases begin with."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, (case, mask) in enumerate(masks.items()):
        Image.fromarray(np.full((*mask.shape[-2:], 3), number, np.uint8)).save(root / "images" / f"{case}.png")
        if overlap:
            tifffile.imwrite(root / "masks" / f"{case}.tif", mask, photometric="minisblack")
        else:
            Image.fromarray(mask).save(root / "masks" / f"{case}.png")
    (root / "groups.csv").write_text("\n".join(["case,group", *(f"{case},{case[0]}" for case in masks)]) + "\n")
    described = {"classes": NAMES, **({"overlap": True} if overlap else {}), **more}
    (root / "dataset.json").write_text(json.dumps(described))
    return Dataset.open(root)


def test_classes_that_exclude_each_other_are_read_apart(tmp_path: Path) -> None:
    values = labels()
    dataset = write(tmp_path, {"a": values, "b": labels(polyp=False), "c": labels() > 0})
    assert dataset.targets == ("polyp", "instrument") and not dataset.overlap
    image, masks = dataset.load_classes(dataset["a"])
    assert image.shape == (*SHAPE, 3) and masks.dtype == np.bool_
    np.testing.assert_array_equal(masks, [values == 1, values == 2])
    np.testing.assert_array_equal(dataset.load(dataset["a"])[1], values > 0)
    np.testing.assert_array_equal(dataset.told_apart.labels(masks), values)
    assert not dataset.load_classes(dataset["b"])[1][0].any()
    assert not dataset.load_classes(dataset["c"])[1][1].any()  # a mask of one bit holds 0 and class 1


def test_classes_that_overlap_have_a_page_each(tmp_path: Path) -> None:
    masks = pages(labels())
    dataset = write(tmp_path, {"a": masks, "b": masks // 255}, overlap=True)
    for case in dataset.cases:
        np.testing.assert_array_equal(dataset.load_classes(case)[1], masks > 0)
        np.testing.assert_array_equal(dataset.load(case)[1], masks.any(0))


def test_one_class_is_one_of_several(tmp_path: Path) -> None:
    values = labels()
    merged = write(tmp_path, {"a": values}, mask_threshold=0)
    assert merged.targets == ("foreground",)
    _, masks = merged.load_classes(merged["a"])
    np.testing.assert_array_equal(masks, [values > 0])
    single = write(tmp_path, {"a": labels(tool=False)}, classes={"1": "polyp"})
    assert single.targets == ("polyp",) and single.load_classes(single["a"])[1].shape == (1, *SHAPE)


def test_overlap_belongs_to_the_fingerprint(tmp_path: Path) -> None:
    dataset = write(tmp_path, {"a": pages(labels())}, overlap=True)
    (tmp_path / "dataset.json").write_text(json.dumps({"classes": NAMES}))
    assert Dataset.open(tmp_path).fingerprint() != dataset.fingerprint()


@pytest.mark.parametrize(
    "mask, overlap, expected",
    [
        (labels() * 2, False, r"a.png holds 0, 2, 4; expected 0 and the numbers of the classes .*1, 2.*mask_threshold"),
        (pages(labels())[:1], True, r"a.tif has 1 page; expected a TIFF of 2 pages.*polyp, instrument"),
        (np.concatenate([pages(labels())] * 2), True, "has 4 pages"),
        (pages(labels()) + labels(), True, r"page 1 \(polyp\) holds 0, .*one other value for this class"),
    ],
)
def test_masks_that_do_not_fit_are_refused(tmp_path: Path, mask: NDArray, overlap: bool, expected: str) -> None:
    dataset = write(tmp_path, {"a": mask}, overlap=overlap)
    with pytest.raises(SyndiffError, match=expected):
        dataset.load_classes(dataset["a"])


def test_pages_are_no_class_numbers_and_class_numbers_are_no_pages(tmp_path: Path) -> None:
    dataset = write(tmp_path / "pages", {"a": pages(labels())}, overlap=True)
    (dataset.root / "dataset.json").write_text(json.dumps({"classes": NAMES}))
    with pytest.raises(SyndiffError, match="pages"):
        Dataset.open(dataset.root).load(dataset["a"])
    dataset = write(tmp_path / "numbers", {"a": labels()})
    (dataset.root / "dataset.json").write_text(json.dumps({"classes": NAMES, "overlap": True}))
    with pytest.raises(SyndiffError, match=r"a.png has 1 page; expected a TIFF of 2 pages"):
        Dataset.open(dataset.root).load(dataset["a"])


def test_a_page_of_another_size_is_named(tmp_path: Path) -> None:
    dataset = write(tmp_path, {"a": pages(labels())}, overlap=True)
    with tifffile.TiffWriter(tmp_path / "masks" / "a.tif") as tiff:
        tiff.write(labels(), photometric="minisblack")
        tiff.write(labels()[:-1], photometric="minisblack")
    with pytest.raises(SyndiffError, match=r"a.tif is 32x23 .* but its image .* is 32x24"):
        dataset.load_classes(dataset["a"])


@pytest.mark.parametrize("overlap", [False, True])
def test_inspection_tells_of_each_class(tmp_path: Path, overlap: bool) -> None:
    masks = {"a": labels(), "b": labels(tool=False), "c": labels()}
    shown = {
        case: np.stack([mask == 1, mask == 2]).astype(np.uint8) if overlap else mask for case, mask in masks.items()
    }
    verdict = inspect(write(tmp_path, shown, overlap=overlap))
    assert verdict.usable and list(verdict.classes) == ["polyp", "instrument"]
    polyp, tool = verdict.classes.values()
    assert (polyp.cases, tool.cases) == (3, 2) and tool.lesions == {1: 2}
    assert polyp.area[3] == pytest.approx(64 / 768)
    assert "Class instrument: in 2 of 3 cases; area median 6.2 %" in verdict.text()
    assert any("The class instrument is in 2 groups" in note for note in verdict.notes)
    assert not any("more than two values" in note for note in verdict.notes)


def test_a_class_that_no_mask_has_is_told(tmp_path: Path) -> None:
    verdict = inspect(write(tmp_path, {case: labels(tool=False) for case in "abc"}))
    assert verdict.usable and any("The class instrument is in no mask" in note for note in verdict.notes)


def test_every_class_is_on_every_side_where_groups_allow_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    letters = "abcdefghijklmnopqrst"
    masks = {f"{letter}{n}": labels(tool=letter in "bgq") for letter in letters for n in range(2)}
    dataset = write(tmp_path / "three", masks)
    with caplog.at_level(logging.WARNING, "syndiff"):
        for seed in range(3):
            split = make_split(dataset, seed=seed)
            sides = [{case[0] for case in side} & set("bgq") for side in (split.train, split.val, split.test)]
            assert [len(side) for side in sides] == [1, 1, 1]
    assert not caplog.records
    dataset = write(tmp_path / "two", {case: labels(tool=case[0] in "bg") for case in masks})
    with caplog.at_level(logging.WARNING, "syndiff"):
        make_split(dataset)
    assert "cases of the split hold no instrument" in caplog.text


@given(st.integers(0, 2**32 - 1), st.integers(8, 40))
def test_resized_classes_exclude_each_other_as_before(seed: int, size: int) -> None:
    values = np.random.default_rng(seed).integers(0, 4, (9, 11)).repeat(2, 0).repeat(2, 1)
    masks = values == np.array([1, 2, 3])[:, None, None]
    resized = resize_masks(masks, size, exclusive=True)
    assert resized.shape == (3, size, size) and resized.sum(0).max() <= 1
    apart = resize_masks(masks, size, exclusive=False)
    assert not (resized & ~apart).any() and (resized.any(0) == apart.any(0)).all()


def test_cases_are_loaded_and_augmented_with_a_mask_for_each_class(tmp_path: Path) -> None:
    dataset = write(tmp_path / "one", {"a": labels(), "b": labels(polyp=False)})
    cases = load_cases([(dataset, ["a", "b"])], 32)
    assert cases.masks.shape == (2, 2, 32, 32) and cases.targets == dataset.told_apart
    assert cases.masks[1, 0].sum() == 0 and cases.masks[1, 1].sum() > 0
    image, mask = Augmentation(AugmentationSettings())(cases.images.float() / 255, cases.masks.float(), seed=3)
    assert mask.shape == cases.masks.shape and image.shape == cases.images.shape
    assert set(mask.unique().tolist()) == {0, 1} and mask.sum(1).max() == 1
    assert torch.equal(mask.sum((2, 3)) > 0, cases.masks.sum((2, 3)) > 0)
    other = write(tmp_path / "other", {"a": labels()}, classes={"1": "polyp", "2": "tool"})
    with pytest.raises(SyndiffError, match=r"instrument.* but .*other has .*tool"):
        load_cases([(dataset, ["a"]), (other, ["a"])], 32)


def test_the_most_probable_of_background_and_classes_is_decided_for() -> None:
    probability = np.array([[0.4, 0.3, 0.1, 0.6], [0.35, 0.3, 0.2, 0.6]], np.float32)[:, None]
    two = Targets(("polyp", "instrument"), (1, 2))
    assert two.labels(two.decide(probability[..., :3])).tolist() == [[1, 0, 0]]
    either = Targets(("polyp", "instrument"), (1, 2), overlap=True)
    assert either.decide(probability).tolist() == [[[False, False, False, True]]] * 2
    np.testing.assert_allclose(two.foreground(probability)[0, :3], [0.75, 0.6, 0.3], rtol=1e-6)
    np.testing.assert_allclose(either.foreground(probability)[0, :3], [0.4, 0.3, 0.2], rtol=1e-6)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30))
def test_one_class_is_decided_by_one_half(values: list[float]) -> None:
    probability = np.array(values, np.float32)[None, None]
    np.testing.assert_array_equal(Targets().decide(probability), probability > 0.5)
    exclusive = Targets(("polyp", "none"), (1, 2)).decide(np.concatenate([probability, 0 * probability]))
    np.testing.assert_array_equal(exclusive[0], probability[0] > 0.5)
