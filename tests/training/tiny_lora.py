"""A LoRA training that takes a second or two: a tiny random pipeline and four frames of the phantom."""

from pathlib import Path
from typing import Any

from syndiff.data.dataset import Dataset
from syndiff.training.lora import adapt_lora
from syndiff.training.settings import LoraSettings

SETTINGS = LoraSettings(
    steps=6,
    batch_size=2,
    learning_rate=1e-2,
    warmup_steps=2,
    rank=4,
    alpha=8,
    resolution=32,
    min_crop=16,
    precision="fp32",
    validate_every=3,
    pictures=2,
    picture_steps=1,
    checkpoint_every=2,
)


def tiny_adapt(out: Path, data: Path, model: Path, **changes: Any) -> Path:
    """`adapt_lora` on all cases of `data`; `changes` replace any of its arguments."""
    dataset = Dataset.open(data)
    ids = [case.id for case in dataset.cases]
    arguments: dict[str, Any] = {
        "dataset": dataset,
        "case_ids": ids,
        "captions": dict.fromkeys(ids, "a red polyp"),
        "model": str(model),
        "settings": SETTINGS,
        "progress": False,
    }
    return adapt_lora(out, **{**arguments, **changes})
