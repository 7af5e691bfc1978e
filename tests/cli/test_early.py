"""What settings, split and files can tell is told before anything is trained; what follows may still be corrected."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from syndiff.data.dataset import Dataset
from syndiff.data.splits import make_split
from syndiff.errors import SyndiffError
from syndiff.models.settings import InpaintingSettings
from syndiff.pipeline.early import check_adaptation
from syndiff.synthesis.prompts.grammar import Grammar
from tiny_commands import TINY

RUN = [*TINY, "training.steps=4", "run.minutes=0"]
COPIED = "synthesis.inpainter=copy_paste"


def at_the_edge(data: Path) -> None:
    """Every mask covers the upper half of its frame."""
    for path in (data / "masks").iterdir():
        mask = np.zeros((96, 112), np.uint8)
        mask[:48] = 255
        Image.fromarray(mask).save(path)


def three_cases(data: Path) -> None:
    for name in ("groups.csv", "captions.csv"):
        (data / name).unlink()
    for kind in ("images", "masks"):
        for path in sorted((data / kind).iterdir())[3:]:
            path.unlink()


def as_it_is(data: Path) -> None:
    pass


@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["run", "dry run"])
@pytest.mark.parametrize(
    ("dataset", "settings", "message"),
    [
        (as_it_is, ["compact.steps=2000"], "compact.steps is 2000, expected no more than the 1000 timesteps"),
        (as_it_is, ["inpainter.timesteps=10"], "compact.steps is 25, expected no more than the 10 timesteps"),
        (as_it_is, ["adapt.colour=1.5"], "adapt.colour is 1.5, expected at least 0, below 1"),
        (as_it_is, ["adapt.hue=200"], "adapt.hue is 200, expected 0 to 180"),
        (as_it_is, ["synthesis.share=.nan"], "synthesis.share is nan"),
        (as_it_is, ["synthesis.backgrounds=nowhere"], "synthesis.backgrounds is nowhere"),
        (as_it_is, ["gates.text_model=nowhere"], "text_model is nowhere"),
        (as_it_is, ["inpainter.autoencoder=/nowhere"], "/nowhere"),
        (as_it_is, ["model.autoencoder=/nowhere"], "/nowhere"),
        (as_it_is, [COPIED, "synthesis.background_lesion=remove"], "synthesis.background_lesion is 'remove'"),
        (at_the_edge, [COPIED], "has a whole lesion"),
        (at_the_edge, [], "has a whole lesion"),
        (three_cases, [COPIED], "needs at least two; found 1"),
    ],
)
def test_run_refuses_what_cannot_be_before_it_writes_anything(
    dataset, settings, message, dry, syndiff, phantom, tmp_path
):
    dataset(phantom)
    refused = syndiff("run", "--data", phantom, "--out", tmp_path / "run", *dry, *RUN, *settings)
    assert refused.status == 2 and message in refused.err, refused.err
    assert "Traceback" not in refused.err and not (tmp_path / "run").exists()


@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["synthesize", "dry run"])
def test_synthesize_refuses_what_has_no_place_before_it_writes_anything(dry, syndiff, phantom, tmp_path):
    at_the_edge(phantom)
    made = tmp_path / "split.json"
    assert syndiff("data", "split", "--data", phantom, "--out", made).status == 0
    command = ["synthesize", "--data", phantom, "--split", made, "--out", tmp_path / "new", "--count", 1]
    refused = syndiff(*command, "--inpainter", "copy_paste", *dry)
    assert refused.status == 2 and "has a whole lesion" in refused.err, refused.err
    assert not (tmp_path / "new").exists()


def test_an_inpainter_needs_lesions_on_both_sides(phantom):
    dataset = Dataset.open(phantom)
    split = make_split(dataset, method="auto", seed=0)
    for case in split.val:
        Image.new("L", (112, 96), 0).save(dataset[case].mask)
    with pytest.raises(SyndiffError, match=r"validation cases of .* has a lesion"):
        check_adaptation(dataset, split, Grammar.for_dataset(dataset), InpaintingSettings(), fetch=False)
    check_adaptation(
        dataset, replace(split, val=split.train[:1]), Grammar.for_dataset(dataset), InpaintingSettings(), fetch=False
    )


def test_a_training_that_no_machine_can_hold_is_refused_before_it_allocates_anything(syndiff, phantom, tmp_path):
    made = tmp_path / "split.json"
    assert syndiff("data", "split", "--data", phantom, "--out", made).status == 0
    command = ["train", "--data", phantom, "--split", made, "--out", tmp_path / "run"]
    large = ["model.image_size=1024", "training.batch_size=4096", "model.condition_channels=2048"]
    refused = syndiff(*command, "--set", *large)
    assert refused.status == 2 and "GiB of memory, and this machine has" in refused.err, refused.err
    assert not (tmp_path / "run").exists()
    planned = syndiff(*command, "--dry-run", "--set", *large)  # for a plan of another machine
    assert planned.status == 0 and "ESTIMATE" in planned.out


@pytest.mark.slow
def test_a_run_whose_synthetic_cases_are_all_refused_reports_the_others_and_goes_on_with_other_settings(
    syndiff, phantom, tmp_path, monkeypatch
):
    run = tmp_path / "run"
    command = ["run", "--data", phantom, "--out", run, *RUN, COPIED]
    strict = syndiff(*command, "gates.quantile=0.4999", "synthesis.grain=false", "synthesis.share=0.05")
    assert strict.status == 2 and "no synthetic case was accepted" in strict.err, strict.err
    assert "gates.mode=report" in strict.err and "Traceback" not in strict.err
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "This run cannot say: none of" in page and "real only" in page
    assert (run / "real" / "eval").is_dir() and not (run / "real+synthetic").exists()
    kept = {path: path.stat().st_mtime_ns for path in run.rglob("model.safetensors")}

    refused = syndiff(*command, "training.learning_rate=0.5")  # its stage is over
    assert refused.status == 2 and "training.learning_rate: 0.0007 there, 0.5 here" in refused.err

    moved = Path(shutil.move(phantom, tmp_path / "moved"))
    monkeypatch.chdir(tmp_path)
    command[2] = moved.name
    done = syndiff(*command, "gates.mode=report")
    assert done.status == 0 and "real + synthetic" in done.out, done.err
    assert kept == {path: path.stat().st_mtime_ns for path in kept}, "a finished stage was done again"
    assert yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["gates"]["mode"] == "report"
    assert "gates.mode: on there, report here" in (run / "log.txt").read_text(encoding="utf-8")
    samples = (run / "synthetic-refused-1" / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    assert not any(json.loads(line)["accepted"] for line in samples)

    late = syndiff(*command, "gates.mode=off")
    assert late.status == 2 and "gates.mode: report there, off here" in late.err
