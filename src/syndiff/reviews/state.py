"""What the events add up to: each reviewer's last word on a case, and what counts when several have one.

A case is known by its id and by what its picture and mask showed, so a review holds in a copied or a grown folder and
ends with any change of the case.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from syndiff.data.dataset import Dataset
from syndiff.data.listing import some
from syndiff.reviews.events import Event, content_of

log = logging.getLogger("syndiff")
State = Literal["accepted", "rejected", "corrected", "open"]


@dataclass(frozen=True)
class Opinion:
    """A reviewer's last word on a case; None is what was not said or was undone.

    A correction accepts the case with its mask; a later rejection sets it aside, a later acceptance keeps it.
    """

    reviewer: str
    decision: Literal["accept", "reject"] | None = None
    reason: str | None = None
    rating: int | None = None
    mask: str | None = None
    corrected_at: str = ""
    guess: str | None = None
    truth: str | None = None


@dataclass(frozen=True)
class CaseReview:
    """What all reviewers say of a case, as it was shown: `name` is its dataset's, `content` as in `Event`."""

    name: str
    case: str
    content: str
    opinions: tuple[Opinion, ...]

    @property
    def state(self) -> State:
        """Rejected where any reviewer rejects it; else corrected, or accepted; open without a decision."""
        said = {opinion.decision for opinion in self.opinions}
        if "reject" in said:
            return "rejected"
        return "open" if "accept" not in said else "corrected" if self.mask else "accepted"

    @property
    def mask(self) -> str | None:
        """The SHA-256 of the newest corrected mask, None where there is none."""
        newest = max(self.opinions, key=lambda opinion: (opinion.corrected_at, opinion.mask or ""))
        return newest.mask

    @property
    def rating(self) -> float | None:
        """The mean of the reviewers' ratings, 1 to 5."""
        ratings = [opinion.rating for opinion in self.opinions if opinion.rating is not None]
        return sum(ratings) / len(ratings) if ratings else None


def fold(events: Iterable[Event]) -> dict[tuple[str, str], CaseReview]:
    """The present state, by case and content, from events in the order of their times."""
    listed = list(events)
    undone = {event.value for event in listed if event.kind == "undo"}
    opinions: dict[tuple[str, str], dict[str, Opinion]] = {}
    names: dict[tuple[str, str], str] = {}
    for event in listed:
        if event.kind == "undo" or event.id in undone:
            continue
        key = event.case, event.content
        of_case = opinions.setdefault(key, {})
        of_case[event.reviewer] = _after(of_case.get(event.reviewer, Opinion(event.reviewer)), event)
        names[key] = event.name
    return {
        (case, content): CaseReview(names[case, content], case, content, tuple(said[who] for who in sorted(said)))
        for (case, content), said in opinions.items()
    }


def reviews_of(dataset: Dataset, events: Iterable[Event]) -> dict[str, CaseReview]:
    """The present reviews of a dataset folder's cases, by id; the pictures of those that were reviewed are read.

    Where other reviews of the same dataset do count, those of a case that is gone, or shows something else now, are
    warned of and left out.
    """
    listed = list(events)
    there = {case.id for case in dataset.cases}
    contents = {case: content_of(dataset, case)[0] for case in {event.case for event in listed} & there}
    reviews = fold(listed)
    found = {case: review for (case, content), review in sorted(reviews.items()) if contents.get(case) == content}
    said = [event for event in listed if (event.case, event.content) in reviews]  # without what was undone
    ours = {event.dataset for event in said if contents.get(event.case) == event.content}
    lost = sorted({event.case for event in said if event.dataset in ours} - found.keys())
    if lost:
        log.warning(
            f"{len(lost)} reviewed cases of {dataset.name} are not in {dataset.root} as they were reviewed "
            f"({some(lost)}): they were changed or removed since. Their reviews are not used."
        )
    return found


def count_states(reviews: Mapping[str, CaseReview] | Iterable[CaseReview]) -> dict[str, int]:
    """How many are accepted, corrected, rejected and open."""
    counts = Counter(each.state for each in (reviews.values() if isinstance(reviews, Mapping) else reviews))
    return {state: counts[state] for state in ("accepted", "corrected", "rejected", "open")}


def _after(before: Opinion, event: Event) -> Opinion:
    if event.kind == "accept":
        return replace(before, decision="accept", reason=None)
    if event.kind == "reject":
        return replace(before, decision="reject", reason=event.value)
    if event.kind == "correct":
        return replace(before, decision="accept", reason=None, mask=event.value, corrected_at=event.time)
    if event.kind == "rate":
        return replace(before, rating=int(event.value))
    return replace(before, guess=event.value, truth=event.truth)
