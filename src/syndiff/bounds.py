"""The range of every setting, declared once with its field, and the one function that checks it.

    image_size: Annotated[int, Bounds(32, 2048, multiple=32)] = 128

`Section` is what all settings classes come from: whoever makes one, from a file or in Python, gets values within range
or a SyndiffError that names the setting, what was found and what was expected.
"""

import math
from dataclasses import dataclass, fields
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from syndiff.errors import SyndiffError, shown


@dataclass(frozen=True)
class Bounds:
    """The numbers from `low` to `high`, both included unless `above` or `below` says otherwise.

    `multiple` is what whole numbers must be multiples of. With `high` infinite, infinity is a value; NaN never is.
    `also` are single values beside the range.
    """

    low: float
    high: float
    above: bool = False
    below: bool = False
    multiple: int = 1
    also: tuple[float, ...] = ()

    def hold(self, value: float) -> bool:
        """Whether `value` is one of these numbers."""
        if value in self.also:
            return True
        enough = self.low < value if self.above else self.low <= value
        few = value < self.high if self.below else value <= self.high
        return enough and few and (self.multiple == 1 or value % self.multiple == 0)

    def __str__(self) -> str:
        low, high = f"above {_number(self.low)}" if self.above else _number(self.low), _number(self.high)
        if self.high == math.inf:
            words = low if self.above else f"{low} or more"
        elif self.above or self.below:
            words = f"{low}{' and' if self.above else ','} {'below' if self.below else 'at most'} {high}"
            words = words if self.above else f"at least {words}"
        else:
            words = f"{low} to {high}"
        also = "".join(f", or {_number(value)}" for value in self.also)
        return words + (f", a multiple of {self.multiple}" if self.multiple > 1 else "") + also


@dataclass(frozen=True)
class Length:
    """How many values a list may have."""

    least: int
    most: int

    def hold(self, value: tuple[Any, ...]) -> bool:
        """Whether the list is as long."""
        return self.least <= len(value) <= self.most

    def __str__(self) -> str:
        return f"{self.least} to {self.most} values"


Share = Annotated[float, Bounds(0, 1)]
ShareBelowOne = Annotated[float, Bounds(0, 1, below=True)]


class Section:
    """A part of the settings: a frozen dataclass whose fields say what they may hold, checked when one is made.

    Lists become tuples, since JSON and YAML know lists only.
    """

    section: ClassVar[str]  # its name among the settings, as in `--set section.name=value`

    def __post_init__(self) -> None:
        for name, kind in kinds_of(type(self)).items():
            object.__setattr__(self, name, self.checked(name, getattr(self, name), kind))

    @classmethod
    def checked(cls, name: str, value: Any, kind: Any) -> Any:
        """`value` as the field `name` holds it, which is of a `kind`. Raises SyndiffError for one that it cannot."""
        value = tuple(value) if isinstance(value, list) else value
        if not fits(value, kind):
            raise SyndiffError(f"{cls.section}.{name} is {_written(value)}, expected {_expected(value, kind)}.")
        return value

    def refuse(self, name: str, expected: str) -> SyndiffError:
        """The error for a field that does not go with the others."""
        return SyndiffError(f"{self.section}.{name} is {_written(getattr(self, name))}, expected {expected}.")

    def check_order(self, low: str, high: str, *, apart: bool = False) -> None:
        """Raise SyndiffError unless the field `low` holds no more than `high`; less where they are `apart`."""
        least, most = getattr(self, low), getattr(self, high)
        if least > most or (apart and least == most):
            raise self.refuse(low, f"{'less' if apart else 'no more'} than {high}, which is {shown(most)}")


def kinds_of(section: type) -> dict[str, Any]:
    """What each field of a section may hold."""
    hints = get_type_hints(section, include_extras=True)
    return {item.name: hints[item.name] for item in fields(section)}


def is_text(kind: Any) -> bool:
    """Whether a field of this type holds text and nothing else."""
    return kind is str or (get_origin(kind) is Literal and all(isinstance(choice, str) for choice in get_args(kind)))


def in_words(kind: Any) -> str:
    """What a field of this type may hold, for people."""
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
    if kind in words:
        return words[kind]
    of = get_args(kind)
    if get_origin(kind) is Annotated:
        return ", ".join([in_words(of[0]), *map(str, of[1:])])
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, of))}" if len(of) > 1 else str(of[0])
    if get_origin(kind) is tuple:
        how = "such as [a, b]" if of[-1] is Ellipsis else f"[{', '.join('abcdef'[: len(of)])}]"
        return f"a list {how}, each {in_words(of[0])}"
    assert get_origin(kind) in (Union, UnionType), kind
    return " or ".join(map(in_words, of))


def _expected(value: Any, kind: Any) -> str:
    """What is wrong with a value: its kind, or, where that is right, its range."""
    if get_origin(kind) is Annotated and fits(value, get_args(kind)[0]):
        return ", ".join(map(str, get_args(kind)[1:]))
    return in_words(kind)


def fits(value: Any, kind: Any) -> bool:
    """Whether a field of this type may hold `value`."""
    origin, of = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return fits(value, of[0]) and all(rule.hold(value) for rule in of[1:])
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in of)
    if origin is tuple:
        if not isinstance(value, tuple) or (of[-1] is not Ellipsis and len(value) != len(of)):
            return False
        return all(fits(each, of[0]) for each in value)
    if origin in (Union, UnionType):
        return any(fits(value, each) for each in of)
    if isinstance(value, bool):  # Python counts True as a number; a user does not
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _written(value: Any) -> str:
    """A value as the user wrote it, short."""
    if isinstance(value, bool):
        return str(value).lower()
    return shown(list(value) if isinstance(value, tuple) else value)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else f"{value:g}"
