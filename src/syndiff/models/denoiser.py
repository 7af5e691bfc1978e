"""The compact denoiser: a small U-Net on the latent grid, conditioned by concatenation and by the timestep."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TimestepEmbedding(nn.Module):
    """Sinusoidal features of the timestep (Ho et al., arXiv 2006.11239) through a perceptron: (b,) -> (b, c)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.mlp = nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, channels), nn.SiLU())

    def forward(self, timestep_b: Tensor) -> Tensor:
        half = self.channels // 2
        exponent = torch.arange(half, device=timestep_b.device, dtype=torch.float32) / half
        angle = timestep_b.float()[:, None] * torch.exp(-math.log(10_000) * exponent)
        return self.mlp(torch.cat([angle.sin(), angle.cos()], 1).to(next(self.mlp.parameters()).dtype))


class _Block(nn.Module):
    """Residual block; the timestep scales and shifts the normalised features between its two convolutions."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, channels), nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulate = nn.Linear(embedding, 2 * channels)
        for parameter in (*self.modulate.parameters(), *self.conv2.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulate(embedding)[:, :, None, None].chunk(2, 1)
        y = self.conv1(F.silu(self.norm1(x)))
        y = self.conv2(F.silu(self.norm2(y) * (1 + scale) + shift))
        return x + y


class CompactDenoiser(nn.Module):
    """(z_t, t, z_c) -> output with the channels of z_t; z_t and z_c share the grid, sides multiples of 2.

    Concatenating z_t with z_c and convolving is the sum of two convolutions; kept apart, the one of z_t can be gated by
    the timestep, since at t = T - 1 it carries nothing but noise.
    """

    def __init__(self, *, latent_channels: int, condition_channels: int, channels: int) -> None:
        super().__init__()
        embedding = 2 * channels
        self.embed = TimestepEmbedding(embedding)
        self.enter_condition = nn.Conv2d(condition_channels, channels, 1)
        self.enter_noisy = nn.Conv2d(latent_channels, channels, 3, padding=1)
        self.gate = nn.Linear(embedding, channels)
        self.down = _Block(channels, embedding)
        self.shrink = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.bottom = nn.ModuleList(_Block(channels, embedding) for _ in range(2))
        self.join = nn.Conv2d(2 * channels, channels, 1)
        self.up = _Block(channels, embedding)
        self.norm = nn.GroupNorm(8, channels)
        self.leave = nn.Conv2d(channels, latent_channels, 3, padding=1)

    def forward(self, noisy_bchw: Tensor, timestep_b: Tensor, condition_bchw: Tensor) -> Tensor:
        """One pass of the network."""
        embedding = self.embed(timestep_b)
        gate = self.gate(embedding)[:, :, None, None]
        x = self.enter_condition(condition_bchw) + gate * self.enter_noisy(noisy_bchw)
        x = skip = self.down(x, embedding)
        x = self.shrink(x)
        for block in self.bottom:
            x = block(x, embedding)
        x = self.join(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skip], 1))
        return self.leave(F.silu(self.norm(self.up(x, embedding))))

    def checkpoint_gradients(self, function: Callable[..., Any]) -> bool:
        """Small as it is, it has no blocks to compute again: False."""
        return False
