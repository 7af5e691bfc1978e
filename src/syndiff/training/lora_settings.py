"""How an inpainting pipeline is taught a user's images with LoRA."""

from dataclasses import dataclass
from typing import Literal

from syndiff.errors import SyndiffError


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """One fine-tuning of a Stable Diffusion inpainting pipeline (1.5, 2 or XL).

    Attributes:
        steps: optimiser steps.
        batch_size: crops a step, over all processes.
        accumulation: parts that a batch is worked through in, one after another, to save memory.
        learning_rate: of AdamW, after warm-up.
        schedule: what the learning rate does after warm-up.
        warmup: steps of linear warm-up.
        weight_decay: of AdamW.
        clip: largest norm of the gradient.
        rank: of the two factors added to each layer.
        alpha: the factors' product is scaled by alpha / rank.
        targets: names (ends of names) of the U-Net's layers that are adapted: the attention's projections.
        resolution: side in pixels of the crops, a multiple of 8: 1024 for SDXL, 512 for SD 1.5.
        least_context: least side of a crop, in lengths of the mask's longer side.
        most_context: largest side of a crop, in the same unit.
        smallest_crop: least side of a crop, in pixels of the frame.
        random_masks: share of crops whose mask is a random ellipse elsewhere, so that plain tissue is learnt too.
        background_caption: caption of those; empty takes the prompts' wording of healthy tissue.
        caption_dropout: share of crops trained without their caption, which classifier-free guidance needs.
        flips: mirror and turn the crops; switch it off where captions speak of left and right.
        outside_weight: weight of the loss outside the mask; inside it is 1.
        min_snr: gamma of min-SNR weighting (5 is usual); 0 leaves it out.
        precision: "auto" is bf16 where the hardware has it, else fp32.
        gradient_checkpointing: compute activations twice instead of keeping them: slower, much less memory.
        validate_every: steps between two validations (loss on fixed crops, and their picture).
        pictures: fixed crops of a validation.
        picture_steps: sampling steps of their picture; 0 paints none.
        checkpoint_every: steps between two checkpoints.
    """

    steps: int = 2000
    batch_size: int = 4
    accumulation: int = 1
    learning_rate: float = 1e-4
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: int = 100
    weight_decay: float = 1e-2
    clip: float = 1.0
    rank: int = 16
    alpha: float = 16.0
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    resolution: int = 1024
    least_context: float = 1.5
    most_context: float = 4.0
    smallest_crop: int = 128
    random_masks: float = 0.25
    background_caption: str = ""
    caption_dropout: float = 0.1
    flips: bool = True
    outside_weight: float = 0.1
    min_snr: float = 0.0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    gradient_checkpointing: bool = False
    validate_every: int = 250
    pictures: int = 4
    picture_steps: int = 20
    checkpoint_every: int = 250

    def __post_init__(self) -> None:
        limits = {
            "steps": self.steps >= 1,
            "batch_size": self.batch_size >= 1,
            "accumulation": self.accumulation >= 1 and self.batch_size % self.accumulation == 0,
            "learning_rate": self.learning_rate > 0,
            "schedule": self.schedule in ("constant", "cosine"),
            "warmup": self.warmup >= 0,
            "weight_decay": self.weight_decay >= 0,
            "clip": self.clip > 0,
            "rank": self.rank >= 1,
            "alpha": self.alpha > 0,
            "targets": len(self.targets) > 0,
            "resolution": self.resolution > 0 and self.resolution % 8 == 0,
            "least_context": self.least_context >= 1,
            "most_context": self.most_context >= self.least_context,
            "smallest_crop": self.smallest_crop >= 1,
            "random_masks": 0 <= self.random_masks < 1,
            "caption_dropout": 0 <= self.caption_dropout <= 1,
            "outside_weight": 0 <= self.outside_weight <= 1,
            "min_snr": self.min_snr >= 0,
            "precision": self.precision in ("auto", "fp32", "bf16"),
            "validate_every": self.validate_every >= 1,
            "pictures": self.pictures >= 1,
            "picture_steps": self.picture_steps >= 0,
            "checkpoint_every": self.checkpoint_every >= 1,
        }
        for name, valid in limits.items():
            if not valid:
                raise SyndiffError(
                    f"lora setting {name}: {getattr(self, name)} is out of range (see `syndiff settings lora`)."
                )
        if self.background_caption and not self.random_masks:
            raise SyndiffError(
                f"lora setting background_caption is {self.background_caption!r} and has no effect with random_masks "
                "0; leave it out."
            )
