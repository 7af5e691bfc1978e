"""Names that settings had in earlier versions: files that hold them are read, whoever types one is told the new one."""

from collections.abc import Mapping
from typing import Any

_INPAINTER = (
    *("crop_size", "autoencoder", "autoencoder_revision", "channels", "caption_channels", "caption_layers"),
    *("caption_length", "timesteps", "beta_start", "beta_end"),
)
_OPTIMISATION = {"decay": "lr_schedule", "warmup": "warmup_steps", "ema": "ema_decay", "clip": "grad_clip"}
_CROPS = {"least_context": "min_context", "most_context": "max_context"}

RENAMED: dict[str, str] = {
    "model.inference_views": "model.inference_tta",
    "training.backbone_rate": "training.backbone_lr_scale",
    **{
        f"{section}.{old}": f"{section}.{new}"
        for section in ("training", "adapt")
        for old, new in _OPTIMISATION.items()
    },
    **{f"{section}.{old}": f"{section}.{new}" for section in ("adapt", "lora") for old, new in _CROPS.items()},
    "adapt.least_margin": "adapt.min_margin",
    "adapt.most_margin": "adapt.max_margin",
    "lora.schedule": "lora.lr_schedule",
    "lora.warmup": "lora.warmup_steps",
    "lora.clip": "lora.grad_clip",
    "lora.smallest_crop": "lora.min_crop",
    "sdxl.smallest_crop": "sdxl.min_crop",
    **{f"painter.{name}": f"inpainter.{name}" for name in _INPAINTER},
}
"""The present name of a setting (section.name) by its earlier one."""

_VALUES = {("training.lr_schedule", "none"): "constant", ("adapt.lr_schedule", "none"): "constant"}


def section_now(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a section that an earlier version stored, under their present names."""
    found = {}
    for name, value in values.items():
        present = RENAMED.get(f"{section}.{name}", f"{section}.{name}")
        key = (present, value) if isinstance(value, str) else None
        found[present.split(".")[1]] = _VALUES.get(key, value) if key else value
    return found


def settings_now(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Sections of settings that an earlier version stored, under their present names; all else as it is."""
    moved = {old.split(".")[0]: new.split(".")[0] for old, new in RENAMED.items()}
    return {
        moved.get(name, name): section_now(name, value) if isinstance(value, Mapping) else value
        for name, value in stored.items()
    }
