"""Named tensors in safetensors files, written atomically and read with errors that name the file."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

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
        raise SyndiffError(f"{path} does not exist; restore it or train again.") from None
    except SafetensorError as error:
        raise SyndiffError(f"{path} is damaged ({error}); restore it or train again.") from None
