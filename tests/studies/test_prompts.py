"""The study of prompts: the same places in other words, with a compact inpainter taught here and a tiny SDXL."""

import json
from pathlib import Path

import numpy as np
import pytest

from syndiff.data.dataset import Dataset
from syndiff.models.efficientnet import imagenet_weights_file
from syndiff.synthesis.manifest import read_manifest
from tiny_commands import SMALL
from tiny_pipelines import save_tiny_pipeline

TINY = [
    *("--set", "inpainter.crop_size=64", "inpainter.channels=[32, 32, 32]", "inpainter.caption_channels=16"),
    *("inpainter.caption_layers=1", "adapt.minutes=0", "adapt.steps=2", "adapt.crops=16", "adapt.batch_size=2"),
]
SEGMENTER = [
    *(*SMALL, "model.condition_channels=16", "model.denoiser_channels=16", "model.inference_tta=1"),
    "training.batch_size=2",
]
pytestmark = pytest.mark.skipif(imagenet_weights_file() is None, reason="the extra imagenet is not installed")


@pytest.fixture
def split(syndiff, phantom: Path, tmp_path: Path) -> Path:
    assert syndiff("data", "split", "--data", phantom, "--out", tmp_path / "split.json").status == 0
    return tmp_path / "split.json"


def test_a_compact_inpainter_is_asked_in_the_words_that_it_knows(syndiff, phantom, split, tmp_path) -> None:
    taught, out = tmp_path / "taught", tmp_path / "out"
    assert syndiff("adapt", "--data", phantom, "--split", split, "--out", taught, *TINY).status == 0
    command = ["study", "prompts", "--data", phantom, "--split", split, "--model", taught, "--out", out, "--count", 2]
    few = ["--variants", "other noise", "empty", "--set", "compact.steps=2"]
    plan = syndiff(*command, "--dry-run")
    assert plan.status == 0 and "7 cells" in plan.out and not out.exists(), plan.err
    assert all(f"prompts: {name}" in plan.out for name in ("reworded", "vaguer", "wrong look", "wrong shape", "empty"))
    assert "synonyms" not in plan.out, "words that it never learned"
    done = syndiff(*command, *few)
    assert done.status == 0, done.err
    found = json.loads((out / "prompts_val.json").read_text())["variants"]
    assert [*found] == ["own", "other noise", "empty"]
    assert found["own"]["pixels"]["mean"] == found["own"]["features"]["mean"] == 0
    assert found["other noise"]["pixels"]["mean"] > 0.001
    assert found["empty"]["prompt"] == "" and "(nothing)" in done.out
    assert "Other noise alone changes a lesion by" in done.out and (out / "prompts_val.svg").is_file()
    made = {name: [*read_manifest(out / "synthetic" / name / "manifest.jsonl")] for name in ("own", "empty")}
    for own, other in zip(made["own"], made["empty"], strict=True):
        assert own.placement == other.placement and own.seed == other.seed and own.prompt != other.prompt
    first, second = (Dataset.open(out / "synthetic" / name) for name in ("own", "empty"))
    for case in first.cases:
        assert np.array_equal(first.load(case)[1], second.load(second[case.id])[1])
    for options, said in (
        (["--variants", "synonyms"], "--variants 'synonyms' is not possible: prompt "),
        (["--variants", "empty", "empty"], "expected each of them once"),
        (["--train", -1], "--train is -1; expected 0 or more"),
        (["--set", "model.image_size=64"], "no effect on `syndiff study prompts without --train`"),
    ):
        refused = syndiff(*command, *options)
        assert refused.status == 2 and said in refused.err, refused.err


def test_sdxl_reads_all_variants_and_a_segmenter_is_trained_with_each(syndiff, phantom, split, tmp_path) -> None:
    model, out = save_tiny_pipeline(tmp_path / "pipeline"), tmp_path / "out"
    command = ["study", "prompts", "--data", phantom, "--split", split, "--out", out, "--count", 2, "--steps", 2]
    chosen = ["--inpainter", "sdxl", "--model", model, "--train", 2, "--repeats", 1]
    settings = ["--set", "sdxl.steps=2", "sdxl.resolution=64", *SEGMENTER]
    plan = syndiff(*command, *chosen, "--dry-run", *settings)
    assert plan.status == 0 and "16 cells" in plan.out and not out.exists(), plan.err
    done = syndiff(*command, *chosen, "--variants", "synonyms", *settings)
    assert done.status == 0, done.err
    study = json.loads((out / "prompts_val.json").read_text())
    assert [*study["variants"]] == [*study["arms"]] == ["own", "synonyms"]
    assert study["arms"]["synonyms"]["difference"]["dice"]["cases"] == 3 and "| arm | Dice | Dice - own |" in done.out
