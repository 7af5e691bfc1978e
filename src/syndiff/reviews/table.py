"""Reviews as CSV: every event a line, exact in both directions; corrected masks in the folder beside the table."""

import csv
import io
import re
from dataclasses import astuple, fields
from pathlib import Path

from syndiff.data.readers import read_mask_values
from syndiff.documents import read_text
from syndiff.errors import SyndiffError, shown
from syndiff.files import check_output, check_regular, write_bytes, write_output
from syndiff.reviews.events import Event
from syndiff.reviews.store import ReviewStore, checked_mask, masks_beside

COLUMNS = tuple(item.name for item in fields(Event))
HEADER = ",".join(COLUMNS)
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""The beginning of a field that a spreadsheet would compute; in the table a ' stands before it, which none does."""
_WHAT = "a table of reviews"
_MEND = "Restore the table as `syndiff review export` wrote it: a spreadsheet that saves it may change it."


def export_reviews(store: ReviewStore, path: Path) -> int:
    """Write all events as CSV in the order of their times, and the corrected masks beside it; returns how many events.

    Raises SyndiffError for a file that is there and is no such table, and for a mask that is missing or was changed.
    """
    check_output(path, made_by_us=_is_table, what=_WHAT)
    events = store.events()
    files = {event.value: store.mask_file(event.value) for event in events if event.kind == "correct"}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_guarded(field) for field in astuple(event)] for event in events)
    if masks_beside(path).absolute() != store.masks.absolute():
        for name, file in files.items():
            write_bytes(masks_beside(path) / f"{name}.png", file.read_bytes())
    write_output(path, out.getvalue().encode(), made_by_us=_is_table, what=_WHAT)
    return len(events)


def import_reviews(store: ReviewStore, path: Path) -> tuple[int, int]:
    """Add the events of a table, all or none; returns how many were new, and how many it holds.

    Raises SyndiffError, naming the line, for another table, a damaged one, and a corrected mask that is missing,
    damaged or changed.
    """
    events = read_reviews(path)
    masks = masks_beside(path)
    contents: dict[str, bytes] = {}
    for line, event in events:
        if event.kind == "correct" and event.value not in contents:
            try:
                file = checked_mask(masks, event.value)
                read_mask_values(file)
            except SyndiffError as error:
                raise SyndiffError(f"{path}, line {line}: {error}") from None
            contents[event.value] = file.read_bytes()
    lines = {event.id: line for line, event in events}
    order = sorted((event for _, event in events), key=lambda event: (event.kind == "undo", event.time, event.id))
    _check_undos(path, order, lines, store)
    for name, content in contents.items():
        store.keep_mask(name, content)
    try:
        return store.merge(order), len(order)
    except SyndiffError as error:
        raise SyndiffError(f"{path}: {error}") from None


def read_reviews(path: Path) -> list[tuple[int, Event]]:
    """The events of a table with their lines. Raises SyndiffError, naming the line, for a damaged or another table."""
    check_regular(path)
    reader = csv.reader(io.StringIO(read_text(path, mend=_MEND), newline=""), strict=True)
    found: list[tuple[int, Event]] = []
    ids: set[str] = set()
    try:
        header = next(reader, [])
        if tuple(header) != COLUMNS:
            raise SyndiffError(f"{path} starts with {shown(','.join(header))}; expected {HEADER}. {_MEND}")
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if len(row) != len(COLUMNS):
                raise SyndiffError(f"{where} holds {len(row)} fields; expected {len(COLUMNS)}. {_MEND}")
            try:
                event = Event(**dict(zip(COLUMNS, map(_plain, row), strict=True)))
            except SyndiffError as error:
                raise SyndiffError(f"{where}: {error} {_MEND}") from None
            if event.id in ids:
                raise SyndiffError(f"{where}: the event {event.id} stands twice. {_MEND}")
            ids.add(event.id)
            found.append((reader.line_num, event))
    except csv.Error as error:
        raise SyndiffError(f"{path}, line {reader.line_num}: {error}. {_MEND}") from None
    return found


def _guarded(field: str) -> str:
    return f"'{field}" if _FORMULA.match(field) else field


def _plain(field: str) -> str:
    return field[1:] if field.startswith("'") and _FORMULA.match(field) else field


def _check_undos(path: Path, events: list[Event], lines: dict[str, int], store: ReviewStore) -> None:
    """Refuse, with the line, an undo whose event is neither in the table nor in the store."""
    known = {event.id for event in (*events, *store.events())}
    for event in events:
        if event.kind == "undo" and event.value not in known:
            raise SyndiffError(
                f"{path}, line {lines[event.id]}: undoes the event {event.value}, which is neither in the table nor in "
                f"{store.path}. {_MEND}"
            )


def _is_table(start: bytes) -> bool:
    return start.startswith(HEADER.encode() + b"\n")
