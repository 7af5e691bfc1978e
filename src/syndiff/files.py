"""Files written whole or not at all and never over somebody else's; folders that belong to one verb and one process.

The rule of ownership: **no verb replaces or removes a file that it did not make.** A folder that a verb writes bears
its mark (`MARK`, which tells the kind of folder); one that holds anything and bears no mark, or another kind's, is
refused (`claimed`). A single file that a user names as output is replaced only where it shows that the same verb made
it (`write_output`).
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import platform
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from syndiff.documents import json_line, read_object, with_checksum
from syndiff.errors import SyndiffError, shown

MARK = ".syndiff.json"
"""In a folder that SynDiff writes: which kind of folder it is."""

_LOCK = ".lock"
_TEMPORARY = ".syndiff-*.tmp"
"""Short, so that every name that the file system takes can be written; locked for as long as its writer lives."""


def expanded(path: str | Path) -> Path:
    """A path that a user typed, with ~ and ~name as home directories; the shell leaves them in --out=~/x and in YAML.

    Raises SyndiffError where there is no such user, or no home directory.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise SyndiffError(f"{path}: there is no such home directory; write the path out, or as ./{path}.") from None


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically: readers see the old file or the whole new one.

    The user's umask decides who may read it. Raises OSError (disk full, no permission); nothing is left behind then.
    Raises SyndiffError where `path` is a device, a pipe or another thing that is no file.
    """
    write_parts(path, (content,))


def write_parts(path: Path, parts: Iterable[bytes]) -> None:
    """Write the concatenation of `parts` as `write_bytes` does, holding one of them at a time in memory."""
    growing = GrowingFile(path)
    try:
        with growing.named():
            for part in parts:
                growing.file.write(part)
            growing.finish()
    except BaseException:
        growing.abandon()
        raise


class GrowingFile:
    """A file that is written bit by bit under a temporary name, and comes to `path` whole with `finish` or not at all.

    file: open for reading and writing, at its start; a living writer's is not swept away (`sweep`).

    Raises SyndiffError where `path` is a device, a pipe or another thing that is no file.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            raise SyndiffError(f"{path} is {_what(path)}, no file, and is not written over; give another path.")
        self.path = path
        self._temporary = path.parent / _TEMPORARY.replace("*", secrets.token_hex(4))
        with self.named():
            self.file: BinaryIO = self._temporary.open("x+b")
        _lock_temporary(self.file)

    def finish(self) -> None:
        """Bring the file to its name, on the disk when this returns. Raises OSError; `abandon` it then."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self._temporary.replace(self.path)
        self.file.close()

    def abandon(self) -> None:
        """Remove what was written."""
        with contextlib.suppress(OSError):  # what a full disk keeps from being flushed
            self.file.close()
        self._temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Let an OSError in the body of a `with` statement name the file that the user knows."""
        try:
            yield
        except OSError as error:
            if error.filename in (None, str(self._temporary)):  # None: a full disk, say
                error.filename, error.filename2 = str(self.path), None
            raise


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically. NaN is refused: JSON has none."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_record(path: Path, content: Mapping[str, Any]) -> None:
    """`write_json` with a checksum, which every reader compares: for what is read again and nobody edits."""
    write_json(path, with_checksum(content))


def append_json(path: Path, content: Mapping[str, Any]) -> None:
    """Add a `json_line` to a file, on the disk when this returns; a kill may leave it cut (`drop_cut_line`)."""
    with path.open("ab") as file:
        file.write(json_line(content))
        file.flush()
        os.fsync(file.fileno())


