"""Two classes from the images to the report, with the command line, and what does not take several says so."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import syndiff as package
from syndiff.training.checkpoints import best_checkpoint
from tiny_commands import SMALL

TINY = [
    *SMALL,
    "model.inference_tta=2",
    "training.batch_size=4",
    "model.denoiser_channels=16",
]
TINY += ["model.condition_channels=16", "training.validate_every=3", "training.checkpoint_every=3"]
TINY += ["training.steps=3", "run.minutes=0", "run.gap_steps=2", "synthesis.share=0.3", "model.autoencoder=mask"]


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("two") / "set"
    package.write_phantom(root, groups=7, frames=2, height=72, width=88, instruments=True)
    return root


@pytest.mark.slow
def test_two_classes_run_to_the_report_and_predict(syndiff, two: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = syndiff("run", "--data", two, "--out", out, "--set", *TINY, "synthesis.inpainter=copy_paste")
    assert done.status == 0, done.err
    assert json.loads((out / "synthetic" / "dataset.json").read_text())["classes"] == {"1": "polyp", "2": "instrument"}
    for arm in ("control", "real", "real+synthetic"):
        described = json.loads((best_checkpoint(out / arm) / "model.json").read_text())
        assert described["targets"]["classes"] == {"1": "polyp", "2": "instrument"}
        (table,) = (out / arm / "eval").glob("*/per_case.csv")
        with table.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert {row["class"] for row in rows} == {"polyp", "instrument"} and len(rows) == 2 * len(
            {r["case"] for r in rows}
        )
    report = (out / "report.html").read_text()
    assert "Dice, mean over classes" in report and "Dice of instrument" in report
    done = syndiff("predict", "--run", out / "real", "--images", two / "images", "--out", tmp_path / "masks")
    assert done.status == 0, done.err
    assert all(set(np.unique(np.asarray(Image.open(path)))) <= {0, 1, 2} for path in (tmp_path / "masks").glob("*.png"))
    told = str(package.evaluate(out / "real", two, progress=False))
    assert "means over classes" in told and "\ninstrument\n  dice" in told


@pytest.mark.parametrize(
    "words",
    [
        ("study", "uncertainty", "--runs", "nowhere", "--data", "{two}", "--out", "{out}"),
        ("synthesize", "--data", "{two}", "--out", "{out}", "--count", "1", "--inpainter", "copy_paste",
         "--set", "synthesis.paints=tool"),
    ],
)  # fmt: skip
def test_what_does_not_take_these_classes_says_so_and_writes_nothing(syndiff, two, tmp_path, words) -> None:
    done = syndiff(*(word.format(two=two, out=tmp_path / "out") for word in words))
    assert done.status == 2 and ("takes one class, but here are 2 classes" in done.err or "no class 'tool'" in done.err)
    assert not list((tmp_path / "out").glob("*.json")) if (tmp_path / "out").exists() else True
