"""The compact autoencoder on real frames: mask Dice, image PSNR, latent channels and time.

    python benchmarks/autoencoder.py --data ../shared/data/cvc-clinicdb \
        --out results/autoencoder/compact_on_cvc_clinicdb.json

Targets: mask Dice mean >= 0.998 and minimum >= 0.985 over all masks, PSNR >= 35 dB, at most 16 latent channels,
encode + decode of one 256x256 image <= 60 ms on two cores. `--autoencoder` measures another one (a folder or hub id).
"""

import argparse
import platform
import shlex
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

from syndiff.data.dataset import Dataset
from syndiff.data.loading import load_cases
from syndiff.files import write_json
from syndiff.models.autoencoder import Autoencoder, load_autoencoder


@torch.inference_mode()
def quality(autoencoder: Autoencoder, dataset: Dataset, size: int, count: int | None) -> dict[str, float]:
    """Mask Dice and PSNR of every case at `size` pixels; PSNR over values clamped to [0, 1]."""
    chosen = np.linspace(0, len(dataset.cases) - 1, min(count or len(dataset.cases), len(dataset.cases))).round()
    ids = [dataset.cases[int(index)].id for index in chosen]
    cases = load_cases([(dataset, ids)], size)
    dice, psnr, latents, mask_latents = [], [], [], []
    for start in range(0, len(cases), 4):
        mask = cases.masks[start : start + 4].float()
        image = cases.images[start : start + 4].float() / 255
        latent = autoencoder.encode_mask(mask)
        decoded = autoencoder.decode_mask(latent) > 0
        shared = (decoded & mask.bool()).sum((1, 2, 3)).double()
        dice += (2 * shared / (decoded.sum((1, 2, 3)) + mask.sum((1, 2, 3)))).tolist()
        image_latent = autoencoder.encode(image * 2 - 1)
        again = (autoencoder.decode(image_latent) * 0.5 + 0.5).clamp(0, 1)
        psnr += (-10 * (again - image).square().mean((1, 2, 3)).log10()).tolist()
        mask_latents.append(latent.std().item())
        latents.append(image_latent.std().item())
    return {
        "cases": len(cases),
        "mask_dice_mean": float(np.nanmean(dice)),
        "mask_dice_min": float(np.nanmin(dice)),
        "psnr_db_mean": statistics.fmean(psnr),
        "psnr_db_min": min(psnr),
        "image_latent_std": statistics.fmean(latents),
        "mask_latent_std": statistics.fmean(mask_latents),
    }


@torch.inference_mode()
def milliseconds(autoencoder: Autoencoder, size: int, repeats: int = 30) -> dict[str, float]:
    """Median milliseconds to encode and to decode one image, after a warm-up."""
    image = torch.rand(1, 3, size, size).contiguous(memory_format=torch.channels_last) * 2 - 1
    latent = autoencoder.encode(image)
    times: dict[str, list[float]] = {"encode": [], "decode": []}
    for repeat in range(repeats + 5):
        start = time.perf_counter()
        autoencoder.encode(image)
        middle = time.perf_counter()
        autoencoder.decode(latent)
        if repeat >= 5:
            times["encode"].append(1000 * (middle - start))
            times["decode"].append(1000 * (time.perf_counter() - middle))
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {**medians, "encode+decode": medians["encode"] + medians["decode"]}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a dataset folder")
    parser.add_argument("--autoencoder", default="compact")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--count", type=int, help="evenly spread cases instead of all")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    autoencoder = load_autoencoder(options.autoencoder)
    autoencoder.to(memory_format=torch.channels_last)
    result = {
        "command": shlex.join(["python", *sys.argv]),
        "size": options.size,
        "fingerprint": autoencoder.fingerprint,
        "latent_channels": autoencoder.latent_channels,
        "parameters": sum(value.numel() for value in autoencoder.parameters()),
        "milliseconds": milliseconds(autoencoder, options.size),
        **quality(autoencoder, Dataset.open(options.data), options.size, options.count),
        "threads": torch.get_num_threads(),
        "machine": platform.platform(),
        "torch": torch.__version__,
    }
    for name, value in result.items():
        print(f"{name}: {value}")
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
