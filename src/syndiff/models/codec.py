"""What the network of every autoencoder offers: images to raw latents and back, and perhaps its encoder to train."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn


class LatentCodec(nn.Module, ABC):
    """Images in [-1, 1], sides multiples of 8, to raw latents, whose scaling is `Autoencoder`'s, and back."""

    @abstractmethod
    def encode(self, image_bchw: Tensor) -> Tensor:
        """(b, 3, h, w) in [-1, 1] -> raw latent (b, c, h/8, w/8)."""

    @abstractmethod
    def decode(self, latent_bchw: Tensor) -> Tensor:
        """Raw latent (b, c, h, w) -> image (b, 3, 8h, 8w), nominally in [-1, 1], not clamped."""

    def trainable_encoder(self, *, pretrained: bool) -> Any:
        """A copy of the encoder with its weights, or with random ones where it is not `pretrained`.

        It is diffusers' encoder of an AutoencoderKL; None for a codec of another kind.
        """
        return None
