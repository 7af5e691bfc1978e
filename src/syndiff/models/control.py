"""The control: the same vision backbone as a plain U-Net, without any diffusion."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from syndiff.models.encoder import conv_norm_relu, make_backbone


class ControlUNet(nn.Module):
    """Image (b, 3, h, w) in [0, 1], sides multiples of 32 -> mask logits (b, 1, h, w).

    The decoder climbs to stride 2 with two convolutions a level (128, 64, 48, 32 channels) and its logits are enlarged
    bilinearly, which is as accurate as a full-resolution level and cheaper. `dropout` acts between the two coarsest
    levels and the next, where Kendall et al. (Bayesian SegNet, arXiv 1511.02680) found it to serve uncertainty best.
    """

    def __init__(self, *, pretrained: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.backbone = make_backbone(pretrained=pretrained)
        *skips, inputs = self.backbone.channels
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
