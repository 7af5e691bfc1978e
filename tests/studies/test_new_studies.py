"""The studies of trainings that are made of the engine alone, each from the command line on a tiny phantom."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from syndiff.phantom import write_phantom
from tiny_commands import SMALL

TINY = [
    *("--set", *SMALL, "model.condition_channels=16", "model.denoiser_channels=16"),
    *("model.inference_tta=1", "training.batch_size=2"),
]
STEPS = ["--steps", 2]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("small") / "set"
    write_phantom(root, groups=5, frames=2, height=64, width=64, seed=0)
    return root


def told(folder: Path, name: str) -> dict:
    return json.loads((folder / f"{name}.json").read_text())


@pytest.mark.slow
def test_ratio_trains_on_nested_parts_of_one_set(syndiff, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["study", "ratio", "--data", data, "--out", out, "--inpainter", "copy_paste", "--repeats", 1, *STEPS]
    plan = syndiff(*command, "--counts", 0, 1, 2, "--gates", "off", "--dry-run", *TINY)
    assert plan.status == 0 and "3 cells, 0 of them finished" in plan.out and "short calibration" in plan.out
    assert "2 synthetic cases with gates off" in plan.out and not out.exists()
    done = syndiff(*command, "--counts", 0, 1, 2, "--gates", "off", *TINY)
    assert done.status == 0, done.err
    arms = told(out, "ratio_val")["arms"]
    assert {name: arm["added"] for name, arm in arms.items()} == {"0": 0, "1": 1, "2": 2}
    assert "Dice beside" in done.out and (out / "ratio_val.svg").is_file()
    assert len([*(out / "synthetic").iterdir()]) == 1
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("val.json")}
    again = syndiff(*command, "--counts", 1, 2, "--gates", "off", *TINY)
    assert again.out == done.out and kept == {path: path.stat().st_mtime_ns for path in kept}
    for options, said in (
        (["--counts", 1, 1], "expected numbers from 1 on"),
        (["--counts", 1, "--gates", "on", "on"], "on or off, each once"),
        (["--counts", 1, "--gates", "off", *TINY, "gates.quantile=0.1"], "no effect on `syndiff study ratio without"),
        (["--counts", 1, "--groups", 1], "2 groups or more"),
        (["--counts", 1, "--model", "x"], "no effect with copy_paste"),
        (["--counts", 1, "--side", "val", *TINY, "training.learning_rate=0.1"], "made with other settings"),
    ):
        refused = syndiff(*command, *options, *([] if "--set" in options else TINY))
        assert refused.status == 2 and said in refused.err, refused.err


def test_leak_sets_a_random_split_beside_one_by_group(syndiff, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["study", "leak", "--data", data, "--splits", 1, *STEPS]
    done = syndiff(*command, "--out", out, *TINY)
    assert done.status == 0, done.err
    assert list(told(out, "leak_val")["levels"]) == ["group split", "random split"]
    splits = {path.stem: json.loads(path.read_text()) for path in (out / "splits").iterdir()}
    assert splits["random-0"]["leaky"] and not splits["group-0"]["leaky"]
    bare = Path(shutil.copytree(data, tmp_path / "bare"))
    (bare / "groups.csv").unlink()
    command[command.index(data)] = bare
    assert "no groups.csv" in syndiff(*command, "--out", tmp_path / "new", *TINY).err


def test_ablation_changes_one_setting_at_a_time(syndiff, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["study", "ablation", "--data", data, "--out", out, "--repeats", 1, *STEPS]
    done = syndiff(*command, "--axes", "encoder", "--also", "model.objective=v", *TINY)
    assert done.status == 0, done.err
    assert list(told(out, "ablation_val")["arms"]) == ["reference", "encoder frozen", "model.objective=v"]
    from_imagenet = [word for word in TINY if not word.startswith(("model.encoder", "model.pretrained"))]
    plan = syndiff(*command, "--dry-run", *from_imagenet)
    for level in (
        "encoder from random weights",
        "objective noise+latent",
        "without the loss on the mask",
        "lambda 0.1",
    ):
        assert plan.status == 0 and level in plan.out, plan.err
    assert "nothing of it to be changed" in syndiff(*command, "--axes", "pretraining", *TINY).err
    assert "changes nothing" in syndiff(*command, "--axes", "encoder", "--also", "model.norm=l1", *TINY).err


def test_transfer_tests_every_segmenter_on_every_dataset(syndiff, data: Path, tmp_path: Path) -> None:
    other, out = tmp_path / "other", tmp_path / "out"
    command = ["study", "transfer", "--out", out, *STEPS]
    shutil.copytree(data, other)
    assert "both called" in syndiff(*command, "--data", data, other, *TINY).err
    (other / "dataset.json").write_text((other / "dataset.json").read_text().replace("phantom", "other"))
    assert "a picture in common" in syndiff(*command, "--data", data, other, *TINY).err
    shutil.rmtree(other)
    write_phantom(other, groups=3, frames=1, height=64, width=64, seed=9)
    (other / "dataset.json").write_text((other / "dataset.json").read_text().replace("phantom", "other"))
    assert "expected two folders or more" in syndiff(*command, "--data", data, *TINY).err
    done = syndiff(*command, "--data", data, other, *TINY)
    assert done.status == 0, done.err
    tested = told(out, "transfer_val")["tested"]
    assert len(tested) == 2 and all(len(row) == 2 for row in tested.values())
    assert sum("difference" in each for row in tested.values() for each in row.values()) == 2
    assert "trained on" in done.out and "flatters it" in done.out


@pytest.mark.slow
def test_a_new_study_is_one_file(data: Path, tmp_path: Path) -> None:
    """The how-to's example, in a folder of definitions of its own: a verb with its options, which runs to its table."""
    page = (Path(__file__).parents[2] / "docs/how-to/studies.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "definitions").mkdir()
    (tmp_path / "definitions" / "batch_size.py").write_text(example, encoding="utf-8")
    start = (
        "import sys, syndiff.studies.definitions as there; there.__path__.append(sys.argv.pop(1)); "
        "from syndiff.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    settings = [name for name in TINY if not name.startswith("training.batch_size")]
    command = [*("study", "batch-size", "--data", data, "--out", tmp_path / "out", "--sizes", 2, 3)]
    done = subprocess.run(
        [sys.executable, "-c", start, *map(str, (tmp_path / "definitions", *command, *settings, "training.steps=2"))],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert list(told(tmp_path / "out", "batch_size_val")["arms"]) == ["2", "3"]
