"""Segmenters without any diffusion: what they share, and the control, the same vision backbone as a plain U-Net."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from syndiff.data.targets import Targets
from syndiff.errors import SyndiffError
from syndiff.models.encoder import backbone_source, conv_norm_relu
from syndiff.models.network import (
    Batch,
    LossWeights,
    SegmentationNetwork,
    Stage,
    WeightSource,
    mask_loss,
    untimed,
)
from syndiff.models.pyramid import Backbone, FeaturePyramid
from syndiff.models.settings import Kind, SegmenterSettings


class PlainNetwork(SegmentationNetwork):
    """A segmenter that needs no noise: one pass from the image to the logits.

    Attributes:
        kind: its name in the settings.
        backbone: the pretrained part, which has a learning rate of its own; may be empty.
        dropout: what several answers are drawn with; of probability 0 where there is none.
    """

    kind: Kind
    backbone: nn.Module
    dropout: nn.Dropout

    @abstractmethod
    def logits(self, image_bchw: Tensor) -> Tensor:
        """Mask logits at the size of the input."""

    def noise_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """No noise."""
        return 0, 0, 0

    def answer(
        self, image_bchw: Tensor, latent_bchw: Tensor, stage: Stage = untimed, timestep_b: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The logits, in one stage, and no latents."""
        if timestep_b is not None:
            raise SyndiffError(f"A {self.kind} has no timesteps to start from.")
        with stage("network"):
            return self.logits(image_bchw), image_bchw.new_empty(
                image_bchw.shape[0], 0, 0, 0
            )  # len() would freeze an exported batch

    @property
    def draws(self) -> Literal["dropout"] | None:
        """Dropout masks, with dropout."""
        return "dropout" if self.dropout.p else None

    def members(self, image_bchw: Tensor, noises: Sequence[Tensor], *, seed: int) -> list[Tensor]:
        """Answers of as many dropout masks (Gal and Ghahramani, arXiv 1506.02142)."""
        if len(noises) == 1:
            return [self.logits(image_bchw)]
        assert self.draws, "a network without dropout has one answer only"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.dropout.train()
            answers = [self.logits(image_bchw) for _ in noises]
            self.dropout.eval()
        return answers

    @property
    def backbone_part(self) -> nn.Module:
        """The backbone."""
        return self.backbone

    @property
    def vision_encoder(self) -> None:
        """None: it is averaged as a whole."""

    def draw_timesteps(self, count: int, *, at_inference: float, generator: torch.Generator) -> Tensor:
        """Zeros, which nobody reads."""
        return torch.zeros(count, dtype=torch.long)

    def losses(self, batch: Batch, weights: LossWeights) -> dict[str, Tensor]:
        """The only loss there is, so without a weight."""
        return {"mask": mask_loss(self.logits(batch.image), batch.mask, self.targets)}

    def parts(self) -> dict[str, nn.Module]:
        """One part."""
        return {self.kind: self}


class ControlUNet(PlainNetwork):
    """The vision backbone with a decoder of two convolutions a level (128, 64, 48, 32 channels) up to stride 2.

    Its logits are enlarged bilinearly, which is as accurate as a full-resolution level and cheaper. `dropout` acts
    between the two coarsest levels and the next, where Kendall et al. (Bayesian SegNet, arXiv 1511.02680) found it to
    serve uncertainty best.
    """

    kind = "control"

    def __init__(self, backbone: Backbone, *, dropout: float = 0.0, targets: Targets | None = None) -> None:
        super().__init__()
        self.targets, self.dropout = targets or Targets(), nn.Dropout(dropout)
        self.backbone, self.pyramid = backbone, FeaturePyramid(backbone)
        *skips, inputs = self.pyramid.channels
        self.levels = nn.ModuleList()
        for skip, outputs in zip(reversed(skips), (128, 64, 48, 32), strict=True):
            self.levels.append(nn.Sequential(conv_norm_relu(inputs + skip, outputs), conv_norm_relu(outputs, outputs)))
            inputs = outputs
        self.head = nn.Conv2d(inputs, self.targets.count, 3, padding=1)

    def logits(self, image_bchw: Tensor) -> Tensor:
        """Mask logits at the size of the input."""
        *skips, x = self.pyramid(image_bchw, self.backbone(image_bchw))
        for index, (level, skip) in enumerate(zip(self.levels, reversed(skips), strict=True)):
            x = level(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skip], 1))
            if index < 2:
                x = self.dropout(x)
        return F.interpolate(self.head(x), scale_factor=2.0, mode="bilinear", align_corners=False)

    def weight_sources(self, settings: SegmenterSettings, *, autoencoder_here: bool) -> list[WeightSource]:
        """Those of the backbone."""
        return [backbone_source(settings)]
