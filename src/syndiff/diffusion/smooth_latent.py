"""Prediction of z_0 for latents that are smooth in space and whose channels differ in spread."""

import torch
from torch import Tensor, nn

from syndiff.diffusion.objectives import Estimate
from syndiff.diffusion.schedule import NoiseSchedule

TRUSTED = 0.25
"""z_t passes straight into the estimate where its noise is below this share of a channel's detail."""
LEAST_NOISE = 0.5
"""The loss stops growing where sqrt(1 - abar_t) falls below this."""


class SmoothLatent(nn.Module):
    """The network sees z_t / r and answers F, from which z~_0 = k z_t + o F.

    a = sqrt(abar_t), b = sqrt(1 - abar_t), s is the standard deviation of a channel of z_0, and d that of its detail,
    which a pixel's neighbours do not tell. r^2 = a^2 s^2 + b^2 gives the input unit variance, o gives it to what F has
    to be, as in Karras et al. (arXiv 2206.00364, table 1) for one process that preserves variance. Their k would be
    a s^2 / r^2, as good as v-prediction: where a latent is smooth, it hands on noise of the size of s, white, which a
    network of some hundred training steps cannot take back; samples come out mottled. Here k = a e^2 / (a^2 e^2 + b^2)
    with e = d / 4: z_0 itself is predicted but for the last of the noise. (That networks of little capacity better
    predict the clean data than noise: Li and He, arXiv 2511.13720.)
    """

    spread: Tensor
    """(1, c, 1, 1): s; one until it is measured."""
    detail: Tensor
    """(1, c, 1, 1): d; one until it is measured."""

    def __init__(self, schedule: NoiseSchedule, channels: int) -> None:
        super().__init__()
        self.schedule = schedule
        self.register_buffer("spread", torch.ones(1, channels, 1, 1))
        self.register_buffer("detail", torch.ones(1, channels, 1, 1))

    @torch.no_grad()
    def measure(self, clean_bchw: Tensor) -> None:
        """Learn s and d from clean latents of zero mean, at least 3x3 pixels."""
        shifts = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if (row, column) != (0, 0)]
        inner = clean_bchw[..., 1:-1, 1:-1]
        around = torch.stack([clean_bchw.roll(shift, (2, 3))[..., 1:-1, 1:-1] for shift in shifts]).mean(0)
        axes = (0, 2, 3)
        known = (inner * around).mean(axes, keepdim=True) / around.square().mean(axes, keepdim=True).clamp(min=1e-12)
        for buffer, values in ((self.spread, clean_bchw), (self.detail, inner - known * around)):
            # a channel that never changes is still divided by its spread
            buffer.copy_(values.square().mean(axes, keepdim=True).sqrt().clamp(min=1e-3))

    def scaled(self, noisy: Tensor, timestep_b: Tensor) -> Tensor:
        """What the network is shown of z_t."""
        signal, scale = self.schedule.coefficients(timestep_b)
        return noisy / (signal.square() * self.spread.square() + scale.square()).sqrt()

    def estimate(self, output: Tensor, noisy: Tensor, timestep_b: Tensor) -> Estimate:
        """z~_0 = k z_t + o F, and the noise that would turn it into z_t."""
        signal, scale = self.schedule.coefficients(timestep_b)
        trusted = (TRUSTED * self.detail).square()
        kept = signal * trusted / (signal.square() * trusted + scale.square())
        rest = ((1 - kept * signal).square() * self.spread.square() + kept.square() * scale.square()).sqrt()
        clean = kept * noisy + rest * output
        return Estimate(clean, (noisy - signal * clean) / scale)

    def weight(self, timestep_b: Tensor) -> Tensor:
        """Weight of |z_0 - z~_0|^2 in the loss, (b, 1, 1, 1): |v - v~|^2 = |z_0 - z~_0|^2 / b^2, kept within bounds."""
        _, scale = self.schedule.coefficients(timestep_b)
        return scale.clamp(min=LEAST_NOISE).square().reciprocal()
