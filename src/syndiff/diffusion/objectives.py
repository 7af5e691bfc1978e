"""What the denoiser predicts, how a clean latent is read from it, and the loss on both."""

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

import torch.nn.functional as F
from torch import Tensor

from syndiff.diffusion.schedule import NoiseSchedule
from syndiff.errors import SyndiffError

Norm = Literal["l1", "l2"]
_NORMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": F.l1_loss, "l2": F.mse_loss}


class Estimate(NamedTuple):
    """A denoiser's opinion of the clean latent and of the noise, both (b, c, h, w)."""

    clean: Tensor
    noise: Tensor


class Reading(Protocol):
    """One way to read a denoiser's output."""

    def estimate(self, output: Tensor, noisy: Tensor, timestep_b: Tensor) -> Estimate:
        """Clean latent and noise implied by the network's output at z_t."""
        ...


class Objective(Reading, Protocol):
    """One way to read a denoiser's output, and to train it."""

    def losses(self, estimate: Estimate, clean: Tensor, noise: Tensor, timestep_b: Tensor) -> dict[str, Tensor]:
        """Named scalar terms of the loss, already weighted; their sum is minimised."""
        ...


class NoiseAndLatent:
    """The paper's dual loss: the network predicts n~, and L = |n - n~| + lambda |z_0 - z~_0|.

    z~_0 = (z_t - sqrt(1 - abar_t) n~) / sqrt(abar_t), so the second term is the first one weighted by
    sqrt((1 - abar_t) / abar_t). The norm is L1 as in SDSeg; the SynDiff paper does not say.
    """

    def __init__(self, schedule: NoiseSchedule, *, latent_weight: float = 1.0, norm: Norm = "l1") -> None:
        if schedule.zero_terminal_snr:
            raise SyndiffError(
                "objective noise+latent cannot be used with zero_terminal_snr: the clean latent would be divided by "
                "zero at the last timestep. Set zero_terminal_snr to false or choose the objective z0 or v."
            )
        self.schedule, self.latent_weight, self.norm = schedule, latent_weight, _NORMS[norm]

    def estimate(self, output: Tensor, noisy: Tensor, timestep_b: Tensor) -> Estimate:
        """z~_0 from the predicted noise."""
        signal, noise = self.schedule.coefficients(timestep_b)
        return Estimate((noisy - noise * output) / signal, output)

    def losses(self, estimate: Estimate, clean: Tensor, noise: Tensor, timestep_b: Tensor) -> dict[str, Tensor]:
        """|n - n~| and lambda |z_0 - z~_0|."""
        return {
            "noise": self.norm(estimate.noise, noise),
            "latent": self.latent_weight * self.norm(estimate.clean, clean),
        }


class CleanLatent:
    """The network predicts z_0 itself: well posed at every timestep, pure noise included."""

    def __init__(self, schedule: NoiseSchedule, *, latent_weight: float = 1.0, norm: Norm = "l1") -> None:
        self.schedule, self.latent_weight, self.norm = schedule, latent_weight, _NORMS[norm]

    def estimate(self, output: Tensor, noisy: Tensor, timestep_b: Tensor) -> Estimate:
        """The noise that would turn the predicted z_0 into z_t; sqrt(1 - abar_t) > 0 at every t."""
        signal, noise = self.schedule.coefficients(timestep_b)
        # A zero-terminal-SNR schedule has no noise-free step either, but abar_0 may come within rounding of one.
        return Estimate(output, (noisy - signal * output) / noise.clamp(min=1e-4))

    def losses(self, estimate: Estimate, clean: Tensor, noise: Tensor, timestep_b: Tensor) -> dict[str, Tensor]:
        """|z_0 - z~_0|, weighted."""
        return {"latent": self.latent_weight * self.norm(estimate.clean, clean)}


class Velocity:
    """The network predicts v = sqrt(abar) n - sqrt(1 - abar) z_0 (Salimans and Ho, arXiv 2202.00512)."""

    def __init__(self, schedule: NoiseSchedule, *, latent_weight: float = 1.0, norm: Norm = "l1") -> None:
        self.schedule, self.latent_weight, self.norm = schedule, latent_weight, _NORMS[norm]

    def estimate(self, output: Tensor, noisy: Tensor, timestep_b: Tensor) -> Estimate:
        """z_0 = sqrt(abar) z_t - sqrt(1 - abar) v and n = sqrt(1 - abar) z_t + sqrt(abar) v."""
        signal, noise = self.schedule.coefficients(timestep_b)
        return Estimate(signal * noisy - noise * output, noise * noisy + signal * output)

    def losses(self, estimate: Estimate, clean: Tensor, noise: Tensor, timestep_b: Tensor) -> dict[str, Tensor]:
        """|v - v~|, weighted, with v rebuilt from clean latent and noise on both sides."""
        signal, scale = self.schedule.coefficients(timestep_b)
        predicted = signal * estimate.noise - scale * estimate.clean
        return {"velocity": self.latent_weight * self.norm(predicted, signal * noise - scale * clean)}


OBJECTIVES: dict[str, type[NoiseAndLatent] | type[CleanLatent] | type[Velocity]] = {
    "noise+latent": NoiseAndLatent,
    "z0": CleanLatent,
    "v": Velocity,
}


def make_objective(name: str, schedule: NoiseSchedule, *, latent_weight: float, norm: Norm) -> Objective:
    """The objective called `name`: noise+latent, z0 or v."""
    if name not in OBJECTIVES or norm not in _NORMS:
        raise SyndiffError(
            f"objective {name!r} with norm {norm!r}: expected one of {sorted(OBJECTIVES)} and one of {sorted(_NORMS)}."
        )
    return OBJECTIVES[name](schedule, latent_weight=latent_weight, norm=norm)
