"""Several processes, as `accelerate launch` or torchrun start them on several cards, here on the processor."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from syndiff.training.checkpoints import best_checkpoint

TINY = ("model.image_size=32", "training.coarse_share=0", "training.steps=4", "training.validate_every=2")


# One after the other in the same two processes: starting them takes longer than both trainings.
BOTH = """
import sys
from syndiff.cli import main
odd, even = (word.split("|") for word in sys.argv[1:])
try:
    main(odd)
except SystemExit as stop:
    assert stop.code == 2
else:
    raise AssertionError("a batch that two processes cannot share was trained")
main(even)
"""


@pytest.mark.slow
def test_two_processes_train_one_model_and_share_its_batch(syndiff, phantom: Path, tmp_path: Path) -> None:
    split, script = tmp_path / "split.json", tmp_path / "both.py"
    assert syndiff("data", "split", "--data", phantom, "--out", split).status == 0
    script.write_text(BOTH)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    for name, batch_size in (("odd", 3), ("even", 4)):
        verb = ["train", "--data", phantom, "--split", split, "--out", tmp_path / name]
        launch.append("|".join(map(str, [*verb, "--set", *TINY, f"training.batch_size={batch_size}"])))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(launch, capture_output=True, text=True, env=environment, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "3 cannot be divided among 2 processes; make it a multiple of 2" in done.stderr
    assert not (tmp_path / "odd").exists(), "the folder is free for the batch that fits"

    run = tmp_path / "even"
    journal = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in journal if "val_dice" in line] == [2, 4], "each process wrote its own lines"
    assert [line["images"] for line in journal if "images" in line] == [16]
    described = json.loads((best_checkpoint(run) / "model.json").read_text())
    assert described["val_dice"] == max(line["val_dice"] for line in journal if "val_dice" in line)
