"""Segmenters without any diffusion: the control, the same vision backbone as a plain U-Net, and what they share."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from syndiff.models.encoder import conv_norm_relu, make_backbone


class PlainNetwork(nn.Module):
    """Image (b, 3, h, w) in [0, 1], sides multiples of 32 -> mask logits (b, 1, h, w), in one pass.

    Attributes:
        backbone: the pretrained part, which has a learning rate of its own; may be empty.
        dropout: what `study uncertainty` draws several answers with; of probability 0 where there is none.
    """

    backbone: nn.Module
    dropout: nn.Dropout


class ControlUNet(PlainNetwork):
    """The vision backbone with a decoder of two convolutions a level (128, 64, 48, 32 channels) up to stride 2.

    Its logits are enlarged bilinearly, which is as accurate as a full-resolution level and cheaper. `dropout` acts
    between the two coarsest levels and the next, where Kendall et al. (Bayesian SegNet, arXiv 1511.02680) found it to
    serve uncertainty best.
    """

    def __init__(self, *, pretrained: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        backbone = make_backbone(pretrained=pretrained)
        self.backbone = backbone
        *skips, inputs = backbone.channels
        self.levels = nn.ModuleList()
        for skip, outputs in zip(reversed(skips), (128, 64, 48, 32), strict=True):
            self.levels.append(nn.Sequential(conv_norm_relu(inputs + skip, outputs), conv_norm_relu(outputs, outputs)))
            inputs = outputs
        self.head = nn.Conv2d(inputs, 1, 3, padding=1)

    def forward(self, image_bchw: Tensor) -> Tensor:
        """Mask logits at the size of the input."""
        *skips, x = self.backbone(image_bchw)
        for index, (level, skip) in enumerate(zip(self.levels, reversed(skips), strict=True)):
            x = level(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skip], 1))
            if index < 2:
                x = self.dropout(x)
        return F.interpolate(self.head(x), scale_factor=2.0, mode="bilinear", align_corners=False)
