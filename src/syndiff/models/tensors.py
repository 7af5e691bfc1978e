"""Named tensors in files: written atomically, read and compared with errors that name the file."""

import io
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from syndiff.errors import SyndiffError
from syndiff.files import write_bytes


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write `tensors` as one safetensors file. Raises OSError when the disk is full."""
    write_bytes(path, save({name: value.detach().cpu().contiguous() for name, value in tensors.items()}))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file; a missing or damaged one is a `SyndiffError`."""
    try:
        return load(path.read_bytes())
    except FileNotFoundError:
        raise SyndiffError(f"{path} does not exist; restore it, or download or train it again.") from None
    except SafetensorError as error:
        raise SyndiffError(f"{path} is damaged ({error}); restore it, or download or train it again.") from None


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors of published weights: a safetensors file, or a pickled state dict read without running its code."""
    if path.suffix == ".safetensors":
        return read_tensors(path)
    content = io.BytesIO(path.read_bytes())
    try:
        state = torch.load(content, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError):
        state = None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise SyndiffError(f"{path} is damaged or holds something else than named tensors; download it again.")
    return state


def check_fit(path: Path, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise SyndiffError unless the tensors `found` in `path` have the names and the shapes of `expected`."""
    wrong = [
        name
        for name in sorted(expected.keys() | found.keys())
        if name not in expected or name not in found or expected[name].shape != found[name].shape
    ]
    if wrong:
        name = wrong[0]
        here, there = (str(list(t[name].shape)) if name in t else "absent" for t in (found, expected))
        raise SyndiffError(
            f"{path} does not fit the network: {len(wrong)} tensors differ, the first is {name} (found {here}, "
            f"expected {there}). Restore the files that belong together."
        )


def trainable_state(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers that belong to the model itself: all but the frozen autoencoder's."""
    return {name: value for name, value in model.state_dict().items() if not name.startswith("autoencoder.")}
