"""Checkpoints: written whole or not at all, described by their own JSON, safetensors only."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from syndiff.documents import read_json
from syndiff.errors import SyndiffError
from syndiff.files import write_json, write_text
from syndiff.models.tensors import read_tensors, write_tensors


def save_checkpoint(
    run: Path,
    step: int,
    *,
    weights: Mapping[str, Tensor],
    description: dict[str, Any],
    state: Mapping[str, Tensor],
    progress: dict[str, Any],
    best: bool,
) -> None:
    """Write checkpoints/<step>/ and let `last` (and `best`) point to it; older ones that nothing points to go.

    `weights` and `description` are the model as it is used; `state` (tensors) and `progress` (JSON) are what training
    needs to go on. The folder appears under its name only when complete, the pointers move after that.
    """
    folder = run / "checkpoints"
    building = folder / f".{step:06d}.partial"
    if building.exists():
        shutil.rmtree(building)
    try:
        write_tensors(building / "model.safetensors", weights)
        write_json(building / "model.json", description)
        write_tensors(building / "training_state" / "state.safetensors", state)
        write_json(building / "training_state" / "progress.json", progress)
    except BaseException:  # a full disk: give back what was taken
        shutil.rmtree(building, ignore_errors=True)
        raise
    final = folder / f"{step:06d}"
    if final.exists():  # left by a run that was killed before the pointer moved
        shutil.rmtree(final)
    building.replace(final)
    if best:
        write_text(folder / "best", final.name)
    write_text(folder / "last", final.name)
    kept = {
        (folder / pointer).read_text(encoding="utf-8") for pointer in ("last", "best") if (folder / pointer).is_file()
    }
    for old in folder.iterdir():
        if old.is_dir() and old.name not in kept:
            shutil.rmtree(old)
        elif old.is_file() and old.name not in ("last", "best"):  # a pointer that a kill left half-written
            old.unlink()


def find_checkpoint(run: Path, pointer: str) -> Path | None:
    """Folder that `last` or `best` points to, or None before the first checkpoint."""
    try:
        name = (run / "checkpoints" / pointer).read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return None
    folder = run / "checkpoints" / name
    if not name.isdigit() or not (folder / "model.json").is_file():
        raise SyndiffError(
            f"{run / 'checkpoints' / pointer} points to {name!r}, which is not a checkpoint there. "
            "Restore that folder, or delete the run folder and train again."
        )
    return folder


def best_checkpoint(run: Path) -> Path:
    """The best checkpoint of a training. Raises SyndiffError where there is none."""
    checkpoint = find_checkpoint(run, "best")
    if checkpoint is None:
        raise SyndiffError(
            f"{run} holds no trained model (no checkpoints/best); give a run folder of `syndiff train` or one arm of "
            "`syndiff run`."
        )
    return checkpoint


def load_state(checkpoint: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and JSON that training goes on from."""
    folder = checkpoint / "training_state"
    return read_tensors(folder / "state.safetensors"), read_json(folder / "progress.json")


def pack_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Moments and step counts of an optimiser as named tensors, without pickling."""
    return {
        f"optimizer.{index}.{name}": value
        for index, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
    }


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The way back of `pack_optimizer`, into an optimiser over the same parameters.

    Moments take the memory layout of their parameter again, so that every kernel computes as if never interrupted.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = value
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for position, entry in state.items():
        for name, value in entry.items():
            if value.shape == parameters[position].shape:
                entry[name] = torch.empty_like(parameters[position], dtype=value.dtype).copy_(value)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
