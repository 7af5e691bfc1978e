"""The forward process: how much of the clean latent is left at each timestep."""

import torch
from torch import Tensor, nn

from syndiff.errors import SyndiffError


class NoiseSchedule(nn.Module):
    """z_t = sqrt(abar_t) z_0 + sqrt(1 - abar_t) n for t = 0 ... T - 1 (SynDiff, forward process).

    The variances are "scaled linear", as in SDSeg and in latent diffusion:
    betas = linspace(sqrt(beta_start), sqrt(beta_end), T)^2. With `zero_terminal_snr` the square roots of abar are
    shifted and scaled so that the last timestep holds no signal at all (Lin et al., arXiv 2305.08891, algorithm 1);
    otherwise the target leaks through z_{T-1}.
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
        if timesteps < 2 or not 0 < beta_start < beta_end < 1:
            raise SyndiffError(
                f"noise schedule: found timesteps={timesteps}, beta_start={beta_start}, beta_end={beta_end}; "
                "expected at least 2 timesteps and 0 < beta_start < beta_end < 1."
            )
        self.timesteps = timesteps
        betas = torch.linspace(beta_start**0.5, beta_end**0.5, timesteps, dtype=torch.float64).square()
        signal = (1 - betas).cumprod(0).sqrt()
        if zero_terminal_snr:
            signal = (signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])
        self.zero_terminal_snr = zero_terminal_snr
        # Functions of the settings, so they are rebuilt with the model and never stored with its weights.
        self.register_buffer("signal", signal.float(), persistent=False)
        self.register_buffer("noise", (1 - signal.square()).sqrt().float(), persistent=False)

    def coefficients(self, timestep_b: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(abar_t) and sqrt(1 - abar_t) of each sample, shaped (b, 1, 1, 1)."""
        return self.signal[timestep_b].view(-1, 1, 1, 1), self.noise[timestep_b].view(-1, 1, 1, 1)

    def diffuse(self, clean_bchw: Tensor, noise_bchw: Tensor, timestep_b: Tensor) -> Tensor:
        """The noisy latent z_t of clean latents z_0 and Gaussian noise n, at one timestep a sample."""
        signal, noise = self.coefficients(timestep_b)
        return signal * clean_bchw + noise * noise_bchw
