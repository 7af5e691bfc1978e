"""What a comparison says, in words that follow its interval: better, worse, or no difference that could be shown."""

from collections.abc import Mapping, Sequence
from typing import Any

from syndiff.errors import listed
from syndiff.evaluation.statistics import ENOUGH_CASES, holm, p_words

ALPHA = 0.05
SIDES = {"val": "validation", "test": "test"}
"""What the sides of a split are called."""


def interval_text(found: Mapping[str, Any] | None, digits: int = 3, sign: str = "") -> str:
    """The mean of `found` with its low and high, as far as they exist: `0.785 [0.457, 0.956]`."""
    if found is None or found["mean"] is None:
        return ""
    shown = f"{found['mean']:{sign}.{digits}f}"
    if found["low"] is None:
        return shown
    return f"{shown} [{found['low']:{sign}.{digits}f}, {found['high']:{sign}.{digits}f}]"


def verdict(difference: Mapping[str, Any], what: str, reference: str, *, digits: int = 3) -> str:
    """One sentence on a paired difference of a score where more is better.

    difference: `Difference` as JSON has it; where it has `p_adjusted`, that is the p-value told.
    """
    if difference["mean"] is None:
        return f"{what}: nothing could be compared with {reference}."
    shown = interval_text(difference, digits, "+")
    if difference["low"] is None:
        return f"{what}: {shown} against {reference}, without an interval ({difference['note']})."
    p_value = difference.get("p_adjusted", difference.get("p_value"))
    chance = "" if p_value is None else f", {p_words(p_value)}"
    better = difference["low"] > 0
    if not better and difference["high"] >= 0:
        return f"{what}: no difference to {reference} could be shown: {shown}{chance}."
    size = {"mean": abs(difference["mean"])}
    bounds = sorted(abs(difference[end]) for end in ("low", "high"))
    size |= {"low": bounds[0], "high": bounds[1]}
    told = f"{what}: {'better' if better else 'worse'} than {reference} by {interval_text(size, digits)}{chance}"
    if difference["cases"] < ENOUGH_CASES:
        return (
            f"{told}: its interval excludes zero, yet on {difference['cases']} cases a few missed lesions can do that; "
            f"a difference is called one from {ENOUGH_CASES} cases on."
        )
    if p_value is None or p_value <= ALPHA:
        return f"{told}."
    return f"{told}: its interval excludes zero, yet chance is not excluded{_floor(difference['groups'])}."


def verdicts(
    differences: Mapping[str, Mapping[str, Any]], reference: str, *, digits: int = 3, holm_told: bool = True
) -> str:
    """`verdict` of each level; those of which no difference could be shown share a sentence, as others do.

    Without `holm_told` the caller says that p-values are adjusted, where they are.
    """
    sentences, unsure, open_ = [], {}, {}
    for level, difference in differences.items():
        low, high = difference["low"], difference["high"]
        if low is None:
            open_[level] = difference
        elif low <= 0 <= high:
            unsure[level] = difference
        else:
            sentences.append(verdict(difference, level, reference, digits=digits))
    for some, told in ((unsure, f"No difference to {reference} could be shown for"), (open_, "Without an interval:")):
        if len(some) == 1:
            sentences += [verdict(each, level, reference, digits=digits) for level, each in some.items()]
        elif some:
            each = (f"{level} {interval_text(difference, digits, '+')}" for level, difference in some.items())
            sentences.append(f"{told} {listed(each)}.")
    if holm_told:
        sentences.append(holm_text([*differences.values()]))
    return " ".join(filter(None, sentences))


def holm_text(differences: Sequence[Mapping[str, Any]]) -> str:
    """That p-values are adjusted, where they are."""
    count = sum("p_adjusted" in difference for difference in differences)
    return f"p after Holm's correction for {count} comparisons." if count else ""


def sample_text(interval: Mapping[str, Any], side: str, trainings: int = 0) -> str:
    """How many cases, groups and trainings figures stand on, with what a reader must know about the interval."""
    note = f"; {interval['note']}" if interval.get("note") else ""
    groups = interval["groups"]
    unit = "" if groups == interval["cases"] else f" of {groups} group{'s' if groups > 1 else ''}"
    times = f", {trainings} trainings each" if trainings > 1 else ", one training each" if trainings else ""
    return f"{interval['cases']} {SIDES[side]} cases{unit}{times}{note}."


def adjust(differences: Sequence[dict[str, Any]]) -> None:
    """Give each difference `p_adjusted`, by Holm over all of them, where there are several."""
    known = [difference for difference in differences if difference.get("p_value") is not None]
    if len(known) > 1:
        for difference, value in zip(known, holm([each["p_value"] for each in known]), strict=True):
            difference["p_adjusted"] = value


def _floor(groups: int) -> str:
    least = 2.0 / 2.0**groups
    return f" (with {groups} groups p cannot fall below {least:.2g})" if least > ALPHA else ""
