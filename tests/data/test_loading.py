"""Loading: the order asked for, several sources at once, and errors that name the file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from syndiff.data.dataset import Dataset
from syndiff.data.loading import load_cases
from syndiff.data.resize import resize_image, resize_mask
from syndiff.errors import SyndiffError


def make_dataset(root: Path, ids: list[str], *, height: int = 30, width: int = 50) -> Dataset:
    """Cases of random pixels and random rectangles, different for every id."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number, case_id in enumerate(ids):
        random = np.random.default_rng(number)
        pixels = random.integers(0, 256, (height + number, width, 3)).astype(np.uint8)
        mask = np.zeros(pixels.shape[:2], np.uint8)
        mask[5 : 10 + number, 8:20] = 255
        Image.fromarray(pixels).save(root / "images" / f"{case_id}.png")
        Image.fromarray(mask).save(root / "masks" / f"{case_id}.png")
    return Dataset.open(root)


def test_cases_come_in_the_order_asked_for_and_resized(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [f"case-{number:02d}" for number in range(20)])
    wanted = [f"case-{number:02d}" for number in (7, 3, 19, 0, 11, 4, 15)]
    loaded = load_cases([(dataset, wanted)], 16)
    assert loaded.ids == tuple(wanted) and len(loaded) == 7
    assert loaded.images.shape == (7, 3, 16, 16) and loaded.images.dtype == torch.uint8
    assert loaded.masks.shape == (7, 1, 16, 16) and loaded.masks.dtype == torch.uint8
    for index, case_id in enumerate(wanted):
        image, mask = dataset.load(dataset[case_id])
        np.testing.assert_array_equal(loaded.images[index].permute(1, 2, 0), resize_image(image, 16))
        np.testing.assert_array_equal(loaded.masks[index, 0], resize_mask(mask, 16))


def test_several_sources_follow_each_other(tmp_path: Path) -> None:
    real = make_dataset(tmp_path / "real", ["a", "b"])
    painted = make_dataset(tmp_path / "painted", ["a", "c", "d"])
    loaded = load_cases([(real, ["b", "a"]), (painted, ["d", "a"])], 8)
    assert loaded.ids == ("b", "a", "d", "a") and loaded.source.tolist() == [0, 0, 1, 1]
    alone = load_cases([(painted, ["a"])], 8)
    assert torch.equal(loaded.images[3], alone.images[0]) and torch.equal(loaded.masks[3], alone.masks[0])


def test_a_corrupt_file_and_an_unknown_case_are_named(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, ["good", "bad", "fine"])
    with pytest.raises(SyndiffError, match="missing-one"):
        load_cases([(dataset, ["good", "missing-one"])], 8)
    dataset["bad"].image.write_bytes(b"not a picture")
    with pytest.raises(SyndiffError, match=r"bad\.png"):
        load_cases([(dataset, ["good", "bad", "fine"])], 8)


def test_progress_goes_to_standard_error_and_only_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = make_dataset(tmp_path, ["a", "b"])
    load_cases([(dataset, ["a", "b"])], 8)
    assert capsys.readouterr() == ("", "")
    load_cases([(dataset, ["a", "b"])], 8, progress=True)
    shown = capsys.readouterr()
    assert shown.out == "" and "2/2" in shown.err
