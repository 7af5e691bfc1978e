"""Checkpoint folders: whole or absent, few, and an optimiser that comes back as it was."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from syndiff.errors import SyndiffError
from syndiff.files import write_json
from syndiff.training.checkpoints import (
    best_checkpoint,
    find_checkpoint,
    go_on_from,
    load_state,
    save_checkpoint,
)
from syndiff.training.optimizer_state import pack_optimizer, unpack_optimizer


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


@pytest.mark.parametrize("by", ["the next checkpoint", "going on"])
def test_what_a_kill_left_is_cleared_away_and_nothing_else(tmp_path, by):
    save(tmp_path, 3)
    folder = tmp_path / "checkpoints"
    for name in (".000004.partial", "000001", "000002", "000001 (copy)", "backup", ".hidden"):
        (folder / name / "training_state").mkdir(parents=True)
    (folder / "notes.txt").write_text("the second run")
    (folder / "000005").symlink_to(folder / "backup")
    if by == "going on":
        assert go_on_from(tmp_path).name == "000003"
    else:
        save(tmp_path, 4)
    step = "000003" if by == "going on" else "000004"
    own = {".hidden", "000001 (copy)", "000005", "backup", "notes.txt"}
    assert {path.name for path in folder.iterdir()} == own | {step, "last"}


def test_a_kill_between_the_moves_of_the_pointers_costs_nothing(tmp_path):
    save(tmp_path, 1)
    folder = tmp_path / "checkpoints"
    shutil.copytree(folder / "000001", tmp_path / "first")
    save(tmp_path, 2, best=True)
    shutil.copytree(tmp_path / "first", folder / "000001")
    (folder / "last").write_text("000001")
    assert go_on_from(tmp_path).name == find_checkpoint(tmp_path, "last").name == "000002"


def test_a_lost_last_is_the_newest_and_said(tmp_path, caplog):
    save(tmp_path, 1, best=True)
    save(tmp_path, 2)
    (tmp_path / "checkpoints" / "last").unlink()
    assert go_on_from(tmp_path, tidies=False).name == "000002"
    assert "last is missing" in caplog.text and "000002, is taken" in caplog.text
    assert not (tmp_path / "checkpoints" / "last").exists()
    assert go_on_from(tmp_path).name == (tmp_path / "checkpoints" / "last").read_text() == "000002"


def save_scored(run, step, score, best_score, *, best):
    save(run, step, best=best, description={"val_dice": score}, progress={"step": step, "best": best_score})


def test_a_lost_best_is_told_by_its_score_and_said(tmp_path, caplog):
    save_scored(tmp_path, 1, 0.1 + 0.2, 0.1 + 0.2, best=True)
    save_scored(tmp_path, 2, 0.2, 0.1 + 0.2, best=False)
    (tmp_path / "checkpoints" / "best").unlink()
    assert best_checkpoint(tmp_path).name == "000001" and "best is missing" in caplog.text
    go_on_from(tmp_path)
    assert (tmp_path / "checkpoints" / "best").read_text() == "000001"


def test_a_lost_best_whose_checkpoint_is_gone_is_refused(tmp_path):
    save_scored(tmp_path, 1, 0.3, 0.3, best=True)
    save_scored(tmp_path, 2, 0.2, 0.3, best=False)
    shutil.rmtree(tmp_path / "checkpoints" / "000001")
    with pytest.raises(SyndiffError, match="points to '000001', which is not a checkpoint"):
        best_checkpoint(tmp_path)
    (tmp_path / "checkpoints" / "best").unlink()
    with pytest.raises(SyndiffError, match=r"best is missing, and none .* best score so far, 0\.3.* such as 000002"):
        best_checkpoint(tmp_path)


def test_before_the_first_validation_there_is_no_best(tmp_path):
    save(tmp_path, 1, progress={"step": 1, "best": None})
    assert find_checkpoint(tmp_path, "best") is None


@pytest.mark.parametrize("content", ["", "../000001", "best", "²00001", "000001\n000002", "0" * 300, "000007"])
def test_a_pointer_with_odd_content_is_refused_with_what_to_write(tmp_path, content):
    save(tmp_path, 1)
    (tmp_path / "checkpoints" / "last").write_text(content)
    with pytest.raises(SyndiffError, match=r"checkpoints/last points to .*write 000001, the newest one there") as no:
        find_checkpoint(tmp_path, "last")
    assert len(str(no.value)) < 600


@pytest.mark.parametrize("file", ["model.json", "model.safetensors"])
def test_a_pointer_at_a_folder_that_lacks_a_file_is_refused(tmp_path, file):
    save(tmp_path, 1)
    (tmp_path / "checkpoints" / "000001" / file).unlink()
    with pytest.raises(SyndiffError, match="which is not a checkpoint"):
        find_checkpoint(tmp_path, "last")


def test_a_state_of_another_step_is_refused(tmp_path):
    save(tmp_path, 1, progress={"step": 3, "seconds": 0.0})
    with pytest.raises(SyndiffError, match="is of step 3, not of the checkpoint 000001"):
        load_state(find_checkpoint(tmp_path, "last"))


def test_a_changed_state_is_refused_and_one_of_before_the_hash_is_read(tmp_path):
    save(tmp_path, 1, progress={"step": 1, "seconds": 0.0})
    folder = find_checkpoint(tmp_path, "last") / "training_state"
    save_file({"s": torch.ones(3)}, folder / "state.safetensors")
    with pytest.raises(SyndiffError, match=r"state\.safetensors is damaged: its SHA-256"):
        load_state(folder.parent)
    write_json(folder / "progress.json", {"step": 1, "seconds": 0.0})
    assert load_state(folder.parent)[0]["s"].tolist() == [1, 1, 1]


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
    for name in stored:
        for damaged in (
            {other: value for other, value in stored.items() if other != name},
            {**stored, name: torch.zeros(5)},
            {**stored, "optimizer.2.step": torch.tensor(1.0)},
        ):
            with pytest.raises(SyndiffError, match=r"here/training_state does not hold the optimiser"):
                unpack_optimizer(optimizers[1], damaged, Path("here"))
    models[1].load_state_dict(models[0].state_dict())
    unpack_optimizer(optimizers[1], stored, Path("here"))
    for first, second in zip(models[0].parameters(), models[1].parameters(), strict=True):
        for name, value in optimizers[0].state[first].items():
            again = optimizers[1].state[second][name]
            assert torch.equal(value, again) and value.stride() == again.stride()
    step(0)
    step(1)
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))
