"""The file of reviews: SQLite, one row an event, nothing ever changed or removed; corrected masks lie beside it as PNG.

What `ReviewStore` has acknowledged is on the disk: the write-ahead log is flushed with every event
(https://www.sqlite.org/pragma.html#pragma_synchronous, FULL). A corrected mask is on the disk before its event.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import astuple, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from syndiff.data.readers import read_mask_values
from syndiff.documents import digest
from syndiff.errors import SyndiffError
from syndiff.files import write_bytes
from syndiff.imaging import encode_png
from syndiff.reviews.events import TIME, Event, Subject, check_mask, check_reviewer

APPLICATION, VERSION = 0x53445256, 1
"""SQLite's application_id ("SDRV") and user_version of such a file."""
_PATIENCE = 30.0  # seconds that one process waits for another's event
_COLUMNS = tuple(item.name for item in fields(Event))
_NAMED = ", ".join(f'"{name}"' for name in _COLUMNS)  # `case` is a word of SQL
_INSERT = f"INSERT INTO events ({_NAMED}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_SCHEMA = (
    "CREATE TABLE events (number INTEGER PRIMARY KEY AUTOINCREMENT, "
    + ", ".join(f'"{name}" TEXT NOT NULL' for name in _COLUMNS)
    + ", UNIQUE (id))",
    "CREATE INDEX by_reviewer ON events (reviewer, time)",
    *(
        f"CREATE TRIGGER no_{verb} BEFORE {verb} ON events BEGIN SELECT RAISE(ABORT, 'reviews are only added'); END"
        for verb in ("update", "delete")
    ),
    f"PRAGMA user_version = {VERSION}",
    f"PRAGMA application_id = {APPLICATION}",
)
_MEND = "Restore it from a copy, or from a table that `syndiff review export` made."


class Unavailable(SyndiffError):
    """The file of reviews cannot be used as it is now: it was moved, is held by another program, or is damaged.

    What was to be added is not kept; it can be added once the file is there again.
    """