def drop_cut_line(path: Path) -> None:
    """Remove the end of a file of lines that a kill cut short, if it was."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


def write_output(path: Path, content: bytes, *, made_by_us: Callable[[bytes], bool], what: str) -> None:
    """Write a single file that the user named, over nothing but what the same verb made before.

    `made_by_us` is asked about the first 4 KiB of a file that is there; `what` names what is written, such as "a
    contact sheet". Raises SyndiffError for a file of another origin, and as `write_bytes` does.
    """
    check_output(path, made_by_us=made_by_us, what=what)
    write_bytes(path, content)


def keep_earlier(path: Path) -> Path | None:
    """Copy a file that is about to be replaced to a free name beside it; None where there is none."""
    if not path.is_file():
        return None
    number = 1
    while (other := path.with_name(f"{path.stem}.earlier-{number}{path.suffix}")).exists():
        number += 1
    write_bytes(other, path.read_bytes())
    return other


def check_output(path: Path, *, made_by_us: Callable[[bytes], bool], what: str) -> None:
    """The refusals of `write_output`, before anything is computed; writes nothing."""
    folder = path.absolute().parent
    if folder.name in ("images", "masks") and all((folder.parent / name).is_dir() for name in ("images", "masks")):
        raise SyndiffError(
            f"{path} lies among the {folder.name} of a dataset and would pass for one; give another path."
        )
    if not os.path.lexists(path):  # a link that leads nowhere is somebody's too
        return
    if path.is_dir():
        raise SyndiffError(f"{path} is a folder; {what} is a file: give a path such as {path / 'name'}.")
    if path.is_file():
        with path.open("rb") as file:
            if made_by_us(file.read(4096)):
                return
    raise SyndiffError(
        f"{path} exists and is not {what} that this verb made, so it is not replaced; give another path, or remove it."
    )


@contextlib.contextmanager
def claimed(folder: Path, kind: str, *, known: Callable[[Path], bool] | None = None) -> Iterator[None]:
    """Hold `folder` for writing while the context lasts: no other process is in it, nobody else's files are.

    `kind` says what the folder is, such as "a synthetic dataset"; it is written into its mark. An empty or a new
    folder is taken. `known` recognises a folder of the kind that bears no mark (made by an earlier version). What a
    killed process left half-written in it is removed, and the folder itself if nothing was written after all.

    Raises SyndiffError for a folder in use, of another kind, or that holds files of another origin.
    """
    check_claim(folder, kind, known=known)  # before anything, even a lock, is put into it
    with locked(folder):
        check_claim(folder, kind, known=known)
        try:
            if not (folder / MARK).is_file():
                write_json(folder / MARK, {"kind": kind})
            sweep(folder)
            yield
        finally:
            if {path.name for path in folder.iterdir()} <= {_LOCK, MARK}:
                (folder / MARK).unlink(missing_ok=True)


def check_claim(folder: Path, kind: str, *, known: Callable[[Path], bool] | None = None) -> None:
    """The refusals of `claimed` but for a folder in use; writes nothing."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise SyndiffError(f"{there} is {_what(there)}, no folder; give another --out.")
    mark = folder / MARK
    if mark.is_file():
        found = read_object(mark, {"kind": str})["kind"]
        if found == kind:
            return
        raise SyndiffError(f"{folder} is {shown(found)[1:-1]}, not {kind}; give another --out.")
    strange = sorted(path.name for path in _entries(folder))
    if strange and not (known and known(folder)):
        raise SyndiffError(
            f"{folder} is not {kind} but holds other files (such as {strange[0]}), which would be mixed up or lost; "
            "give a new or empty folder as --out."
        )


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed processes left in `folder` and below; those of living ones stay."""
    for path in folder.rglob(_TEMPORARY):
        with contextlib.suppress(OSError), path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


@contextlib.contextmanager
def signed(folder: Path) -> Iterator[Path]:
    """An empty file in `folder` while the context lasts: who sees it, on any machine, sees the same folder."""
    sign = folder.absolute() / _TEMPORARY.replace("*", secrets.token_hex(8))
    write_bytes(sign, b"")
    try:
        yield sign
    finally:
        sign.unlink(missing_ok=True)


def empty(folder: Path) -> None:
    """Remove what lies in a folder that the caller holds (`claimed`), which stays its own."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in (_LOCK, MARK):
            path.unlink()


def check_new_folder(out: Path) -> None:
    """Raise SyndiffError unless `out` does not exist yet, or is an empty folder."""
    if os.path.lexists(out) and (not out.is_dir() or any(out.iterdir())):
        raise SyndiffError(f"{out} exists already and is not an empty folder. Choose another --out or remove it.")


@contextlib.contextmanager
def folder_beside(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out`; folders made for it go with it unless `out` is there in the end."""
    made = [path for path in out.parents if not path.exists()]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".syndiff-") as temporary:
            yield Path(temporary)
    finally:
        with contextlib.suppress(OSError):  # not empty: `out` was made, or somebody else wrote there
            for path in made:
                path.rmdir()


@contextlib.contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Keep every other process out of `folder` while the context lasts; a SyndiffError when one is in there.

    With `wait` that one is waited for instead, however it ends.

    The lock is the system's and ends with the process, however it ends; the file it hangs on is removed when
    the context is left, and one that a kill left behind locks nothing. Folders that were made for it and are empty
    in the end are removed. A file system without locks (some network ones) gives a warning.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with _lock_in(folder, wait):
            yield
    finally:
        with contextlib.suppress(OSError):  # not empty: something was written
            for path in made:
                path.rmdir()


@contextlib.contextmanager
def _lock_in(folder: Path, wait: bool) -> Iterator[None]:
    path = folder / _LOCK
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("a+", encoding="utf-8")
        except FileNotFoundError:
            continue  # another process has just removed the empty folder
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            raise SyndiffError(
                f"{folder} is in use by {holder}; wait until it has ended, or choose another folder."
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK):
                file.close()
                raise
            logging.getLogger("syndiff").warning(
                "%s lies on a file system without locks: make sure that no other process writes into it.", folder
            )
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                break
        file.close()  # the holder before us removed the file between our opening and our locking it
    try:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def check_regular(path: Path) -> None:
    """Raise SyndiffError unless `path`, or what it links to, is a regular file: a pipe would be waited for for ever."""
    if path.is_symlink() and not path.exists():
        raise SyndiffError(
            f"{path} is a link to {os.fsdecode(path.readlink())}, which does not exist; mend or remove it."
        )
    if path.exists() and not path.is_file():
        raise SyndiffError(f"{path} is {_what(path)}; a regular file was expected: remove it or put the file there.")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entries(folder: Path) -> Iterator[Path]:
    """What lies in a folder, but for the traces of a process that was killed before it wrote anything."""
    if folder.is_dir():
        yield from (p for p in folder.iterdir() if p.name != _LOCK and not p.match(_TEMPORARY))


def _lock_temporary(file: BinaryIO) -> None:
    with contextlib.suppress(OSError):  # a file system without locks: `sweep` leaves the file alone there
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _what(path: Path) -> str:
    mode = path.stat().st_mode
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFREG: "a file", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")
