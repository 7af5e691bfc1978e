"""From Gaussian noise to a clean latent: in one step, or in several with DDIM."""

from collections.abc import Callable

import torch
from torch import Tensor

from syndiff.diffusion.objectives import Reading
from syndiff.diffusion.schedule import NoiseSchedule
from syndiff.errors import SyndiffError

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(noisy latent (b, c, h, w), timestep (b,)) -> network output (b, c, h, w); the condition is bound already."""

Correction = Callable[[Tensor], Tensor]
"""Estimated clean latent (b, c, h, w) -> what is known of it put in."""


def ddim_timesteps(start: int, steps: int) -> list[int]:
    """`steps` strictly falling timesteps from `start` toward 0, evenly spaced ("trailing": the start is included)."""
    if not 1 <= steps <= start + 1:
        raise SyndiffError(f"sampling steps: found {steps}, expected 1 to {start + 1} from timestep {start}.")
    return [start - round(i * (start + 1) / steps) for i in range(steps)]


def ddim(
    denoise: Denoise,
    objective: Reading,
    schedule: NoiseSchedule,
    noise_bchw: Tensor,
    *,
    start: int,
    steps: int,
    corrected: Correction | None = None,
) -> Tensor:
    """Deterministic DDIM (Song et al., arXiv 2010.02502, eta = 0) from pure noise, presented as z_t at `start`.

    One step is the paper's single pass: the clean latent estimated at once. The paper fixes t = 50 for it; a network
    trained on z_50 has hardly seen noise there, so pure noise is far outside its inputs, and t = T - 1 is where it
    belongs (measured: docs/concepts/timestep.md). Every estimate of the clean latent is `corrected`, and the noise is
    what z_t then holds beside it.
    """
    timesteps = ddim_timesteps(start, steps)
    latent = noise_bchw
    for timestep, following in zip(timesteps, [*timesteps[1:], None], strict=True):
        timestep_b = torch.full((latent.shape[0],), timestep, device=latent.device)  # len() would freeze an export
        estimate = objective.estimate(denoise(latent, timestep_b), latent, timestep_b)
        clean, noise = estimate.clean, estimate.noise
        if corrected is not None:
            clean = corrected(clean)
            signal, scale = schedule.coefficients(timestep_b)
            noise = (latent - signal * clean) / scale
        latent = clean if following is None else schedule.diffuse(clean, noise, torch.full_like(timestep_b, following))
    return latent
