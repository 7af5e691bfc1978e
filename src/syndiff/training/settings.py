"""How a network is trained; what it is belongs to the settings of its model."""

from dataclasses import dataclass
from typing import Literal

from syndiff.errors import SyndiffError


@dataclass(frozen=True, kw_only=True)
class OptimisationSettings:
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

    steps: int = 1000
    batch_size: int = 16
    learning_rate: float = 1e-3
    decay: Literal["cosine", "none"] = "cosine"
    warmup: int = 50
    weight_decay: float = 1e-2
    ema: float = 0.99
    clip: float = 1.0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    validate_every: int = 100
    checkpoint_every: int = 100

    def __post_init__(self) -> None:
        for name, valid in self._limits().items():
            if not valid:
                raise SyndiffError(
                    f"training setting {name}: {getattr(self, name)} is out of range (see `syndiff settings`)."
                )

    def _limits(self) -> dict[str, bool]:
        return {
            "steps": self.steps >= 1,
            "batch_size": self.batch_size >= 2,
            "learning_rate": self.learning_rate > 0,
            "decay": self.decay in ("cosine", "none"),
            "warmup": self.warmup >= 0,
            "weight_decay": self.weight_decay >= 0,
            "ema": 0 <= self.ema < 1,
            "clip": self.clip > 0,
            "precision": self.precision in ("auto", "fp32", "bf16"),
            "validate_every": self.validate_every >= 1,
            "checkpoint_every": self.checkpoint_every >= 1,
        }


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

    backbone_rate: float = 0.5
    mask_weight: float = 1.0
    guide_weight: float = 0.5
    inference_share: float = 0.75
    coarse_share: float = 0.0
    real_share: float = 0.0
    ema_encoder: bool = True
    gradient_checkpointing: bool = False

    def _limits(self) -> dict[str, bool]:
        return super()._limits() | {
            "backbone_rate": self.backbone_rate >= 0,
            "mask_weight": self.mask_weight >= 0,
            "guide_weight": self.guide_weight >= 0,
            "inference_share": 0 <= self.inference_share <= 1,
            "coarse_share": 0 <= self.coarse_share < 1,
            "real_share": self.real_share == 0 or 1 <= round(self.real_share * self.steps) < self.steps,
        }
