"""The study of baselines: the same minutes or steps for every network, several splits, kept cells, a paired table."""

import json
import shutil
import sys
from dataclasses import replace
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from syndiff.evaluation.evaluate import CaseRow
from syndiff.evaluation.metrics import case_metrics
from syndiff.studies.table import as_markdown, tabulate

TINY = [
    *("--set", "model.image_size=32", "model.inference_tta=1", "training.coarse_share=0", "training.steps=2"),
    "training.batch_size=2",
]


def row(case: str, group: str, dice: float) -> CaseRow:
    mask = np.eye(8, dtype=bool)
    return CaseRow(case, group, replace(case_metrics(mask, mask), dice=dice), 0.1)


def test_a_case_on_the_scored_side_of_two_splits_counts_once() -> None:
    control = [[row("a", "g", 0.2), row("b", "h", 0.6)], [row("a", "g", 0.4), row("c", "i", 0.9)]]
    better = [[replace(r, metrics=replace(r.metrics, dice=r.metrics.dice + 0.05)) for r in rows] for rows in control]
    content = tabulate({"diffusion": better, "control": control}, "control")
    assert content["control"]["dice"]["mean"] == pytest.approx((0.3 + 0.6 + 0.9) / 3)
    assert content["control"]["dice"]["cases"] == 3
    assert content["control"]["repeats"] == pytest.approx([0.4, 0.65])
    assert content["diffusion"]["difference"]["dice"]["mean"] == pytest.approx(0.05)
    assert "difference" not in content["control"]
    assert "Dice - control" in as_markdown(content, "control")


@pytest.mark.slow
def test_every_network_is_trained_on_every_split_and_kept(
    forked: ModuleType, syndiff, phantom: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [
        "study",
        "baselines",
        "--data",
        phantom,
        "--out",
        out,
        "--splits",
        2,
        "--kinds",
        "diffusion",
        "segresnet",
    ]
    command += ["--seed", 1, "--train-minutes", 0]
    done = syndiff(*command, *TINY)
    assert done.status == 0, done.err
    arms = json.loads((out / "baselines_val.json").read_text())["arms"]
    assert list(arms) == ["control", "diffusion", "segresnet"]
    assert all(len(arm["repeats"]) == 2 for arm in arms.values())
    splits = {number: json.loads((out / "splits" / f"{number}.json").read_text()) for number in (1, 2)}
    assert splits[1]["test"] != splits[2]["test"]
    for cell in (out / "cells").glob("*/*"):
        assert json.loads((cell / "split.json").read_text()) == splits[int(cell.name)]
    kept = {p: p.stat().st_mtime_ns for p in out.rglob("model.safetensors")}
    assert len({p.parents[2] for p in kept}) == 6
    again = syndiff(*command, *TINY)
    assert again.out == done.out and kept == {p: p.stat().st_mtime_ns for p in kept}

    (beside := tmp_path / "beside").mkdir()
    for kind in ("control", "segresnet"):  # these stay; two processes train the third network on both splits
        shutil.copytree(out / "cells" / kind, beside / "cells" / kind)
    shutil.copytree(out / "splits", beside / "splits")
    command[command.index(out)] = beside
    assert syndiff(*command, "--workers", 2, *TINY).status == 0
    found = json.loads((beside / "baselines_val.json").read_text())["arms"]
    assert found["segresnet"] == arms["segresnet"] and len(found["diffusion"]["repeats"]) == 2
    assert len([*(beside / "cells" / "diffusion").glob("*/checkpoints/best")]) == 2
    assert "--workers is 0" in syndiff(*command, "--workers", 0, *TINY).err

    assert "the control is always trained" in syndiff(*command, "--kinds", "unet", "unet", *TINY).err
    for idle in ("model.kind=control", "training.real_share=0.5"):
        assert "no effect on `syndiff study baselines`" in syndiff(*command, *TINY, idle).err
    without = [*command[:5], tmp_path / "plain", "--kinds", "unet", *TINY]
    assert "without the kind diffusion" in syndiff(*without, "model.objective=v").err
    assert "while run.minutes is above 0" in syndiff(*command[:-1], 1, *TINY).err
    assert "--train-minutes now" in syndiff(*command[:-2], "--minutes", 5, *TINY).err


def test_a_missing_library_shows_before_anything_is_trained(
    syndiff, phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoMonai(MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name == "monai":
                raise ModuleNotFoundError(name=name)

    for name in [name for name in sys.modules if name.partition(".")[0] == "monai"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [NoMonai(), *sys.meta_path])
    command = ["study", "baselines", "--data", phantom, "--out", tmp_path / "out", "--train-minutes", 0]
    missing = syndiff(*command, "--kinds", "diffusion", "segresnet", *TINY)
    assert missing.status == 2 and "baselines" in missing.err
    assert not (tmp_path / "out").exists()
