"""What every setting means, from the documentation of the classes that own them: `syndiff settings`."""

import textwrap
from collections.abc import Sequence
from typing import Any

import docstring_parser
import yaml

from syndiff.bounds import Section, in_words, kinds_of
from syndiff.config.settings import Settings, names_of, sections
from syndiff.errors import SyndiffError, did_you_mean

_WIDTH = 100


def describe(settings: Settings, shown: Sequence[str] = ()) -> str:
    """`section.name = value` of every setting with what it means and may be below: all, or those that are `shown`.

    These are sections, or single settings as section.name. Raises SyndiffError for one that does not exist.
    """
    owners = sections()
    for each in shown:
        known = tuple(names_of(*owners) if "." in each else owners)
        if each not in known:
            what = "setting" if "." in each else "section"
            told = did_you_mean(each, known) or f"; choose of {', '.join(owners)}"
            raise SyndiffError(f"there is no {what} {each!r}{told}.")
    values, asked = settings.plain(), set(names_of(*(shown or owners)))
    return "\n".join(
        line
        for section, owner in owners.items()
        for line in _section(
            section, owner, {name: value for name, value in values[section].items() if f"{section}.{name}" in asked}
        )
    )


def _section(section: str, owner: type[Section], values: dict[str, Any]) -> list[str]:
    meanings, kinds = meanings_of(owner), kinds_of(owner)
    lines = []
    for name, value in values.items():
        lines.append(f"{section}.{name} = {_written(value)}")
        allowed = in_words(kinds[name])
        about = meanings[name] + (f" {allowed[0].upper()}{allowed[1:]}." if kinds[name] not in (str, bool) else "")
        lines += textwrap.wrap(about, _WIDTH, initial_indent="    ", subsequent_indent="    ")
    return lines


def meanings_of(owner: type) -> dict[str, str]:
    """The documentation of each field of a settings class, its own or of the class that it comes from."""
    return {
        parameter.arg_name: " ".join(parameter.description.split())
        for base in reversed(owner.__mro__[:-1])
        for parameter in docstring_parser.parse_from_object(base).params
        if parameter.description
    }


def _written(value: Any) -> str:
    """A value as `--set` takes it."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n").removesuffix("\n...")
