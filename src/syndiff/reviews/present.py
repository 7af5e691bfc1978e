"""The present state of a file of reviews, followed event by event: what a page asks for after every decision."""

import threading
from collections.abc import Iterable

from syndiff.reviews.events import Event
from syndiff.reviews.state import CaseReview, fold
from syndiff.reviews.store import ReviewStore


class Present:
    """What the events in a store add up to now, other programs' included; only the cases of new events are folded anew.

    Several threads may use it. Raises SyndiffError for a damaged file.
    """

    def __init__(self, store: ReviewStore) -> None:
        self._store, self._lock, self._number = store, threading.RLock(), 0
        self._events: dict[str, Event] = {}
        self._undone: set[str] = set()
        self._of_case: dict[str, list[Event]] = {}
        self._reviews: dict[str, dict[str, CaseReview]] = {}
        self._of_reviewer: dict[str, list[Event]] = {}
        self._follow()  # so that a damaged file is told before anybody works on it

    @property
    def cases(self) -> dict[str, dict[str, CaseReview]]:
        """What counts of every case that somebody said something of, by case and then by the content that was shown."""
        with self._lock:
            self._follow()
            return dict(self._reviews)

    def seen(self, case: str) -> dict[str, str]:
        """The content that a case had in each dataset in which it was reviewed, by the dataset's fingerprint."""
        with self._lock:
            self._follow()
            return {event.dataset: event.content for event in self._of_case.get(case, [])}

    def reviews(self, case: str) -> dict[str, CaseReview]:
        """What counts of a case, by the content that was shown; empty where nobody said anything."""
        with self._lock:
            self._follow()
            return dict(self._reviews.get(case, {}))

    @property
    def reviewers(self) -> list[str]:
        """Who has said something, undone or not."""
        with self._lock:
            self._follow()
            return list(self._of_reviewer)

    def said(self, reviewer: str) -> list[Event]:
        """A reviewer's events but undos, in the order of their times, those that were undone included."""
        with self._lock:
            self._follow()
            return list(self._of_reviewer.get(reviewer, []))

    def counting(self, reviewer: str) -> list[Event]:
        """A reviewer's events that count, in the order of their times: neither undone nor an undo."""
        with self._lock:
            return [event for event in self.said(reviewer) if event.id not in self._undone]

    def event(self, id: str) -> Event | None:
        """The event of an id, undone or not; None where there is none."""
        with self._lock:
            self._follow()
            return self._events.get(id)

    def _follow(self) -> None:
        new, self._number = self._store.events_after(self._number)
        touched = set()
        for event in new:
            self._events[event.id] = event
            if event.kind == "undo":
                self._undone.add(event.value)
                undone = self._events.get(event.value)
                touched |= {event.case} if undone is None else {undone.case}
            else:
                self._of_case.setdefault(event.case, []).append(event)
                self._of_reviewer.setdefault(event.reviewer, []).append(event)
                touched.add(event.case)
        for reviewer in {event.reviewer for event in new} & self._of_reviewer.keys():
            _sort(self._of_reviewer[reviewer])
        self._fold(touched)

    def _fold(self, cases: Iterable[str]) -> None:
        for case in cases:
            events = self._of_case.get(case, [])
            _sort(events)
            found = fold(event for event in events if event.id not in self._undone)
            self._reviews[case] = {content: review for (_, content), review in found.items()}
            if not found:
                del self._reviews[case]


def _sort(events: list[Event]) -> None:
    events.sort(key=lambda event: (event.time, event.id))
