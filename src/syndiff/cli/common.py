"""What every verb shares: its settings, its seed, and where its results go."""

from syndiff.config.options import Configured as Configured
from syndiff.config.options import Preset as Preset
from syndiff.config.options import Spread as Spread
from syndiff.errors import SyndiffError, shown


def check_seed(seed: int) -> None:
    """A seed is 0 or more, and what every generator of random numbers takes."""
    if not 0 <= seed < 2**63:
        raise SyndiffError(f"--seed is {shown(seed)}; expected a whole number from 0 to {2**63 - 1}.")


def say(text: str) -> None:
    """A result, on standard output; progress goes to standard error."""
    print(text, flush=True)
