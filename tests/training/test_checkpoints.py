"""Checkpoint folders: whole or absent, few, and an optimiser that comes back as it was."""

import pytest
import torch
from torch import nn

from syndiff.training.checkpoints import find_checkpoint, pack_optimizer, save_checkpoint, unpack_optimizer


def save(run, step, *, best=False, **changes):
    content = {
        "weights": {"w": torch.full((2,), float(step))},
        "description": {"step": step},
        "state": {"s": torch.zeros(3)},
        "progress": {"step": step},
    }
    save_checkpoint(run, step, best=best, **{**content, **changes})


def test_only_the_last_and_the_best_stay(tmp_path):
    for step in (1, 2, 3, 4):
        save(tmp_path, step, best=step == 2)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["000002", "000004", "best", "last"]
    assert find_checkpoint(tmp_path, "last").name == "000004" and find_checkpoint(tmp_path, "best").name == "000002"


def test_what_a_kill_left_half_written_is_cleared_away(tmp_path):
    save(tmp_path, 1)
    folder = tmp_path / "checkpoints"
    (folder / ".000002.partial" / "training_state").mkdir(parents=True)
    (folder / ".last.abc").write_text("0000")
    (folder / "000002").mkdir()
    save(tmp_path, 2)
    assert sorted(path.name for path in folder.iterdir()) == ["000002", "last"]
    assert (folder / "000002" / "model.safetensors").is_file()


def test_a_checkpoint_that_cannot_be_written_leaves_the_earlier_one(tmp_path):
    save(tmp_path, 1)
    with pytest.raises(ValueError):
        save(tmp_path, 2, progress={"best": float("nan")})  # JSON holds no NaN
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["000001", "last"]


def test_before_the_first_checkpoint_there_is_none(tmp_path):
    assert find_checkpoint(tmp_path, "last") is None


def test_an_optimiser_comes_back_with_its_moments_and_their_layout():
    """The layout in memory decides which kernel computes, and with it the last bits."""
    models = [nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    optimizers = [torch.optim.AdamW(model.parameters(), lr=0.1) for model in models]

    def step(index):
        optimizers[index].zero_grad()
        models[index](torch.ones(1, 3, 5, 5)).square().sum().backward()
        optimizers[index].step()

    step(0)
    stored = {
        name: value.clone(memory_format=torch.contiguous_format)
        for name, value in pack_optimizer(optimizers[0]).items()
    }
    assert len(stored) == 6
    models[1].load_state_dict(models[0].state_dict())
    unpack_optimizer(optimizers[1], stored)
    for first, second in zip(models[0].parameters(), models[1].parameters(), strict=True):
        for name, value in optimizers[0].state[first].items():
            again = optimizers[1].state[second][name]
            assert torch.equal(value, again) and value.stride() == again.stride()
    step(0)
    step(1)
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))
