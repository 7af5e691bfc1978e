"""Which labels become which classes: `polyp,adenoma=polyp` takes two labels as one class and leaves all others."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass

from syndiff.data.dataset import MAX_CLASSES, MAX_NAME
from syndiff.data.importing.annotations import Annotations
from syndiff.data.listing import check_text, some
from syndiff.errors import SyndiffError, did_you_mean, shown


@dataclass(frozen=True)
class Choice:
    """The classes by number, from 1, and the number of each label that is taken."""

    classes: Mapping[int, str]
    numbers: Mapping[str, int]


def choose(text: str, found: Annotations) -> Choice:
    """What `--classes` says; all labels that occur, each a class, where it says nothing.

    An entry is `label` or `label=class`; quotes around an entry take a comma in it. Classes are numbered in the order
    in which they are named. Raises SyndiffError for an entry that is none, a label that does not occur, one that stands
    twice, and too many classes.
    """
    if not text:
        assert found.labels is not None
        pairs = [(label, label) for label in found.labels]
    else:
        known = None if found.labels is None else {*found.labels, *found.declared}
        pairs = [_pair(entry, known) for entry in _entries(text)]
    numbers: dict[str, int] = {}
    classes: dict[str, int] = {}
    for label, name in pairs:
        if label in numbers:
            raise SyndiffError(f"--classes names the label {label!r} twice; a label belongs to one class.")
        check_text(name, "the name of a class")
        if len(name.encode()) > MAX_NAME:
            raise SyndiffError(
                f"The class {shown(name)} has a name of {len(name.encode())} bytes, expected {MAX_NAME} at most; give "
                "it a shorter one with --classes label=class."
            )
        numbers[label] = classes.setdefault(name, len(classes) + 1)
    if len(classes) > MAX_CLASSES:
        raise SyndiffError(
            f"There are {len(classes)} labels, more than the {MAX_CLASSES} that are told apart; choose "
            "or merge some with --classes, such as --classes polyp,adenoma=polyp."
        )
    return Choice({number: name for name, number in classes.items()}, numbers)


def _entries(text: str) -> list[str]:
    check_text(text, "--classes")
    return next(csv.reader([text], skipinitialspace=True))


def _pair(entry: str, known: set[str] | None) -> tuple[str, str]:
    entry = entry.strip()
    if known is not None and entry in known:
        return entry, entry
    label, equals, name = (part.strip() for part in entry.rpartition("="))
    label = label if equals else name
    if not label or not name:
        raise SyndiffError(
            f"--classes has the entry {shown(entry)}; expected label or label=class, such as adenoma=polyp."
        )
    if known is not None and label not in known:
        there = f"; there are {some(sorted(known), 10)}" if known else "; there are no labels"
        raise SyndiffError(
            f"--classes names {label!r}, which is no label of the source{did_you_mean(label, known)}{there}."
        )
    return label, name
