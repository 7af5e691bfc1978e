"""TAEF2: the tiny autoencoder (8x, 32 latent channels, MIT, Ollin Boer Bohan) distilled from FLUX.2's."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from syndiff.models.codec import LatentCodec


class _Block(nn.Module):
    """relu(conv(relu(conv(relu(conv(x))))) + x); a middle block first adds a grouped, pooled view of x."""

    def __init__(self, channels: int, *, middle: bool = False) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        self.pool = (
            nn.Sequential(
                nn.Conv2d(channels, 4 * channels, 1, bias=False),
                nn.GroupNorm(4, 4 * channels),
                nn.ReLU(),
                nn.Conv2d(4 * channels, channels, 1, bias=False),
            )
            if middle
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + x)


class _SoftClamp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 3 * torch.tanh(x / 3)


def _encoder_layers() -> Iterator[nn.Module]:
    yield nn.Conv2d(3, 64, 3, padding=1)
    yield _Block(64)
    for middle in (False, False, True):
        yield nn.Conv2d(64, 64, 3, stride=2, padding=1, bias=False)
        for _ in range(3):
            yield _Block(64, middle=middle)
    yield nn.Conv2d(64, 32, 3, padding=1)


def _decoder_layers() -> Iterator[nn.Module]:
    yield _SoftClamp()
    yield nn.Conv2d(32, 64, 3, padding=1)
    yield nn.ReLU()
    for _ in range(3):
        yield _Block(64, middle=True)
    for blocks in (3, 3, 1):
        yield nn.Upsample(scale_factor=2)
        yield nn.Conv2d(64, 64, 3, padding=1, bias=False)
        for _ in range(blocks):
            yield _Block(64)
    yield nn.Conv2d(64, 3, 3, padding=1)


class Taef2(LatentCodec):
    """Encoder and decoder as flat sequences, so that the keys of the published state dicts fit as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(*_encoder_layers())
        self.decoder = nn.Sequential(*_decoder_layers())

    def encode(self, image_bchw: Tensor) -> Tensor:
        """(b, 3, h, w) in [-1, 1] -> latent (b, 32, h/8, w/8); the network itself works on [0, 1]."""
        return self.encoder(image_bchw * 0.5 + 0.5)

    def decode(self, latent_bchw: Tensor) -> Tensor:
        """Latent (b, 32, h, w) -> image (b, 3, 8h, 8w), nominally in [-1, 1], not clamped."""
        return self.decoder(latent_bchw) * 2 - 1
