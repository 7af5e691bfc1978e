"""The followed state is that of all events, in whatever order and portions they come."""

import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from reviewing import subject

from syndiff.reviews.events import Event
from syndiff.reviews.present import Present
from syndiff.reviews.state import fold
from syndiff.reviews.store import ReviewStore

SAID = st.tuples(
    st.sampled_from(["ann", "ben"]),
    st.sampled_from("abc"),
    st.sampled_from("xy"),  # what the case showed
    st.sampled_from([("accept", ""), ("reject", "seam"), ("rate", "4"), ("correct", "f" * 64), ("guess", "real")]),
    st.integers(0, 9),  # its minute
    st.booleans(),  # whether it is undone, too
)


def events_of(said: list) -> list[Event]:
    made = []
    for number, (who, case, shown, (kind, value), minute, undone) in enumerate(said):
        one = subject(case, content=case + shown)
        event = Event(
            id=f"{number:032x}", time=f"2026-01-01T00:{minute:02d}:00.000000Z", reviewer=who, dataset=one.dataset,
            name=one.name, case=case, content=one.content, kind=kind, value=value,
            truth="real" if kind == "guess" else "",
        )  # fmt: skip
        made.append(event)
        if undone:
            made.append(replace(event, id=f"{number + 1000:032x}", kind="undo", value=event.id, truth=""))
    return made


@settings(max_examples=25, deadline=None)
@given(said=st.lists(SAID, max_size=8), portions=st.integers(1, 4))
def test_it_is_what_all_events_come_to(said: list, portions: int) -> None:
    events = events_of(said)
    with tempfile.TemporaryDirectory() as folder, ReviewStore(Path(folder) / "reviews.db") as store:
        present, size = Present(store), len(events) // portions + 1
        for start in range(0, len(events) or 1, size):
            store.merge(events[start : start + size])
            followed = {(case, shown): one for case, found in present.cases.items() for shown, one in found.items()}
            assert followed == fold(store.events())
        undone = {event.value for event in events if event.kind == "undo"}
        for who in ("ann", "ben"):
            mine = [event for event in store.events() if event.reviewer == who and event.kind != "undo"]
            assert present.said(who) == mine
            assert present.counting(who) == [event for event in mine if event.id not in undone]
