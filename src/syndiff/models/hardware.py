"""What this machine computes well."""

from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def has_fast_bf16() -> bool:
    """True when bf16 is faster than fp32: a CUDA device that supports it, or a CPU with bf16 instructions."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return False
    return bool(flags & {"avx512_bf16", "amx_bf16"})


def default_device() -> torch.device:
    """CUDA when present, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def channels_last(module: M) -> M:
    """The module with its convolutions' weights laid out channels last, which is faster on processors and GPUs."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
