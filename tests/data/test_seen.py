"""A picture is the same picture under any name, in any folder, in any lossless format."""

from pathlib import Path

import numpy as np
from PIL import Image

from renamed import renamed
from syndiff.data.dataset import Dataset
from syndiff.data.seen import Seen
from syndiff.data.splits import make_split


def test_content_follows_the_picture_alone(phantom: Path, tmp_path: Path) -> None:
    one, other = Dataset.open(phantom), Dataset.open(renamed(phantom, tmp_path / "copy"))
    assert {one.content(case) for case in one.cases[1:]} == {other.content(case) for case in other.cases}
    path = other.cases[0].image
    pixels = np.array(Image.open(path))
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(path)
    again = Dataset.open(tmp_path / "copy")
    assert again.content(again.cases[0]) != one.content(one.cases[1])


def test_what_was_seen_is_kept_and_carried_along(phantom: Path, tmp_path: Path) -> None:
    dataset = Dataset.open(phantom)
    split = make_split(dataset)
    mine = Seen.of(dataset, split.train, split.val)
    (mine | Seen({"0": "elsewhere"})).write(tmp_path)
    assert Seen.read(tmp_path) == mine | Seen({"0": "elsewhere"})
    assert Seen.read(phantom) is None
    assert mine.among(dataset, split.test) == [] and len(mine.among(dataset, split.train)) == len(split.train)
