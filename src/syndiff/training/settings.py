"""How a network is trained; what it is belongs to the settings of its model."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from syndiff.bounds import Bounds, Section, Share, ShareBelowOne

Steps = Annotated[int, Bounds(1, 100_000_000)]
Rate = Annotated[float, Bounds(0, 1000, above=True)]
Weight = Annotated[float, Bounds(0, 1_000_000)]
Minutes = Annotated[float, Bounds(0, 100_000)]


@dataclass(frozen=True, kw_only=True)
class OptimisationSettings(Section):
    """One training run, whatever is trained.

    Attributes:
        steps: optimiser steps.
        batch_size: cases a step, over all processes.
        learning_rate: of AdamW, after warm-up.
        decay: what the learning rate does then: falls to zero along a "cosine", or stays ("none").
        warmup: steps of linear warm-up.
        weight_decay: of AdamW.
        ema: decay of the exponential moving average of everything trained; the average is what is saved and used.
        clip: largest norm of the gradient; inf leaves it as it is.
        precision: "auto" is bf16 where the hardware has it, else fp32. Weights and their sums stay in fp32.
        validate_every: steps between two validations.
        checkpoint_every: steps between two checkpoints.
    """

    section = "training"

    steps: Steps = 1000
    batch_size: Annotated[int, Bounds(2, 4096)] = 16
    learning_rate: Rate = 1e-3
    decay: Literal["cosine", "none"] = "cosine"
    warmup: Annotated[int, Bounds(0, 100_000_000)] = 50
    weight_decay: Annotated[float, Bounds(0, 100)] = 1e-2
    ema: ShareBelowOne = 0.99
    clip: Annotated[float, Bounds(0, math.inf, above=True)] = 1.0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    validate_every: Steps = 100
    checkpoint_every: Steps = 100


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(OptimisationSettings):
    """The training of a segmenter: how it is optimised, and the weights of its losses.

    Attributes:
        backbone_rate: learning rate of the pretrained vision backbone as a fraction of `learning_rate`; 0 freezes it,
            its dropout and batch statistics too.
        mask_weight: weight of the loss on the decoded mask (binary cross-entropy plus soft Dice); 0 leaves it out.
        guide_weight: weight of the same loss on a linear read-out of z_c; 0 leaves it out. Diffusion only.
        inference_share: share of the batch trained at the inference timestep; the rest draws t uniformly.
        coarse_share: share of the steps, the first ones, that see images and masks at about two thirds of the model's
            size: cheaper steps while the details do not matter yet (progressive learning, EfficientNetV2, arXiv
            2104.00298). 0 trains at the model's size throughout.
        real_share: share of the steps, the last ones, that draw from real cases alone, so that what painted ones got
            wrong is put right at the end. 0 mixes them throughout; otherwise both parts have a step at least. Without
            painted cases there is nothing to leave out.
        ema_encoder: average the vision encoder too; SDSeg averages its denoiser only. Diffusion only.
        gradient_checkpointing: compute what the blocks of U-Net and autoencoder need for their gradients a second time
            instead of keeping it: less memory, a third more work. Only they have it.
    """

    backbone_rate: Annotated[float, Bounds(0, 100)] = 0.5
    mask_weight: Weight = 1.0
    guide_weight: Weight = 0.5
    inference_share: Share = 0.75
    coarse_share: ShareBelowOne = 0.0
    real_share: ShareBelowOne = 0.0
    ema_encoder: bool = True
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.real_share and not 1 <= round(self.real_share * self.steps) < self.steps:
            raise self.refuse("real_share", f"0, or a share that leaves both parts one of the {self.steps} steps")
