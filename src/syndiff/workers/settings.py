"""Where work is spread to."""

import re
from dataclasses import dataclass
from importlib.util import find_spec

from syndiff.errors import SyndiffError, shown

LOCAL = "local"
"""The address of a cluster that is started for one command, of this machine alone."""


@dataclass(frozen=True)
class Ray:
    """A Ray cluster.

    address: "local", "auto" (the one that runs on this machine, or that RAY_ADDRESS names), host:port or
        ray://host:port.
    cpus: CPU cores of a task; the cluster does as many tasks at once as it has cores for, or GPUs if it has any.

    Raises SyndiffError for what is no address or no number of cores, ModuleNotFoundError where Ray is not installed.

    >>> syndiff.Ray("auto", cpus=4).address  # for the argument `ray` of `synthesize` and `predict`
    'auto'
    """

    address: str = LOCAL
    cpus: int = 1

    def __post_init__(self) -> None:
        if self.address not in (LOCAL, "auto") and not re.fullmatch(r"(ray://)?[^\s/]+:\d+", self.address):
            raise SyndiffError(
                f"--ray is {shown(self.address)}; expected nothing (for this machine), auto, HOST:PORT or "
                "ray://HOST:PORT."
            )
        if self.cpus < 1:
            raise SyndiffError(f"--ray-cpus is {self.cpus}; expected 1 or more.")
        if find_spec("ray") is None:
            raise ModuleNotFoundError("No module named 'ray'", name="ray")
