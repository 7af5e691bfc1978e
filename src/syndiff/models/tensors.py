"""Named tensors in files: written atomically, read whole, finite and of the right kind, or refused by name."""

import hashlib
import io
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from syndiff.errors import SyndiffError
from syndiff.files import write_bytes

_FLOATS = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64"}
"""What weights are stored as, in torch's words and in those of safetensors."""

_MEND = "Restore it, or download or train it again."


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write `tensors` as one safetensors file; returns its SHA-256. Raises OSError when the disk is full."""
    content = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def read_tensors(path: Path, *, sha256: str | None = None) -> dict[str, Tensor]:
    """Tensors of a safetensors file, whose `sha256` is checked where it was noted.

    Raises SyndiffError for a file that is missing, damaged or another one than was noted, and as `check_values` does.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise SyndiffError(f"{path} does not exist. {_MEND}") from None
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise SyndiffError(f"{path} is damaged: its SHA-256 is not the one noted when it was written. {_MEND}")
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise SyndiffError(f"{path} is damaged ({error}). {_MEND}") from None
    check_values(path, tensors)
    return tensors


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
    check_values(path, state)
    return state


def check_file(path: Path) -> None:
    """Raise SyndiffError unless `path` is a whole safetensors file with weights in floating point.

    Its values are not read: `check_values` judges them once a library has loaded them.
    """
    try:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 (it is no dictionary)
                _check_kind(path, name, file.get_slice(name).get_dtype())
    except SafetensorError as error:
        raise SyndiffError(f"{path} is damaged or cut short ({error}); get this file again.") from None


def check_values(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise SyndiffError for weights, loaded from `path`, that are whole numbers, or not finite."""
    for name, value in tensors.items():
        _check_kind(path, name, _FLOATS.get(value.dtype, str(value.dtype).removeprefix("torch.")))
        if value.dtype in _FLOATS and not torch.isfinite(value).all():
            raise SyndiffError(f"{path} is damaged: {name} holds values that are no finite numbers. {_MEND}")


def _check_kind(path: Path, name: str, kind: str) -> None:
    if name.endswith(("weight", "bias", "running_mean", "running_var")) and kind not in _FLOATS.values():
        raise SyndiffError(
            f"{path}: {name} is stored as {kind}, expected floating point ({', '.join(_FLOATS.values())}); quantised "
            "weights are not read. Get or train weights in floating point."
        )


def check_fit(path: Path, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise SyndiffError unless the tensors `found` in `path` have names, shapes and kinds of those `expected`."""
    wrong = [
        name
        for name in sorted(expected.keys() | found.keys())
        if name not in expected or name not in found or _outline(expected[name]) != _outline(found[name])
    ]
    if wrong:
        name = wrong[0]
        here, there = (_outline(t[name]) if name in t else "absent" for t in (found, expected))
        raise SyndiffError(
            f"{path} does not fit the network: {len(wrong)} tensors differ, the first is {name} (found {here}, "
            f"expected {there}). Restore the files that belong together."
        )


def check_loaded(path: Path, model: nn.Module, left: Mapping[str, Iterable[object]]) -> None:
    """Raise SyndiffError unless a library filled the whole `model` from `path`, all of it, with finite values.

    `left` is the library's own account (`output_loading_info`): what is missing it leaves at random values and only
    warns, and what it does not know it leaves out.
    """
    for kind, words in (("missing_keys", "missing"), ("unexpected_keys", "none of the network's")):
        if names := sorted(map(str, left[kind])):
            raise SyndiffError(f"{path}: {len(names)} tensors are {words}, the first is {names[0]}. Get it again.")
    check_values(path, model.state_dict())


def trainable_state(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers that belong to the model itself: all but the frozen autoencoder's."""
    return {name: value for name, value in model.state_dict().items() if not name.startswith("autoencoder.")}


def _outline(tensor: Tensor) -> str:
    """Its shape, and its kind where that is not floating point."""
    return str(list(tensor.shape)) + ("" if tensor.is_floating_point() else f" {tensor.dtype}")
