"""The studies of trained segmenters: timesteps, steps and uncertainty, on tiny ones trained here."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from syndiff.cli import main
from syndiff.data.dataset import Dataset
from syndiff.models.prediction import SegmenterPredictor
from syndiff.training.checkpoints import best_checkpoint
from tiny_commands import TINY

CONTROL = [setting for setting in TINY if not setting.startswith(("model.condition", "model.denoiser"))]


@pytest.fixture(scope="module")
def phantom(_phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(_phantom, tmp_path_factory.mktemp("studies") / "phantom"))


@pytest.fixture(scope="module")
def runs(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    split = folder / "split.json"
    main(["data", "split", "--data", str(phantom), "--out", str(split)])
    made = {}
    for name, more in (
        ("z0", ()),
        ("noise", ("model.objective=noise+latent", "model.zero_terminal_snr=false")),
        ("control", ("model.kind=control", "model.control_dropout=0.5")),
    ):
        made[name] = folder / name
        main(
            [
                "train",
                "--data",
                str(phantom),
                "--split",
                str(split),
                "--out",
                str(made[name]),
                *(CONTROL if name == "control" else TINY),
                *more,
            ]
        )
    return made


def test_each_run_is_scored_from_every_timestep_once(syndiff, phantom, runs, tmp_path) -> None:
    both = [runs["z0"], runs["noise"]]
    command = ["study", "timesteps", "--data", phantom, "--out", tmp_path / "out", "--timesteps", 50, 999]
    outcome = syndiff(*command, "--runs", *both)
    assert outcome.status == 0, outcome.err
    assert "| t | z0 (z0) | noise (noise+latent) |" in outcome.out
    dice = json.loads((tmp_path / "out" / "timesteps.json").read_text())["dice"]
    assert all(set(scores) == {"50", "999"} for scores in dice.values())
    figure = (tmp_path / "out" / "timesteps.svg").read_text()
    assert "noise+latent" in figure and "mean Dice" in figure
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("summary.json")}
    assert len(kept) == 4
    again = syndiff(*command, "--runs", *both)
    assert again.out == outcome.out
    assert kept == {path: path.stat().st_mtime_ns for path in kept}, "a finished cell was computed again"
    assert (tmp_path / "out" / "timesteps.svg").read_text() == figure

    assert "no timesteps" in syndiff(*command, "--runs", runs["control"]).err
    assert "0 to 999" in syndiff(*command[:-2], 1000, "--runs", runs["z0"]).err
    assert "holds no trained model" in nowhere(syndiff, command, runs["z0"], tmp_path).err


def test_more_steps_are_set_against_one_by_difficulty(syndiff, phantom, runs, tmp_path) -> None:
    command = ["study", "steps", "--data", phantom, "--out", tmp_path / "out"]
    outcome = syndiff(*command, "--runs", runs["noise"], "--steps", 2, 5)
    assert outcome.status == 0, outcome.err
    study = json.loads((tmp_path / "out" / "steps.json").read_text())
    found = study["runs"]["noise"]
    assert list(found["steps"]) == ["1", "2", "5"] and outcome.out.count("| noise |") == 3
    doubt = found["disagreement"]
    assert doubt["easy third"] <= doubt["middle third"] <= doubt["hard third"]
    one, five = (found["steps"][count]["parts"] for count in ("1", "5"))
    for part, scores in five.items():
        difference = scores["dice"]["mean"] - one[part]["dice"]["mean"]
        assert scores["difference"]["mean"] == pytest.approx(difference) and "difference" not in one[part]
    assert sum(scores["dice"]["cases"] for scores in five.values()) == 2 * study["cases"]
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("summary.json")}
    assert len(kept) == 3
    swept = ["study", "timesteps", "--data", phantom, "--out", tmp_path / "out", "--timesteps", 2, 5]
    assert syndiff(*swept, "--runs", runs["noise"]).status == 0
    assert len([*(tmp_path / "out").rglob("summary.json")]) == 5, "a step from t = 5 is not five steps"
    again = syndiff(*command, "--runs", runs["noise"], "--steps", 2, 5)
    assert again.status == 0 and kept == {path: path.stat().st_mtime_ns for path in kept}

    assert "numbers above 1" in syndiff(*command, "--runs", runs["noise"], "--steps", 1, 5).err
    assert "no timesteps" in syndiff(*command, "--runs", runs["control"]).err
    assert "1 to 1000" in syndiff(*command, "--runs", runs["z0"], "--steps", 1001).err


def nowhere(syndiff, command, run: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "split.json").write_text((run / "split.json").read_text())
    return syndiff(*command, "--runs", tmp_path / "empty")


def test_every_way_to_several_answers_is_judged(syndiff, phantom, runs, tmp_path) -> None:
    command = ["study", "uncertainty", "--data", phantom, "--out", tmp_path / "out", "--members", 2]
    outcome = syndiff(*command, "--runs", runs["z0"], runs["control"])
    assert outcome.status == 0, outcome.err
    found = json.loads((tmp_path / "out" / "uncertainty.json").read_text())
    assert list(found["answers"]) == [
        *("z0, 2 views, each with its noise", "z0, 2 noises", "control, 2 views", "control, 2 dropout masks")
    ]
    for row in found["answers"].values():
        assert 0 <= row["calibration_error"]["mean"] <= 1
        assert sum(row["reliability"]["pixels"]) == found["cases"] * 96 * 112
        assert row["auc_variance"]["mean"] is None or 0 <= row["auc_variance"]["mean"] <= 1
    assert (tmp_path / "out" / "reliability.svg").is_file()
    assert "expected 2, 4 or 8" in syndiff(*command[:-1], 3, "--runs", runs["z0"]).err
    assert "--wrong-below is 0" in syndiff(*command, "--wrong-below", 0, "--runs", runs["z0"]).err


def test_answers_differ_by_noise_and_the_first_is_that_of_predict(syndiff, phantom, runs) -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    predictor = SegmenterPredictor.load(best_checkpoint(runs["z0"]), name="z0", tta=1)
    answers = predictor.members(image, case_id="a", draws=3, tta=1)
    assert answers.shape == (3, 40, 50)
    assert not np.array_equal(answers[0], answers[1])
    assert np.allclose(answers[0], predictor.predict(image, case_id="a").probability, atol=1e-6)
    turned = SegmenterPredictor.load(best_checkpoint(runs["control"]), name="control", tta=4)
    views = turned.members(image, case_id="a", draws=1, tta=4)
    assert np.allclose(views.mean(0), turned.predict(image, case_id="a").probability, atol=1e-5)
    dropped = turned.members(image, case_id="a", draws=2, tta=1)
    assert not np.array_equal(dropped[0], dropped[1])
    assert np.array_equal(dropped, turned.members(image, case_id="a", draws=2, tta=1))
    assert not np.array_equal(dropped, turned.members(image, case_id="b", draws=2, tta=1))


def test_altered_frames_are_made_once_and_scored_beside_their_controls(syndiff, phantom, runs, tmp_path) -> None:
    out = tmp_path / "out"
    command = ["study", "robustness", "--data", phantom, "--out", out, "--runs", runs["z0"], "--sizes", 0.7]
    plan = syndiff(*command, "--contrasts", 0.5, "--dry-run")
    assert plan.status == 0 and "7 cells" in plan.out and not out.exists(), plan.err
    done = syndiff(*command, "--contrasts", 0.5)
    assert done.status == 0, done.err
    found = json.loads((out / "robustness_val.json").read_text())["runs"]["z0"]["changes"]
    assert {"original", "put back", "paler to 0.5", "removed"} <= found.keys()
    paler = found["paler to 0.5"]
    assert paler["control"] == "put back" and paler["difference"]["dice"]["mean"] == pytest.approx(
        paler["dice"]["mean"] - found["put back"]["dice"]["mean"]
    )
    assert found["removed"]["dice"]["mean"] is None and "dice" not in found["removed"].get("difference", {})
    assert "What the inpainter's trace alone does" in done.out and "| z0 | removed |" in done.out
    (altered,) = (out / "altered").iterdir()
    assert (altered / "sheet.png").is_file() and (out / "robustness_val.svg").is_file()
    original = Dataset.open(altered / "original")
    for case in original.cases:
        assert np.array_equal(original.load(case)[0], Dataset.open(phantom).load(Dataset.open(phantom)[case.id])[0])

    kept = {path: path.stat().st_mtime_ns for path in out.rglob("summary.json")}
    pictures = {path: path.read_bytes() for path in altered.rglob("images/*")}
    killed = next((altered / "cases").iterdir())
    killed.unlink()  # as if killed while this case was altered
    more = syndiff(*command, "--contrasts", 0.5, 0.25)
    assert more.status == 0 and "paler to 0.25" in more.out, more.err
    assert kept == {path: path.stat().st_mtime_ns for path in kept}, "a finished cell was computed again"
    assert pictures == {path: path.read_bytes() for path in pictures} and killed.is_file()
    for options, said in (
        (["--contrasts", 1.0], "--contrasts 1.0: expected shares from 0.1 to below 1"),
        (["--contrasts", 0.5, 0.5], "each once"),
        (["--model", "x"], "have no effect with copy_paste"),
        (["--set", "synthesis.prompts=polyp"], "no effect on `syndiff study robustness with copy_paste`"),
        (["--inpainter", "compact"], "no weights of its own"),
    ):
        refused = syndiff(*command, *options)
        assert refused.status == 2 and said in refused.err, refused.err
