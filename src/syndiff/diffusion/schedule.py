"""The forward process: how much of the clean latent is left at each timestep."""

import torch
from torch import Tensor, nn

from syndiff.diffusion.coefficients import Coefficients


class NoiseSchedule(nn.Module):
    """z_t = sqrt(abar_t) z_0 + sqrt(1 - abar_t) n for t = 0 ... T - 1 (SynDiff, forward process).

    Its numbers are those of `Coefficients`. Without `zero_terminal_snr` the target leaks through z_{T-1}.
    """

    signal: Tensor
    noise: Tensor

    def __init__(
        self,
        *,
        timesteps: int = 1000,
        beta_start: float = 0.0015,
        beta_end: float = 0.0155,
        zero_terminal_snr: bool = False,
    ) -> None:
        super().__init__()
        settings = Coefficients(
            timesteps=timesteps, beta_start=beta_start, beta_end=beta_end, zero_terminal_snr=zero_terminal_snr
        )
        self.timesteps, self.zero_terminal_snr = timesteps, zero_terminal_snr
        # Functions of the settings, so they are rebuilt with the model and never stored with its weights.
        for name, values in zip(("signal", "noise"), settings.signal_and_noise(), strict=True):
            self.register_buffer(name, torch.tensor(values), persistent=False)

    def coefficients(self, timestep_b: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(abar_t) and sqrt(1 - abar_t) of each sample, shaped (b, 1, 1, 1)."""
        return self.signal[timestep_b].view(-1, 1, 1, 1), self.noise[timestep_b].view(-1, 1, 1, 1)

    def diffuse(self, clean_bchw: Tensor, noise_bchw: Tensor, timestep_b: Tensor) -> Tensor:
        """The noisy latent z_t of clean latents z_0 and Gaussian noise n, at one timestep a sample."""
        signal, noise = self.coefficients(timestep_b)
        return signal * clean_bchw + noise * noise_bchw