class ReviewStore:
    """Reviews in the file `path`, opened for adding; with `read_only` for reading what is there.

    Several processes, and several threads of one, may use a file at once. Use it in a `with` statement, or `close` it.
    Where another file lies at `path` by then, or none, nothing is added: Unavailable.

    Raises SyndiffError for a file that is no file of reviews, a damaged one, and with `read_only` a missing one;
    OSError for a full disk.
    """

    def __init__(self, path: Path | str, *, read_only: bool = False) -> None:
        self.path = Path(path)
        self._lock = threading.RLock()
        if self.path.exists() and not self.path.is_file():
            raise SyndiffError(f"{self.path} is no file; give the file of reviews, such as reviews.db.")
        if read_only and not self.path.exists():
            raise SyndiffError(f"{self.path} does not exist; give the file of reviews, such as reviews.db.")
        if not read_only:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._named():
            self._db = _connect(self.path, read_only)
            try:
                self._page = self._db.execute("PRAGMA page_size").fetchone()[0]
                self._is, self._size = self._stat()
                self._check(read_only)
            except BaseException:
                self._db.close()
                raise

    @property
    def identity(self) -> str:
        """32 hexadecimal digits that tell this file from any other, and nothing of where it lies."""
        return digest([str(self.path.resolve()), *self._is])[:32]

    @property
    def masks(self) -> Path:
        """The folder of corrected masks, beside the file."""
        return masks_beside(self.path)

    def add(
        self, reviewer: str, subject: Subject, kind: str, value: str = "", truth: str = "", *, id: str | None = None
    ) -> Event:
        """Keep an event, on the disk when this returns.

        The times of a reviewer's events in a file strictly increase. `id` is drawn at random; whoever may have to ask
        again, because no answer came, gives one: the event that stands under it is kept once and returned.

        Raises SyndiffError for what no event may hold, for a new reviewer as `check_reviewer` does, for an undo of what
        is not there, of another reviewer's, of an undo, or of what is undone already, and for an `id` under which
        another event stands.
        """
        with self._writing() as db:
            if id is not None and (kept := _event(db, id)) is not None:
                return _same(kept, (reviewer, subject.case, subject.content, kind, value, truth))
            last = db.execute("SELECT max(time) FROM events WHERE reviewer = ?", (reviewer,)).fetchone()[0]
            if last is None:
                check_reviewer(reviewer, (row[0] for row in db.execute("SELECT DISTINCT reviewer FROM events")))
            now = datetime.now(UTC)
            if last is not None:
                now = max(now, datetime.strptime(last, TIME).replace(tzinfo=UTC) + timedelta(microseconds=1))
            event = Event(
                id=id or secrets.token_hex(16), time=now.strftime(TIME), reviewer=reviewer, dataset=subject.dataset,
                name=subject.name, case=subject.case, content=subject.content, kind=kind, value=value, truth=truth,
            )  # fmt: skip
            _check_undo(db, event)
            if event.kind == "undo" and _is_undone(db, event.value):
                raise SyndiffError(f"an undo by {reviewer} names the event {value}, which is undone already.")
            db.execute(_INSERT, astuple(event))
        return event

    def correct(self, reviewer: str, subject: Subject, mask: NDArray[np.bool_], *, id: str | None = None) -> Event:
        """Keep a better mask (HxW, as large as the picture): first the PNG, then its event; `id` as in `add`.

        Raises SyndiffError for another size.
        """
        check_mask(subject, mask)
        content = encode_png(mask.astype(np.bool_))
        name = hashlib.sha256(content).hexdigest()
        self.keep_mask(name, content)
        return self.add(reviewer, subject, "correct", name, id=id)

    def keep_mask(self, name: str, content: bytes) -> None:
        """Write the PNG file of a corrected mask whose SHA-256 is `name`, where it is not there already."""
        path = self.masks / f"{name}.png"
        self._check_there()
        if not (path.is_file() and path.read_bytes() == content):
            write_bytes(path, content)

    def mask(self, name: str) -> NDArray[np.bool_]:
        """A corrected mask (HxW). Raises SyndiffError where its file is missing or another one."""
        return read_mask_values(self.mask_file(name)) > 0

    def mask_file(self, name: str) -> Path:
        """Where a corrected mask lies, once it is the one that was kept. Raises SyndiffError as `mask` does."""
        return checked_mask(self.masks, name)

    def merge(self, events: Iterable[Event]) -> int:
        """Keep the events of another file, all or none; returns how many were new.

        Raises SyndiffError for an event that stands here with another content, and as `add` does for an undo; that
        the same event is undone twice, in two copies of a file, is no mistake.
        """
        added = 0
        with self._writing() as db:
            for event in events:
                kept = _event(db, event.id)
                if kept is not None and kept != astuple(event):
                    raise SyndiffError(
                        f"event {event.id} is another one in {self.path}: a review is never changed. Restore the file "
                        "that was changed."
                    )
                if kept is None:
                    _check_undo(db, event)
                    db.execute(_INSERT, astuple(event))
                    added += 1
        return added

    def events(self) -> list[Event]:
        """All events, in the order of their times. Raises SyndiffError for a damaged file."""
        with self._lock, self._named():
            rows = self._db.execute(f"SELECT {_NAMED} FROM events ORDER BY time, id").fetchall()
        return self._read(rows)

    def events_after(self, number: int) -> tuple[list[Event], int]:
        """The events that were added to the file after its first `number`, in the order of adding, and how many it has.

        For whoever follows a file that others write into as well. Raises SyndiffError for a damaged file.
        """
        with self._lock, self._named():
            rows = self._db.execute(
                f"SELECT number, {_NAMED} FROM events WHERE number > ? ORDER BY number", (number,)
            ).fetchall()
        return self._read([row[1:] for row in rows]), rows[-1][0] if rows else number

    def _read(self, rows: list[tuple[str, ...]]) -> list[Event]:
        try:
            return [Event(**dict(zip(_COLUMNS, row, strict=True))) for row in rows]
        except (SyndiffError, TypeError) as error:
            raise Unavailable(f"{self.path} is damaged: {error} {_MEND}") from None

    def close(self) -> None:
        """Close the file; what was acknowledged is on the disk without it."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, read_only: bool) -> None:
        """Make the file where it is empty; refuse another one before anything in it is touched."""
        if self._is_ours():
            if (found := self._db.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
                raise Unavailable(f"{self.path} is damaged ({' '.join(found.split())}). {_MEND}")
            _write_ahead(self._db, read_only)
            return
        if read_only:
            raise SyndiffError(f"{self.path} is empty, no file of reviews. {_MEND}")
        _write_ahead(self._db, read_only)
        with self._writing() as db:
            if not self._is_ours():
                for statement in _SCHEMA:
                    db.execute(statement)

    def _stat(self) -> tuple[tuple[int, int], int]:
        """Which file lies at the path, and its bytes."""
        found = self.path.stat()
        return (found.st_dev, found.st_ino), found.st_size

    def _check_there(self) -> None:
        """Raise Unavailable where the file that was opened lies at its path no more: SQLite would write on into it.

        One that was written over in its place shows it by its size: that of a file of reviews only grows, by pages.
        """
        try:
            now, size = self._stat()
        except OSError:
            raise Unavailable(
                f"{self.path} is not there any more; nothing was saved. Put the file back in its place, with those "
                "beside it, then try again."
            ) from None
        if now != self._is or size < self._size or size % self._page not in (0, self._size % self._page):
            raise Unavailable(
                f"{self.path} is another file than the one that was opened; nothing was saved. Put that back in its "
                "place, or end this program and start it with the new file."
            )
        self._size = size

    def _is_ours(self) -> bool:
        """Whether it is a file of reviews; False for an empty one."""
        kind, version, tables = (
            self._db.execute(each).fetchone()[0]
            for each in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
        )
        if not tables and not kind:
            return False
        if kind != APPLICATION:
            raise SyndiffError(f"{self.path} is a SQLite file of another program, no file of reviews; give another.")
        if version != VERSION:
            raise SyndiffError(
                f"{self.path} has the format {version} of reviews, and this version of syndiff knows {VERSION}; read "
                "it with the version that wrote it."
            )
        return True

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that no other process writes in; undone by an error."""
        with self._lock, self._named():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._check_there()
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._check_there()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """SQLite's errors in a sentence that names the file."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter: a message that repeats damaged bytes
            code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
            if code == sqlite3.SQLITE_FULL:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path)) from error
            if code == sqlite3.SQLITE_IOERR:
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(self.path)) from error
            if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
                raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(self.path)) from error
            if code == sqlite3.SQLITE_BUSY:
                raise Unavailable(
                    f"{self.path} is held by another program for more than {_PATIENCE:.0f} seconds; close it there, "
                    "then try again."
                ) from None
            raise Unavailable(f"{self.path} is no file of reviews, or is damaged ({error}). {_MEND}") from None


def _event(db: sqlite3.Connection, id: str) -> tuple[str, ...] | None:
    row = db.execute(f"SELECT {_NAMED} FROM events WHERE id = ?", (id,)).fetchone()
    return None if row is None else tuple(row)


def _same(kept: tuple[str, ...], asked: tuple[str, ...]) -> Event:
    """The event that was kept before. Raises SyndiffError where another one is asked for."""
    event = Event(**dict(zip(_COLUMNS, kept, strict=True)))
    if (event.reviewer, event.case, event.content, event.kind, event.value, event.truth) != asked:
        raise SyndiffError(f"another event stands under {event.id}, {event.kind} of {event.case}; draw a new id.")
    return event


def _check_undo(db: sqlite3.Connection, event: Event) -> None:
    """Raise SyndiffError for an undo of what is not there, of another reviewer's event, or of an undo."""
    if event.kind != "undo":
        return
    row = db.execute("SELECT reviewer, kind FROM events WHERE id = ?", (event.value,)).fetchone()
    wrong = ""
    if row is None:
        wrong = "which is not there"
    elif row[0] != event.reviewer:
        wrong = f"which is one of {row[0]}"
    elif row[1] == "undo":
        wrong = "which is an undo itself; review the case again instead"
    if wrong:
        raise SyndiffError(f"an undo by {event.reviewer} names the event {event.value}, {wrong}.")


