"""How much of the clean latent is left at each timestep, as numbers: the one definition, without torch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from syndiff.errors import SyndiffError


@dataclass(frozen=True, kw_only=True)
class Coefficients:
    """sqrt(abar_t) and sqrt(1 - abar_t) for t = 0 ... T - 1, from the settings that a model stores.

    The variances are "scaled linear", as in SDSeg and in latent diffusion:
    betas = linspace(sqrt(beta_start), sqrt(beta_end), T)^2. With `zero_terminal_snr` the square roots of abar are
    shifted and scaled so that the last timestep holds no signal at all (Lin et al., arXiv 2305.08891, algorithm 1).

    Raises SyndiffError for settings that make no schedule.
    """

    timesteps: int = 1000
    beta_start: float = 0.0015
    beta_end: float = 0.0155
    zero_terminal_snr: bool = False

    def __post_init__(self) -> None:
        if self.timesteps < 2 or not 0 < self.beta_start < self.beta_end < 1:
            raise SyndiffError(
                f"noise schedule: found timesteps={self.timesteps}, beta_start={self.beta_start}, "
                f"beta_end={self.beta_end}; expected at least 2 timesteps and 0 < beta_start < beta_end < 1."
            )

    def signal_and_noise(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """sqrt(abar_t) and sqrt(1 - abar_t), each (T,), computed in double precision."""
        betas = np.square(np.linspace(self.beta_start**0.5, self.beta_end**0.5, self.timesteps))
        signal = np.sqrt(np.cumprod(1 - betas))
        if self.zero_terminal_snr:
            signal = (signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])
        return signal.astype(np.float32), np.sqrt(1 - np.square(signal)).astype(np.float32)
