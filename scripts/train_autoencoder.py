"""Train the autoencoders that ship with the package, on procedural images and masks only.

    python scripts/train_autoencoder.py --kind compact --steps 4500 --seed 0
    python scripts/train_autoencoder.py --kind mask --steps 6000 --seed 0

Writes src/syndiff/models/weights/<kind>_autoencoder.{safetensors,json} (float16, both together under 4 MB). About half
an hour on two cores for `compact`, some minutes for `mask`, which sees masks alone; the figures on real frames come
from benchmarks/autoencoder.py, real frames are never trained on.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import procedural_images
import torch
from torch import Tensor

from syndiff.files import write_json
from syndiff.models.compact_autoencoder import CompactAutoencoder
from syndiff.models.mask_autoencoder import MaskAutoencoder
from syndiff.models.tensors import write_tensors

WEIGHTS = Path(__file__).parents[1] / "src" / "syndiff" / "models" / "weights"
BANK, CROP, BATCH = 192, 96, 16
KINDS = {"compact": CompactAutoencoder, "mask": MaskAutoencoder}
MASKS_IN_BATCH = {"compact": 5, "mask": BATCH}
LATENT_NOISE = {"compact": 0.0, "mask": 0.2}
"""Standard deviations added to a latent before it is decoded: what a denoiser estimates is never exact."""


def make_bank(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` images (count, 192, 192, 3) and masks (count, 192, 192), uint8, each from its own seed."""
    images = np.stack([procedural_images.image(np.random.default_rng([seed, 0, i]), BANK) for i in range(count)])
    masks = np.stack([procedural_images.mask(np.random.default_rng([seed, 1, i]), BANK) for i in range(count)])
    return images, masks


def batch(images: np.ndarray, masks: np.ndarray, masks_in_batch: int, seed: int, step: int) -> Tensor:
    """(16, 3, 96, 96) in [-1, 1]: random flipped crops; the last ones are masks, and one picture has a mask over it."""
    rng = np.random.default_rng([seed, 2, step])
    crops = []
    for position in range(BATCH):
        top, left = rng.integers(0, BANK - CROP + 1, 2)
        window = np.s_[top : top + CROP, left : left + CROP]
        picture = images[rng.integers(len(images))][window]
        inside = masks[rng.integers(len(masks))][window]
        if position >= BATCH - masks_in_batch:
            picture = np.repeat(inside[..., None], 3, axis=2)
        elif position == 0:  # sharp outlines over a picture
            picture = np.where(inside[..., None] > 0, picture[::-1], picture)
        if rng.random() < 0.5:
            picture = picture[:, ::-1]
        crops.append(np.rot90(picture, rng.integers(4)))
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def main() -> None:
    """Train, print progress, write the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=KINDS, default="compact")
    parser.add_argument("--steps", type=int, default=4500)
    parser.add_argument("--bank", type=int, default=3000, help="procedural images, and as many masks")
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    started = time.time()
    images, masks = make_bank(options.bank, options.seed)
    print(f"bank of {options.bank} images and masks after {time.time() - started:.0f} s", flush=True)
    model, masks_in_batch = KINDS[options.kind](), MASKS_IN_BATCH[options.kind]
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.rate, betas=(0.9, 0.99), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.rate, options.steps, pct_start=0.05, cycle_momentum=False
    )
    for step in range(options.steps):
        target = batch(images, masks, masks_in_batch, options.seed, step)
        latent = model.encode(target)
        noise = LATENT_NOISE[options.kind] * latent.detach().std() * torch.randn_like(latent)
        error = model.decode(latent + noise) - target
        # Squared error is what PSNR measures, absolute error keeps mask borders crisp; the penalty bounds the latent.
        loss = 10 * error.square().mean() + error.abs().mean() + 1e-4 * latent.square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            pictures = error.detach()[: BATCH - masks_in_batch].square().mean() / 4
            wrong = (error.detach()[BATCH - masks_in_batch :].abs() > 1).float().mean()
            print(
                f"step {step + 1} {time.time() - started:.0f} s loss {loss.item():.4f} "
                f"psnr {-10 * pictures.log10().item():.2f} dB, wrong mask pixels {wrong.item():.5f}, "
                f"latent std {latent.detach().std().item():.3f}",
                flush=True,
            )
        if (step + 1) % 500 == 0 or step + 1 == options.steps:
            write(model, images, masks, options, step + 1)


@torch.no_grad()
def write(
    model: CompactAutoencoder | MaskAutoencoder,
    images: np.ndarray,
    masks: np.ndarray,
    options: argparse.Namespace,
    step: int,
) -> None:
    """Write float16 weights and the JSON that rebuilds the model; the scaling factor makes latents unit variance."""
    sample = torch.cat(
        [model.encode(batch(images, masks, MASKS_IN_BATCH[options.kind], options.seed + 1, i)) for i in range(8)]
    )
    state = {name: value.half() for name, value in model.state_dict().items()}
    digest = write_tensors(WEIGHTS / f"{options.kind}_autoencoder.safetensors", state)
    write_json(
        WEIGHTS / f"{options.kind}_autoencoder.json",
        {
            "architecture": type(model).__name__,
            "config": model.config,
            "scaling_factor": round(1 / sample.std().item(), 4),
            "trained_by": "scripts/train_autoencoder.py",
            "settings": {**vars(options), "steps_done": step},
            "torch": torch.__version__,
            "sha256": digest,
        },
    )
    print(json.dumps({"written_after_step": step}), flush=True)


if __name__ == "__main__":
    main()
