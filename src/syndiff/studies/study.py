"""What every study is: options, a grid of cells, a conclusion. One file in `definitions/` makes one.

The class of a definition is a verb of the command line: its docstring is the verb's help, its fields are the options.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from syndiff.config.options import Configured as Configured
from syndiff.config.options import Spread
from syndiff.studies.choices import Side
from syndiff.studies.grid import Conclusion, Findings, Grid

if TYPE_CHECKING:
    from syndiff.config.uses import Use

_KNOWN: "dict[str, type[Study]]" = {}


@dataclass(kw_only=True)
class Study(Spread):
    """A study; its definition says what `grid` and `conclude` are."""

    name: ClassVar[str] = ""
    """Of the verb: `syndiff study <name>`."""
    figure: ClassVar[str] = ""
    """File name of the picture, where it is not that of the table."""

    out: Path
    """Folder of the study; the same command goes on, finished cells are kept."""
    workers: int = 1
    """Cells at a time, each with its part of the CPU's cores."""
    minutes: float | None = None
    """Minutes that the whole study may take: the part of it that fits is done, and what was left out is said."""
    dry_run: bool = False
    """Show the cells, which of them are finished, and the expected time; write nothing."""
    seed: int = 0
    """Seed of everything drawn at random."""

    def __init_subclass__(cls) -> None:
        if name := cls.__dict__.get("name"):
            _KNOWN[name] = cls

    @classmethod
    def uses(cls) -> "Mapping[str, Use]":
        """The settings that it uses, as `config.uses.USES` has them; its own name stands first."""
        return {}

    @property
    def stem(self) -> str:
        """Of the files that it ends in."""
        return self.name.replace("-", "_")

    def grid(self) -> Grid:
        """The cells. Writes nothing; raises SyndiffError for everything that can be refused before the first one."""
        raise NotImplementedError

    def conclude(self, found: Findings) -> Conclusion:
        """What the cells come to. Some may be missing, where `minutes` left them out; the first level never is."""
        raise NotImplementedError


@dataclass(kw_only=True)
class Scored(Study):
    """A study that scores segmenters on one side of a dataset's split."""

    data: Path
    """Dataset folder."""
    side: Side = "val"
    """Cases that are scored; test is for the end."""

    @property
    def stem(self) -> str:
        return f"{super().stem}_{self.side}"


def known_studies() -> "dict[str, type[Study]]":
    """Every study that a file in `definitions/` defines, by name in alphabetical order."""
    from syndiff.studies import definitions

    for module in pkgutil.iter_modules(definitions.__path__):
        importlib.import_module(f"{definitions.__name__}.{module.name}")
    return dict(sorted(_KNOWN.items()))
