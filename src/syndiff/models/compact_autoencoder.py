"""The compact autoencoder: 8x downsampling, 16 latent channels, small enough to ship inside the package."""

import torch
from torch import Tensor, nn

from syndiff.models.codec import LatentCodec


class Residual(nn.Module):
    """x + conv(relu(conv(relu(x)))); the last convolution starts at zero, so the block starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(torch.relu(self.first(torch.relu(x))))


class CompactAutoencoder(LatentCodec):
    """Pixel-unshuffle by 4, residual blocks at 1/4, one stride-2 step, residual blocks at 1/8; the decoder mirrors it.

    Most of the work happens on the 1/8 grid, where it is cheap: the segmenter back-propagates through the frozen
    decoder at every training step.
    """

    def __init__(self, latent_channels: int = 16, fine: int = 64, coarse: int = 96) -> None:
        super().__init__()
        self.config = {"latent_channels": latent_channels, "fine": fine, "coarse": coarse}
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(48, fine, 3, padding=1),
            *(Residual(fine) for _ in range(2)),
            nn.Conv2d(fine, coarse, 3, stride=2, padding=1),
            *(Residual(coarse) for _ in range(3)),
            nn.Conv2d(coarse, latent_channels, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latent_channels, coarse, 3, padding=1),
            *(Residual(coarse) for _ in range(4)),
            nn.Conv2d(coarse, 4 * fine, 1),
            nn.PixelShuffle(2),
            *(Residual(fine) for _ in range(3)),
            nn.Conv2d(fine, 48, 3, padding=1),
            nn.PixelShuffle(4),
        )

    def encode(self, image_bchw: Tensor) -> Tensor:
        """(b, 3, h, w) in [-1, 1], h and w multiples of 8 -> unscaled latent (b, latent_channels, h/8, w/8)."""
        return self.encoder(image_bchw)

    def decode(self, latent_bchw: Tensor) -> Tensor:
        """Unscaled latent (b, latent_channels, h, w) -> image (b, 3, 8h, 8w), nominally in [-1, 1], not clamped."""
        return self.decoder(latent_bchw)
