"""A picture is the same picture under any name, in any folder, in any lossless format."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from syndiff.data.dataset import DatasetFolder
from syndiff.data.seen import Seen
from syndiff.data.splits import Split, make_split
from syndiff.errors import SyndiffError

TINY = ["--set", "model.image_size=32", "training.coarse_share=0", "training.steps=2", "training.batch_size=2"]


def renamed(data: Path, out: Path) -> Path:
    """The same pictures as TIFF files under other names, in a dataset of another name, one case left out."""
    for kind in ("images", "masks"):
        (out / kind).mkdir(parents=True)
        for index, path in enumerate(sorted((data / kind).iterdir())[1:]):
            Image.open(path).save(out / kind / f"frame {index}.tif")
    described = json.loads((data / "dataset.json").read_text())
    (out / "dataset.json").write_text(json.dumps({**described, "name": "another centre"}))
    return out


def test_content_follows_the_picture_alone(phantom: Path, tmp_path: Path) -> None:
    one, other = DatasetFolder.open(phantom), DatasetFolder.open(renamed(phantom, tmp_path / "copy"))
    assert {one.content(case) for case in one.cases[1:]} == {other.content(case) for case in other.cases}
    path = other.cases[0].image
    pixels = np.array(Image.open(path))
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(path)
    again = DatasetFolder.open(tmp_path / "copy")
    assert again.content(again.cases[0]) != one.content(one.cases[1])


def test_what_was_seen_is_kept_and_carried_along(phantom: Path, tmp_path: Path) -> None:
    dataset = DatasetFolder.open(phantom)
    split = make_split(dataset)
    mine = Seen.of(dataset, split.train, split.val)
    mine.refuse_held_out("a model", dataset, split)
    (mine | Seen({"0": "elsewhere"})).write(tmp_path)
    assert Seen.read(tmp_path) == mine | Seen({"0": "elsewhere"})
    assert Seen.read(phantom) is None
    assert mine.among(dataset, split.test) == [] and len(mine.among(dataset, split.train)) == len(split.train)
    turned = Split(**{**vars(split), "train": split.test, "test": split.train})
    copy = DatasetFolder.open(renamed(phantom, tmp_path / "copy"))
    for held, parts in ((dataset, turned), (copy, make_split(copy, seed=3))):
        with pytest.raises(SyndiffError, match=r"a model has seen pictures .* leaks"):
            mine.refuse_held_out("a model", held, parts)


def test_a_copy_of_the_training_cases_is_no_external_dataset(syndiff, phantom: Path, tmp_path: Path) -> None:
    split, run = tmp_path / "split.json", tmp_path / "run"
    assert syndiff("data", "split", "--data", phantom, "--out", split).status == 0
    assert syndiff("train", "--data", phantom, "--split", split, "--out", run, *TINY).status == 0
    copy = renamed(phantom, tmp_path / "copy")
    outcome = syndiff("evaluate", "--run", run, "--data", copy, "--external")
    assert outcome.status == 2 and "has seen" in outcome.err and " = sequence-" in outcome.err
    assert not (run / "eval").exists()


def test_what_an_inpainter_has_seen_follows_what_it_painted(syndiff, phantom: Path, tmp_path: Path) -> None:
    """An inpainter taught under one split paints for a copy of the dataset: its own test cases would leak."""
    copy = renamed(phantom, tmp_path / "copy")
    tiny = ["painter.crop_size=64", "painter.channels=[32, 32, 32]", "painter.caption_layers=1", "adapt.minutes=0"]
    tiny += ["adapt.steps=1", "adapt.crops=4", "adapt.batch_size=2"]
    for name, data, seed in (("mine", phantom, 0), ("theirs", copy, 1)):
        given = ["--data", data, "--out", tmp_path / f"{name}.json", "--seed", seed]
        assert syndiff("data", "split", *given, "--method", "random").status == 0
    taught = syndiff(
        "adapt", "--data", phantom, "--split", tmp_path / "mine.json", "--out", tmp_path / "inpainter", "--set", *tiny,
    )  # fmt: skip
    assert taught.status == 0, taught.err
    painted = syndiff(
        "synthesize", "--data", copy, "--split", tmp_path / "theirs.json", "--out", tmp_path / "painted", "--count", 1,
        "--model", tmp_path / "inpainter",
    )  # fmt: skip
    assert painted.status == 2 and "has seen pictures that this split keeps" in painted.err, painted.err
    assert not (tmp_path / "painted").exists()
