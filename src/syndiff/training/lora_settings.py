"""How an inpainting pipeline is taught a user's images with LoRA."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from syndiff.bounds import Bounds, Length, Section, Share, ShareBelowOne
from syndiff.errors import SyndiffError
from syndiff.training.settings import Rate, Steps


@dataclass(frozen=True, kw_only=True)
class LoraSettings(Section):
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
        resolution: side in pixels of the crops: 1024 for SDXL, 512 for SD 1.5.
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

    section = "lora"

    steps: Steps = 2000
    batch_size: Annotated[int, Bounds(1, 4096)] = 4
    accumulation: Annotated[int, Bounds(1, 4096)] = 1
    learning_rate: Rate = 1e-4
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: Annotated[int, Bounds(0, 100_000_000)] = 100
    weight_decay: Annotated[float, Bounds(0, 100)] = 1e-2
    clip: Annotated[float, Bounds(0, math.inf, above=True)] = 1.0
    rank: Annotated[int, Bounds(1, 4096)] = 16
    alpha: Annotated[float, Bounds(0, 1_000_000, above=True)] = 16.0
    targets: Annotated[tuple[str, ...], Length(1, 1000)] = ("to_q", "to_k", "to_v", "to_out.0")
    resolution: Annotated[int, Bounds(8, 8192, multiple=8)] = 1024
    least_context: Annotated[float, Bounds(1, 100)] = 1.5
    most_context: Annotated[float, Bounds(1, 100)] = 4.0
    smallest_crop: Annotated[int, Bounds(1, 100_000)] = 128
    random_masks: ShareBelowOne = 0.25
    background_caption: str = ""
    caption_dropout: Share = 0.1
    flips: bool = True
    outside_weight: Share = 0.1
    min_snr: Annotated[float, Bounds(0, 1_000_000)] = 0.0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    gradient_checkpointing: bool = False
    validate_every: Steps = 250
    pictures: Annotated[int, Bounds(1, 1000)] = 4
    picture_steps: Annotated[int, Bounds(0, 1000)] = 20
    checkpoint_every: Steps = 250

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_order("least_context", "most_context")
        if self.batch_size % self.accumulation:
            raise self.refuse("accumulation", f"a divisor of batch_size, which is {self.batch_size}")
        if self.background_caption and not self.random_masks:
            raise SyndiffError(
                f"lora.background_caption is {self.background_caption!r} and has no effect with random_masks "
                "0; leave it out."
            )
