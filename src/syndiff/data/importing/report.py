"""What an import took and what it left: in words for the terminal, and as import.json beside dataset.json."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from syndiff.data.importing.choosing import Choice

_SHOWN = 10


@dataclass
class Report:
    """Counts of an import, filled case by case.

    `shapes` counts what was drawn by class number and `in_cases` the cases that show the class; `overlapping` holds the
    pixels that belong to several classes, by case. `left` counts what was not taken, in words, and `skipped` names the
    cases that could not be, with the reason. `groups` is None where none are known. `names` are the paths of the
    pictures, by case.
    """

    tool: str
    source: str
    choice: Choice
    shapes: Counter[int] = field(default_factory=Counter)
    in_cases: Counter[int] = field(default_factory=Counter)
    overlapping: dict[str, int] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)
    left: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    groups: dict[str, str] | None = None
    names: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """The report as lines for a terminal."""
        lines = [
            f"Imported     {self.tool}, {self.source}",
            f"Cases        {len(self.names)}",
            *(
                f"{'Classes' if number == 1 else '':12} {number} {name}: in {self.in_cases[number]} cases, drawn "
                f"{self.shapes[number]} times"
                for number, name in self.choice.classes.items()
            ),
            f"Overlap      {self._overlap()}",
            f"Empty masks  {len(self.empty)}{_some(self.empty)}",
            f"Groups       {self._groups()}",
        ]
        left = [f"{count} x {what}" for what, count in sorted(self.left.items())]
        left += [f"{name}: {reason}" for name, reason in self.skipped.items()]
        for title, rows in (("Left", left), ("Notes", self.notes)):
            lines += [title, *(f"  - {row}" for row in rows[:_SHOWN])] if rows else []
            lines += [f"  - ... and {len(rows) - _SHOWN} more, in import.json"] if len(rows) > _SHOWN else []
        return "\n".join(lines)

    def content(self, options: dict[str, Any]) -> dict[str, Any]:
        """What import.json holds."""
        classes = self.choice.classes
        return {
            "from": self.tool,
            "source": self.source,
            "options": options,
            "cases": len(self.names),
            "classes": {
                name: {"number": number, "cases": self.in_cases[number], "drawn": self.shapes[number]}
                for number, name in classes.items()
            },
            "labels": {label: classes[number] for label, number in self.choice.numbers.items()},
            "overlapping_pixels": self.overlapping,
            "empty_masks": self.empty,
            "groups": None if self.groups is None else len(set(self.groups.values())),
            "left": dict(sorted(self.left.items())),
            "skipped": self.skipped,
            "notes": self.notes,
            "names": self.names,
        }

    def _overlap(self) -> str:
        if not self.overlapping:
            return "none: one class number for each pixel"
        return (
            f"{sum(self.overlapping.values()):,} pixels in {len(self.overlapping)} cases"
            f"{_some(list(self.overlapping))}: a page for each class (--flatten lets what is drawn last cover)"
        )

    def _groups(self) -> str:
        if self.groups is None:
            return "unknown: --groups or --group-pattern tell patients or videos apart"
        sizes = Counter(self.groups.values())
        return f"{len(sizes)}, with {min(sizes.values())} to {max(sizes.values())} cases"


def _some(names: list[str]) -> str:
    """The first few names, in brackets."""
    more = ", ..." if len(names) > 3 else ""
    return f" ({', '.join(names[:3])}{more})" if names else ""
