"""The state of an optimiser as named tensors and back, without pickling."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from syndiff.errors import SyndiffError


def pack_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Moments and step counts of an optimiser as named tensors, without pickling."""
    return {
        f"optimizer.{index}.{name}": value
        for index, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
    }


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], checkpoint: Path) -> None:
    """The way back of `pack_optimizer`, from a `checkpoint`, into an AdamW over the same parameters.

    Moments take the memory layout of their parameter again, so that every kernel computes as if never interrupted.
    Raises SyndiffError unless each parameter has its two moments, of its own shape, and its step count.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    found = {name: value for name, value in tensors.items() if name.startswith("optimizer.")}
    shapes = {
        f"optimizer.{position}.{name}": shape
        for position, parameter in enumerate(parameters)
        for name, shape in (("step", torch.Size()), ("exp_avg", parameter.shape), ("exp_avg_sq", parameter.shape))
    }
    for name in sorted(shapes.keys() | found.keys()):
        if name not in shapes or name not in found or found[name].shape != shapes[name]:
            raise SyndiffError(
                f"{checkpoint / 'training_state'} does not hold the optimiser of this network: {name} is missing, "
                "unknown or of another shape. Restore the files that belong together."
            )
    state: dict[int, dict[str, Tensor]] = {}
    for position, parameter in enumerate(parameters):
        state[position] = {"step": found[f"optimizer.{position}.step"]}
        for name in ("exp_avg", "exp_avg_sq"):
            value = found[f"optimizer.{position}.{name}"]
            state[position][name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
