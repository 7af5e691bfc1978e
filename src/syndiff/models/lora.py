"""LoRA files: found, hashed, and put into a pipeline so that nothing of them is silently left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import safe_open

from syndiff.documents import read_object
from syndiff.errors import SyndiffError
from syndiff.files import expanded, sha256
from syndiff.models.pipeline_folder import first_line
from syndiff.models.tensors import check_file, read_tensors

LORA_FILE = "pytorch_lora_weights.safetensors"
"""The name under which diffusers looks for a LoRA in a folder."""

ABOUT = "lora.json"
"""What made a LoRA of `syndiff adapt`, with the SHA-256 of its file; it lies beside it."""

_FIRST_FACTORS = ("lora_A.weight", "lora.down.weight", "lora_down.weight")


@dataclass(frozen=True)
class LoraFile:
    """A LoRA in a safetensors file; `name` is what the user called it, `weight` how strongly it is applied."""

    path: Path
    name: str
    weight: float

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the file."""
        return sha256(self.path)


def find_lora(name: str, weight: float) -> LoraFile:
    """Find a LoRA by the path of its file, or of a folder that holds pytorch_lora_weights.safetensors.

    Raises SyndiffError when there is none, when it is pickled or damaged, and when it holds no LoRA.
    """
    path = expanded(name)
    if path.is_dir():
        path = path / LORA_FILE
    if not path.is_file():
        raise SyndiffError(
            f"The LoRA {path} does not exist; expected a .safetensors file, or a folder that holds {LORA_FILE}, as "
            "`syndiff adapt` writes when it is done."
        )
    if path.suffix != ".safetensors":
        raise SyndiffError(f"The LoRA {path} is not read: pickled weights can run code. Convert it to safetensors.")
    check_file(path)
    if not _factors(path):
        raise SyndiffError(f"{path} holds no LoRA (none of its tensors is one of {', '.join(_FIRST_FACTORS)}).")
    return LoraFile(path, name, weight)


def load_loras(pipeline: Any, loras: Sequence[LoraFile]) -> None:
    """Put the LoRAs into `pipeline`, each with its weight.

    diffusers leaves out, with a warning, what fits no layer; here every factor of the file has to find its layer.
    Raises SyndiffError when one does not: the LoRA was made for another architecture.
    """
    if not loras:
        return
    for lora in loras:
        read_tensors(lora.path, sha256=noted_hash(lora.path))  # diffusers looks at no value
    import peft  # noqa: F401 (diffusers would not name the missing package's extra)

    for number, lora in enumerate(loras):
        adapter, expected = f"lora{number}", _factors(lora.path)
        try:
            pipeline.load_lora_weights(str(lora.path), adapter_name=adapter, local_files_only=True)
            found = _loaded(pipeline, adapter)
            mismatch = "" if found == expected else f"{found} of its {expected} layers exist there"
        except (RuntimeError, ValueError, KeyError, IndexError, AttributeError) as error:
            mismatch = first_line(error)
        if mismatch:
            channels = pipeline.unet.config.cross_attention_dim
            raise SyndiffError(
                f"The LoRA {lora.path} does not fit the pipeline {pipeline.config._name_or_path}, whose U-Net attends "
                f"to {channels} text channels: it was made for another architecture ({mismatch}). Use it with the "
                "model it was trained on."
            )
    pipeline.set_adapters([f"lora{number}" for number in range(len(loras))], [lora.weight for lora in loras])


def noted_hash(path: Path) -> str | None:
    """The SHA-256 that `syndiff adapt` noted of its LoRA `path` in lora.json beside it; None for one from elsewhere."""
    about = path.with_name(ABOUT)
    if path.name != LORA_FILE or not about.is_file():
        return None
    return str(read_object(about, {"file": str})["file"])


def _factors(path: Path) -> int:
    """Number of layers that a LoRA file changes."""
    with safe_open(path, "pt") as file:
        return sum(key.endswith(_FIRST_FACTORS) for key in file.keys())  # noqa: SIM118 (it is no dictionary)


def _loaded(pipeline: Any, adapter: str) -> int:
    """Number of layers that the adapter changes in the pipeline."""
    parts = (getattr(pipeline, name, None) for name in ("unet", "text_encoder", "text_encoder_2"))
    return sum(
        name.endswith(f"lora_A.{adapter}.weight") for part in parts if part for name, _ in part.named_parameters()
    )
