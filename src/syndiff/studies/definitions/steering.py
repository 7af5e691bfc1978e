"""`syndiff study steering`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from syndiff.errors import SyndiffError
from syndiff.studies.grid import Conclusion, Findings, Grid
from syndiff.studies.study import Configured, Study

if TYPE_CHECKING:
    from syndiff.config.uses import Use


@dataclass(kw_only=True)
class Steering(Study, Configured):
    """Whether the words of a prompt change what is painted: one word exchanged, all else the same, measured."""

    name = "steering"

    data: Path
    """Dataset folder."""
    split: Path
    """Split JSON (see `syndiff data split`); lesions are painted into its training cases."""
    count: int = 24
    """Lesions painted for each word."""
    inpainter: Literal["compact", "sdxl"] | None = None
    """Replaces synthesis.inpainter."""
    model: str | None = None
    """For compact, the run folder of `syndiff adapt`; for sdxl, folder or hub id; replaces synthesis.model."""

    @classmethod
    def uses(cls) -> "Mapping[str, Use]":
        from syndiff.config.uses import Use

        without = ("synthesis.share", "synthesis.background_lesion", "synthesis.backgrounds", "synthesis.lesions")
        return {"study steering": Use(only=("synthesis", "compact", "sdxl"), but=without)}

    def grid(self) -> Grid:
        settings = self.settings({"synthesis.inpainter": self.inpainter, "synthesis.model": self.model})

        from syndiff.config.uses import check_use
        from syndiff.studies.steering import cells

        check_use(settings, *self.uses(), uses=self.uses())
        if self.count < 2:
            raise SyndiffError(f"--count is {self.count}; expected 2 or more.")
        return Grid(tuple(cells(self.out, self.data, self.split, settings, count=self.count, seed=self.seed)))

    def conclude(self, found: Findings) -> Conclusion:
        from syndiff.studies.steering import conclude

        return conclude(found, count=self.count, seed=self.seed)
