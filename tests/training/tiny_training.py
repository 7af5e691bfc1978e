"""A handful of trivial cases and settings small enough to train in seconds."""

from pathlib import Path
from typing import Any

import torch

from syndiff.data.loading import CaseArrays
from syndiff.data.settings import AugmentationSettings
from syndiff.models.settings import SegmenterSettings
from syndiff.training.loop import fit
from syndiff.training.segmentation import SegmentationTask
from syndiff.training.settings import TrainingSettings
from tiny_commands import ENCODER

MODEL = SegmenterSettings(image_size=32, encoder=ENCODER, pretrained=False, condition_channels=16, denoiser_channels=16)
TRAINING = TrainingSettings(
    steps=6, batch_size=2, warmup_steps=1, precision="fp32", validate_every=3, checkpoint_every=2
)


def bright_squares(count: int, seed: int, size: int = 32) -> CaseArrays:
    """Dark noise with one bright square, which is the lesion."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 90, (count, 3, size, size), generator=generator, dtype=torch.uint8)
    masks = torch.zeros(count, 1, size, size, dtype=torch.uint8)
    for mask in masks:
        y, x = torch.randint(0, size // 2, (2,), generator=generator).tolist()
        mask[:, y : y + size // 2, x : x + size // 2] = 1
    ids = tuple(f"{seed}-{i}" for i in range(count))
    return CaseArrays(ids, images + 150 * masks, masks, source=torch.zeros(count, dtype=torch.int64))


def tiny_train(run: Path, *, stop_after: int | None = None, **changes: Any) -> Path:
    """`fit` on bright squares with tiny settings; `changes` replace any of the task's arguments."""
    arguments: dict[str, Any] = {
        "model_settings": MODEL,
        "settings": TRAINING,
        "augmentation": AugmentationSettings(),
        "train_cases": bright_squares(5, 0),
        "val_cases": bright_squares(3, 1),
        "seed": 0,
        **changes,
    }
    task = SegmentationTask(**arguments)
    return fit(run, task, task.settings, seed=task.seed, stop_after=stop_after, progress=False)
