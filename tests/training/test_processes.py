"""Several processes, as `accelerate launch` or torchrun start them on several cards, here on the CPU."""

import json
import socket
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from syndiff.documents import read_objects
from syndiff.training.checkpoints import best_checkpoint, find_checkpoint
from tiny_commands import SMALL
from tiny_pipelines import save_narrow_kl

TINY = (
    *(*SMALL, "model.condition_channels=16", "model.denoiser_channels=16"),
    *("training.steps=4", "training.validate_every=2"),
)


def launch(forked: ModuleType, said: Path, arguments: list[object]) -> tuple[set[int | None], str]:
    """The statuses of a command in two processes that know of each other as a launcher tells them, and their words."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    all_of_them = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    logs = [said.with_suffix(f".{rank}") for rank in range(2)]
    both = [
        forked.start(forked.command, arguments, log, {**all_of_them, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank, log in enumerate(logs)
    ]
    for process in both:
        process.join()
    return {process.exitcode for process in both}, "".join(log.read_text() for log in logs)


@pytest.mark.slow
def test_two_processes_train_one_model_and_share_its_batch(
    forked: ModuleType, syndiff, phantom: Path, tmp_path: Path
) -> None:
    split = tmp_path / "split.json"
    assert syndiff("data", "split", "--data", phantom, "--out", split).status == 0
    run = tmp_path / "run"
    train = ["train", "--data", phantom, "--split", split, "--out", run, "--set", *TINY]
    statuses, said = launch(forked, tmp_path / "odd", [*train, "training.batch_size=3"])
    assert statuses == {2} and "3 and cannot be divided among 2 processes; make it a multiple of 2" in said
    assert not run.exists(), "the folder is free for the batch that fits"
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("somebody's")
    elsewhere = [tmp_path / "notes" if word == run else word for word in train]
    statuses, said = launch(forked, tmp_path / "strange", [*elsewhere, "training.batch_size=4"])
    assert statuses == {2} and said.count("mine.txt") == 2, "what one may not claim, the other does not wait for"
    encoder = (
        "model.encoder=autoencoder",
        "model.encoder_dropout=0",
        f"model.autoencoder={save_narrow_kl(tmp_path / 'kl')}",
    )
    whole = [*train, *encoder, "training.batch_size=4"]  # no statistics of a batch, which parts of it would change
    statuses, said = launch(forked, tmp_path / "even", [*whole, "training.accumulation=2"])
    assert statuses == {0}, said
    journal = list(read_objects(run / "metrics.jsonl", {}))
    assert [line["step"] for line in journal if "val_dice" in line] == [2, 4], "each process wrote its own lines"
    assert [line["images"] for line in journal if "images" in line] == [16]
    alone = tmp_path / "alone"
    assert syndiff(*(alone if word == run else word for word in whole)).status == 0
    losses = [line["losses"] for line in read_objects(alone / "metrics.jsonl", {}) if "losses" in line]
    assert [line["losses"] for line in journal if "losses" in line] == [
        pytest.approx(each, rel=1e-4) for each in losses
    ]
    shared, one = (load_file(find_checkpoint(each, "last") / "model.safetensors") for each in (run, alone))
    assert all(torch.allclose(shared[name], one[name], atol=1e-5) for name in one)
    described = json.loads((best_checkpoint(run) / "model.json").read_text())
    assert described["val_dice"] == max(line["val_dice"] for line in journal if "val_dice" in line)
