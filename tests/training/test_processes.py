"""Several processes, as `accelerate launch` or torchrun start them on several cards, here on the processor."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from syndiff.training.checkpoints import best_checkpoint

TINY = ("model.image_size=32", "training.coarse_share=0", "training.steps=4", "training.validate_every=2")


@pytest.mark.slow
def test_two_processes_train_one_model_and_share_its_batch(syndiff, phantom: Path, tmp_path: Path) -> None:
    split, run = tmp_path / "split.json", tmp_path / "run"
    assert syndiff("data", "split", "--data", phantom, "--out", split).status == 0

    def train(batch_size: int) -> subprocess.CompletedProcess[str]:
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        verb = ["-m", "syndiff", "train", "--data", phantom, "--split", split, "--out", run]
        given = ["--set", *TINY, f"training.batch_size={batch_size}"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [str(word) for word in (*launch, *verb, *given)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)

    done = train(4)
    assert done.returncode == 0, done.stderr
    journal = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in journal if "val_dice" in line] == [2, 4], "each process wrote its own lines"
    assert [line["images"] for line in journal if "images" in line] == [16]
    described = json.loads((best_checkpoint(run) / "model.json").read_text())
    assert described["val_dice"] == max(line["val_dice"] for line in journal if "val_dice" in line)

    run = tmp_path / "odd"
    odd = train(3)
    assert odd.returncode != 0 and "3 cannot be divided among 2 processes; make it a multiple of 2" in odd.stderr
    assert not (run / "checkpoints").exists()
