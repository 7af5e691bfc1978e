"""How networks are trained; what they are belongs to the settings of the models."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from syndiff.bounds import Bounds, Length, Section, Share, ShareBelowOne
from syndiff.errors import SyndiffError

Steps = Annotated[int, Bounds(1, 100_000_000)]
Rate = Annotated[float, Bounds(0, 1000, above=True)]
Weight = Annotated[float, Bounds(0, 1_000_000)]
Minutes = Annotated[float, Bounds(0, 100_000)]
_Context = Annotated[float, Bounds(1, 8)]
_Margin = Annotated[float, Bounds(0, 2)]


@dataclass(frozen=True, kw_only=True)
class OptimisationSettings(Section):
    """One training, whatever is trained.

    Attributes:
        steps: optimiser steps.
        batch_size: cases a step, over all processes.
        accumulation: equal parts that a batch is worked through in, one after another, to save memory.
        learning_rate: of AdamW, after warm-up.
        lr_schedule: what the learning rate does then: falls to zero along a "cosine", or stays "constant".
        warmup_steps: steps of linear warm-up.
        weight_decay: of AdamW.
        ema_decay: decay of the exponential moving average of everything trained; the average is what is saved and
            used. 0 keeps none.
        grad_clip: largest norm of the gradient; inf leaves it as it is.
        precision: "auto" is bf16 where the hardware has it, else fp32. Weights and their sums stay in fp32.
        validate_every: steps between two validations.
        checkpoint_every: steps between two checkpoints.
    """

    section = "training"

    steps: Steps = 1000
    batch_size: Annotated[int, Bounds(2, 4096)] = 16
    accumulation: Annotated[int, Bounds(1, 4096)] = 1
    learning_rate: Rate = 1e-3
    lr_schedule: Literal["cosine", "constant"] = "cosine"
    warmup_steps: Annotated[int, Bounds(0, 100_000_000)] = 50
    weight_decay: Annotated[float, Bounds(0, 100)] = 1e-2
    ema_decay: ShareBelowOne = 0.99
    grad_clip: Annotated[float, Bounds(0, math.inf, above=True)] = 1.0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    validate_every: Steps = 100
    checkpoint_every: Steps = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size % self.accumulation:
            raise self.refuse("accumulation", f"a divisor of batch_size, which is {self.batch_size}")


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(OptimisationSettings):
    """The training of a segmenter: how it is optimised, and the weights of its losses.

    Attributes:
        backbone_lr_scale: learning rate of the pretrained vision backbone as a fraction of `learning_rate`; 0 freezes
            it, its dropout and batch statistics too.
        mask_weight: weight of the loss on the decoded mask (binary cross-entropy plus soft Dice); 0 leaves it out.
        guide_weight: weight of the same loss on a linear read-out of z_c; 0 leaves it out. Diffusion only.
        inference_share: share of the batch trained at the inference timestep; the rest draws t uniformly.
        coarse_share: share of the steps, the first ones, that see images and masks at about two thirds of the model's
            size: cheaper steps while the details do not matter yet (progressive learning, EfficientNetV2, arXiv
            2104.00298). 0 trains at the model's size throughout.
        real_share: share of the steps, the last ones, that draw from real cases alone, so that what synthetic ones got
            wrong is put right at the end. 0 mixes them throughout; otherwise both parts have a step at least. Without
            synthetic cases there is nothing to leave out.
        ema_encoder: average the vision encoder too; SDSeg averages its denoiser only. Diffusion only.
        gradient_checkpointing: compute what the blocks of U-Net and autoencoder need for their gradients a second time
            instead of keeping it: less memory, a third more work. Only they have it.
    """

    backbone_lr_scale: Annotated[float, Bounds(0, 100)] = 0.5
    mask_weight: Weight = 1.0
    guide_weight: Weight = 0.5
    inference_share: Share = 0.75
    coarse_share: ShareBelowOne = 0.0
    real_share: ShareBelowOne = 0.0
    ema_encoder: bool = True
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size == self.accumulation > 1:
            raise self.refuse("accumulation", "parts of two cases or more, from which batch statistics can be taken")
        if self.real_share and not 1 <= round(self.real_share * self.steps) < self.steps:
            raise self.refuse("real_share", f"0, or a share that leaves both parts one of the {self.steps} steps")


@dataclass(frozen=True, kw_only=True)
class AdaptSettings(OptimisationSettings):
    """The training of the compact inpainter.

    Attributes:
        minutes: time of the steps; how many fit is measured on this machine and written to plan.json. 0 takes `steps`
            instead, the same on every machine.
        crops: crops of the training lesions that are cut and encoded before the training, with the shipped
            autoencoder some 30 ms and 50 kB each; the training draws from them.
        outside_weight: weight of the loss where nothing is painted; 1 where something is.
        background_share: share of the crops without a lesion, from which it learns to paint mucosa.
        caption_dropout: share of the crops trained without their caption, for classifier-free guidance.
        min_context: smallest side of a crop, in sides of the lesion.
        max_context: largest side of a crop, in sides of the lesion.
        min_margin: narrowest band around the lesion that is hidden with it, in radii of the lesion.
        max_margin: widest such band.
        colour: largest relative change of brightness, contrast and saturation of a crop.
        hue: largest turn of its hue in degrees.
    """

    section = "adapt"

    minutes: Minutes = 0.0
    steps: Steps = 2000
    learning_rate: Rate = 8e-4
    ema_decay: ShareBelowOne = 0.995
    validate_every: Steps = 200
    crops: Annotated[int, Bounds(1, 1_000_000)] = 4096
    outside_weight: Share = 0.1
    background_share: ShareBelowOne = 0.15
    caption_dropout: ShareBelowOne = 0.1
    min_context: _Context = 1.5
    max_context: _Context = 2.6
    min_margin: _Margin = 0.15
    max_margin: _Margin = 0.45
    colour: ShareBelowOne = 0.1
    hue: Annotated[float, Bounds(0, 180)] = 4.0

    @property
    def margin(self) -> float:
        """How far around a lesion the inpainter paints, in radii of the lesion: the middle of what it has learned."""
        return round((self.min_margin + self.max_margin) / 2, 3)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_order("min_context", "max_context")
        self.check_order("min_margin", "max_margin")


@dataclass(frozen=True, kw_only=True)
class LoraSettings(OptimisationSettings):
    """One fine-tuning of a Stable Diffusion inpainting pipeline (1.5, 2 or XL) with LoRA.

    Attributes:
        rank: of the two factors added to each layer.
        alpha: the factors' product is scaled by alpha / rank.
        targets: names (ends of names) of the U-Net's layers that are adapted: the attention's projections.
        resolution: side in pixels of the crops: 1024 for SDXL, 512 for SD 1.5.
        min_context: smallest side of a crop, in lengths of the mask's longer side.
        max_context: largest side of a crop, in the same unit.
        min_crop: smallest side of a crop, in pixels of the frame.
        random_masks: share of crops whose mask is a random ellipse elsewhere, so that plain tissue is learnt too.
        background_caption: caption of those; empty takes the prompts' wording of healthy tissue.
        caption_dropout: share of crops trained without their caption, which classifier-free guidance needs.
        flips: mirror and turn the crops; switch it off where captions speak of left and right.
        outside_weight: weight of the loss outside the mask; inside it is 1.
        min_snr: gamma of min-SNR weighting (5 is usual); 0 leaves it out.
        gradient_checkpointing: compute activations twice instead of keeping them: slower, much less memory.
        pictures: fixed crops of a validation, whose loss is its score.
        picture_steps: sampling steps of the picture of those crops that every validation paints; 0 paints none.
    """

    section = "lora"

    steps: Steps = 2000
    batch_size: Annotated[int, Bounds(1, 4096)] = 4
    learning_rate: Rate = 1e-4
    lr_schedule: Literal["cosine", "constant"] = "constant"
    warmup_steps: Annotated[int, Bounds(0, 100_000_000)] = 100
    ema_decay: ShareBelowOne = 0.0
    validate_every: Steps = 250
    checkpoint_every: Steps = 250
    rank: Annotated[int, Bounds(1, 4096)] = 16
    alpha: Annotated[float, Bounds(0, 1_000_000, above=True)] = 16.0
    targets: Annotated[tuple[str, ...], Length(1, 1000)] = ("to_q", "to_k", "to_v", "to_out.0")
    resolution: Annotated[int, Bounds(8, 8192, multiple=8)] = 1024
    min_context: Annotated[float, Bounds(1, 100)] = 1.5
    max_context: Annotated[float, Bounds(1, 100)] = 4.0
    min_crop: Annotated[int, Bounds(1, 100_000)] = 128
    random_masks: ShareBelowOne = 0.25
    background_caption: str = ""
    caption_dropout: Share = 0.1
    flips: bool = True
    outside_weight: Share = 0.1
    min_snr: Annotated[float, Bounds(0, 1_000_000)] = 0.0
    gradient_checkpointing: bool = False
    pictures: Annotated[int, Bounds(1, 1000)] = 4
    picture_steps: Annotated[int, Bounds(0, 1000)] = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_order("min_context", "max_context")
        if self.background_caption and not self.random_masks:
            raise SyndiffError(
                f"lora.background_caption is {self.background_caption!r} and has no effect with random_masks "
                "0; leave it out."
            )
