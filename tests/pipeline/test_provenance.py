"""What has seen held-out cases is not used with them, under whatever name it has seen them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from renamed import renamed
from syndiff.config.loading import load_settings
from syndiff.data.dataset import Dataset
from syndiff.data.seen import Seen
from syndiff.data.splits import Split, make_split
from syndiff.errors import SyndiffError
from syndiff.pipeline.provenance import check_elsewhere, refuse_held_out
from syndiff.synthesis.manifest import read_manifest
from tiny_commands import TINY


def test_pictures_are_held_out_under_any_name(phantom: Path, tmp_path: Path) -> None:
    dataset = Dataset.open(phantom)
    split = make_split(dataset)
    seen = Seen.of(dataset, split.train, split.val)
    refuse_held_out("a model", seen, dataset, split)
    turned = Split(**{**vars(split), "train": split.test, "test": split.train})
    copy = Dataset.open(renamed(phantom, tmp_path / "copy"))
    for held, parts in ((dataset, turned), (copy, make_split(copy, seed=3))):
        with pytest.raises(SyndiffError, match=r"a model has seen pictures .* leaks"):
            refuse_held_out("a model", seen, held, parts)


def test_no_frame_to_paint_into_and_no_lesion_that_is_lent_is_a_held_out_case(phantom: Path, tmp_path: Path) -> None:
    dataset, free = Dataset.open(phantom), tmp_path / "free"
    split = make_split(dataset)
    free.mkdir()
    Image.new("RGB", (64, 48), (150, 90, 80)).save(free / "a.png")
    check_elsewhere(load_settings(values={"synthesis.backgrounds": str(free)}), split, dataset)
    for case_id, words in ((split.test[0], "has seen pictures"), (split.train[0], "whose mask marks a lesion")):
        Image.open(dataset[case_id].image).save(free / "b.png")
        with pytest.raises(SyndiffError, match=rf"synthesis.backgrounds=.*{words}"):
            check_elsewhere(load_settings(values={"synthesis.backgrounds": str(free)}), split, dataset)
    copy = renamed(phantom, tmp_path / "copy")
    with pytest.raises(SyndiffError, match=r"synthesis.lesions=.* has seen pictures"):
        check_elsewhere(load_settings(values={"synthesis.lesions": str(copy)}), split, dataset)


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
    tiny = ["inpainter.crop_size=64", "inpainter.channels=[32, 32, 32]", "inpainter.caption_layers=1"]
    tiny += ["adapt.minutes=0", "adapt.steps=1", "adapt.crops=4", "adapt.batch_size=2"]
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


def test_shards_are_united_with_the_pictures_that_they_were_made_from(syndiff, phantom: Path, tmp_path: Path) -> None:
    split, shards = tmp_path / "split.json", [tmp_path / "1", tmp_path / "2"]
    assert syndiff("data", "split", "--data", phantom, "--out", split).status == 0
    made = ["synthesize", "--data", phantom, "--split", split, "--count", 3, "--inpainter", "copy_paste"]
    for number, shard in enumerate(shards, 1):
        assert syndiff(*made, "--gates", "off", "--out", shard, "--shard", f"{number}/2").status == 0
    sample = next(read_manifest(shards[0] / "manifest.jsonl"))
    frame = phantom / "images" / f"{sample.source_case}.png"
    pixels = np.array(Image.open(frame))
    Image.fromarray(pixels ^ 1).save(frame)
    merged = syndiff("merge", *shards, "--data", phantom, "--out", tmp_path / "all", "--count", 3)
    assert merged.status == 2 and "has changed" in merged.err and not (tmp_path / "all").exists()


def test_a_folder_of_refused_cases_says_that_the_gates_refused_them(syndiff, phantom: Path, tmp_path: Path) -> None:
    split, out = tmp_path / "split.json", tmp_path / "synthetic"
    assert syndiff("data", "split", "--data", phantom, "--out", split).status == 0
    strict = ["--inpainter", "copy_paste", "--set", "gates.quantile=0.4999", "synthesis.grain=false"]
    made = syndiff("synthesize", "--data", phantom, "--split", split, "--count", 1, "--out", out, *strict)
    assert made.status == 2 and "0 of 25 attempts accepted" in made.err
    refused = syndiff("train", "--data", phantom, "--out", tmp_path / "run", "--synthetic", out, *TINY)
    assert refused.status == 2 and "holds no accepted case" in refused.err, refused.err
    assert not (tmp_path / "run").exists()
