"""From the maps of any backbone to those that decoders need: at strides 2, 4, 8, 16 and 32."""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

STRIDES = (2, 4, 8, 16, 32)
_STEM = 16  # channels of the map made from the image itself, as many as EfficientNet-Lite0 has there


class Backbone(nn.Module):
    """A pretrained network: images (b, 3, h, w) in [0, 1], sides multiples of 32 -> maps, finest first.

    Attributes:
        channels: of each map.
        strides: pixels of the image along the side of a map's pixel, all different.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]


class FeaturePyramid(nn.Module):
    """Maps (b, channels, h / s, w / s) at the five `STRIDES` s; those that the backbone has are passed on as they are.

    A missing one is made as in the simple feature pyramid of ViTDet (Li et al., arXiv 2203.16527), from the map whose
    stride is nearest: finer by transposed convolutions, coarser by max pooling. A grid that does not divide the image
    (patches of 14 pixels) is resampled bilinearly at the end. Where no map is as fine as stride 2, two convolutions
    make that one from the image. These layers are no part of the backbone: they start from random weights, and learn
    at the full rate even where the backbone is frozen.

    Attributes:
        channels: of each of the five maps.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        given = dict(zip(backbone.strides, backbone.channels, strict=True))
        self.sources: list[int | None] = []
        self.made = nn.ModuleDict()
        channels = []
        for stride in STRIDES:
            if stride == STRIDES[0] < min(given):
                self.sources.append(None)
                self.made["stem"], outputs = _stem(), _STEM
            else:
                source = min(given, key=lambda each: (abs(math.log2(each / stride)), -each))
                outputs = given[source]
                if source != stride:
                    layers, outputs = _resample(outputs, round(math.log2(source / stride)))
                    self.made[str(stride)] = layers
                self.sources.append(backbone.strides.index(source))
            channels.append(outputs)
        self.channels = tuple(channels)

    def forward(self, image_bchw: Tensor, maps: Sequence[Tensor]) -> list[Tensor]:
        """The five maps of a batch of images and of what the backbone makes of them."""
        found = []
        for stride, source in zip(STRIDES, self.sources, strict=True):
            if source is None:
                found.append(self.made["stem"](image_bchw))
                continue
            x = maps[source]
            if str(stride) in self.made:
                x = self.made[str(stride)](x)
            size = (image_bchw.shape[-2] // stride, image_bchw.shape[-1] // stride)
            if x.shape[-2:] != size:
                x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
            found.append(x)
        return found


def _stem() -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, stride in ((3, 2), (_STEM, 1)):
        convolution = nn.Conv2d(inputs, _STEM, 3, stride=stride, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(_STEM), nn.ReLU(True)]
    return nn.Sequential(*layers)


def _resample(channels: int, doublings: int) -> tuple[nn.Sequential, int]:
    """Layers that double a map's sides so often, or halve them where that is negative, and the channels they end with.

    Each doubling halves the channels, with normalisation and GELU between two of them.
    """
    layers: list[nn.Module] = [nn.MaxPool2d(2) for _ in range(-doublings)]
    for step in range(doublings):
        if step:
            layers += [nn.BatchNorm2d(channels), nn.GELU()]
        layers.append(nn.ConvTranspose2d(channels, max(1, channels // 2), 2, stride=2))
        channels = max(1, channels // 2)
    return nn.Sequential(*layers), channels
