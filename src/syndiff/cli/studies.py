"""`syndiff study ...`: experiments that answer one question each. The studies themselves say what their options are."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Union

import tyro

from syndiff.cli.common import say
from syndiff.studies.study import known_studies

_KNOWN = known_studies()

if TYPE_CHECKING:
    AnyStudy = Any
else:
    AnyStudy = Union[tuple(Annotated[each, tyro.conf.subcommand(name)] for name, each in _KNOWN.items())]  # noqa: UP007


@dataclass(kw_only=True)
class Study:
    """Experiments that answer one question each."""

    verb: AnyStudy = field()

    def run(self) -> None:
        """Do what is missing of the chosen study and print what it comes to, or the plan alone."""
        from syndiff.studies.engine import run_study

        say(run_study(self.verb))


Study.__doc__ = f"Experiments: {', '.join(_KNOWN)}."
