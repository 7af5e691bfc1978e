"""The options of every verb whose work follows settings, as the command line and a study in Python take them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from syndiff.errors import SyndiffError
from syndiff.workers.settings import Ray

if TYPE_CHECKING:
    from syndiff.config.settings import Settings


@dataclass(kw_only=True)
class Preset:
    """A choice of settings."""

    preset: str = "compact"
    """Settings to start from: compact, demo (the same within minutes), gpu (larger, for a GPU) or paper (the paper's,
    for a GPU too)."""
    config: Path | None = None
    """YAML file of settings that replace the preset's."""
    set: tuple[str, ...] = ()
    """Single settings, such as model.image_size=192; they replace those of preset and config."""

    def settings(self, options: Mapping[str, object] | None = None) -> "Settings":
        """The settings that preset, config, set and `options` add up to.

        `options` are the verb's own, by the setting (section.name) that they replace; None is one that was not given.
        A verb asks for its settings before it imports what works, so that a mistake in them shows at once, not after
        the seconds that networks take.
        """
        from syndiff.config.loading import load_settings

        given = {name: value for name, value in (options or {}).items() if value is not None}
        return load_settings(self.preset, self.config, self.set, given)


@dataclass(kw_only=True)
class Configured(Preset):
    """A verb whose work follows settings."""

    seed: int = 0
    """Seed of everything drawn at random."""


@dataclass(kw_only=True)
class Spread:
    """A verb whose work can be spread over a Ray cluster."""

    ray: str | None = None
    """Do the work on a Ray cluster: that of an address (auto, HOST:PORT or ray://HOST:PORT), which must see the same
    folders, or without one a cluster of this machine. The result is the same."""
    ray_cpus: int | None = None
    """With --ray, CPU cores of each task, 1 where it is not given: as many tasks are done at once as there are cores
    for. Where the cluster has GPUs, each task takes one."""

    def cluster(self) -> Ray | None:
        """The cluster that was chosen, if any. Raises as `Ray` does, and for cores without a cluster."""
        if self.ray is None:
            if self.ray_cpus is not None:
                raise SyndiffError("--ray-cpus has no effect without --ray; add --ray, or leave it out.")
            return None
        return Ray(self.ray) if self.ray_cpus is None else Ray(self.ray, self.ray_cpus)