def _is_undone(db: sqlite3.Connection, event: str) -> bool:
    return db.execute("SELECT 1 FROM events WHERE kind = 'undo' AND value = ?", (event,)).fetchone() is not None


def masks_beside(path: Path) -> Path:
    """The folder of corrected masks that belongs to a file of reviews, or to a table of them."""
    return path.with_name(f"{path.stem}.masks")


def checked_mask(folder: Path, name: str) -> Path:
    """The PNG file of a corrected mask, by its SHA-256. Raises SyndiffError where it is missing or another one."""
    path = folder / f"{name}.png"
    if not path.is_file():
        raise SyndiffError(f"{path}, a corrected mask, is missing; restore it from a copy of the folder.")
    if hashlib.sha256(path.read_bytes()).hexdigest() != name:
        raise SyndiffError(f"{path}, a corrected mask, was changed; restore it from a copy of the folder.")
    return path


def _connect(path: Path, read_only: bool) -> sqlite3.Connection:
    def opened(how: str) -> sqlite3.Connection:
        db = sqlite3.connect(
            f"file:{quote(str(path.absolute()))}?{how}",
            uri=True,
            timeout=_PATIENCE,
            isolation_level=None,
            check_same_thread=False,
        )
        db.execute("PRAGMA synchronous = FULL")
        return db

    if not read_only:
        return opened("mode=rwc")
    db = opened("mode=ro")
    try:
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return db
    except sqlite3.OperationalError as error:
        db.close()
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CANTOPEN or path.with_name(f"{path.name}-wal").exists():
            raise
        return opened("immutable=1")  # in a folder that nobody may write to, so that nobody does


def _write_ahead(db: sqlite3.Connection, read_only: bool) -> None:
    """Have readers and a writer work at once; a file system that cannot keeps SQLite's other journal, as safe."""
    if read_only or db.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
        return
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL").fetchone()
            return
        except sqlite3.OperationalError as error:  # another process makes the file at this moment: no wait of SQLite's
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)
