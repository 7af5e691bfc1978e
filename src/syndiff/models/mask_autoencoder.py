"""The mask autoencoder: 8x downsampling for masks alone, much quicker than one that must know pictures."""

from torch import Tensor, nn

from syndiff.models.codec import LatentCodec
from syndiff.models.compact_autoencoder import Residual

_BLOCK = 8
"""Side of the blocks of pixels that become channels."""


class MaskAutoencoder(LatentCodec):
    """Every 8x8 block of pixels becomes channels, and a few convolutions at 1/8 a latent; decoding mirrors it.

    A picture is read as the mean of its channels, and comes back with three equal ones.
    """

    def __init__(self, latent_channels: int = 16, channels: int = 48) -> None:
        super().__init__()
        self.config = {"latent_channels": latent_channels, "channels": channels}
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(_BLOCK),
            nn.Conv2d(_BLOCK**2, channels, 3, padding=1),
            Residual(channels),
            nn.Conv2d(channels, latent_channels, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latent_channels, channels, 3, padding=1),
            *(Residual(channels) for _ in range(2)),
            nn.Conv2d(channels, _BLOCK**2, 3, padding=1),
            nn.PixelShuffle(_BLOCK),
        )

    def encode(self, image_bchw: Tensor) -> Tensor:
        """(b, 3, h, w) in [-1, 1], h and w multiples of 8 -> unscaled latent (b, latent_channels, h/8, w/8)."""
        return self.encoder(image_bchw.mean(1, keepdim=True))

    def decode(self, latent_bchw: Tensor) -> Tensor:
        """Unscaled latent (b, latent_channels, h, w) -> mask score (b, 3, 8h, 8w), nominally in [-1, 1]."""
        return self.decoder(latent_bchw).expand(-1, 3, -1, -1)
