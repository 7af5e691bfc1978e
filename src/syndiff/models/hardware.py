"""What this machine computes well."""

import os
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


def memory_bytes() -> int | None:
    """Memory of the device that computes: the first GPU's, else this machine's; None where that cannot be told."""
    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory)
    return main_memory_bytes()


def main_memory_bytes() -> int | None:
    """Memory of this machine, its GPU's aside; None where that cannot be told."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def channels_last(module: M) -> M:
    """The module with its convolutions' weights laid out channels last, which is faster on CPUs and GPUs."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
