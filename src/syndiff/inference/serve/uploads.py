"""A file from a browser, on the disk for as long as it is decoded, under a name of our own."""

import contextlib
import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import anyio
from starlette.requests import ClientDisconnect, Request

from syndiff.inference.formats.opening import FORMATS
from syndiff.inference.serve.refusal import Refusal

MAX_UPLOAD = 64 * 2**20
MAX_AT_ONCE = 16
SECONDS, STALLED = 120, 15
"""An upload takes no more bytes, none starts while so many run, and each ends within this time, or where nothing comes
for the second one."""

_PREFIX = "syndiff-serve-"
_ENDINGS = sorted((ending for each in FORMATS for ending in each.endings), key=len, reverse=True)


def own_folder() -> tempfile.TemporaryDirectory[str]:
    """A new folder that only this user can look into; those of servers that were killed are removed."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # another user's, another name, or Windows
            process = int(path.name.removeprefix(_PREFIX).partition("-")[0])
            if path.lstat().st_uid == os.getuid() and not path.is_symlink() and not _runs(process):
                shutil.rmtree(path, ignore_errors=True)
    return tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-", ignore_cleanup_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


class Uploads:
    """Receives files into `folder`, which is nobody else's."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._running = folder, 0

    @contextlib.asynccontextmanager
    async def received(self, request: Request, name: str) -> AsyncIterator[Path]:
        """The body of a request as a file with the ending of `name`; it is gone when the context is left.

        Raises Refusal for one that is too large (413), too slow (408) or empty (400), for a full disk (507), and while
        too many run (429).
        """
        _check_length(request)
        if self._running >= MAX_AT_ONCE:
            raise Refusal(429, f"{MAX_AT_ONCE} uploads are under way already; try again in a moment.")
        self._running += 1
        path = self._folder / f"{secrets.token_hex(8)}{_ending(name)}"
        try:
            with anyio.move_on_after(SECONDS) as whole, anyio.move_on_after(STALLED) as part:
                await _receive(request, path, part)
            if whole.cancelled_caught or part.cancelled_caught:
                raise Refusal(
                    408, f"The upload took longer than {SECONDS} s, or stood still for {STALLED} s; try again."
                )
            yield path
        finally:
            self._running -= 1
            path.unlink(missing_ok=True)


def shown_name(header: str) -> str:
    """The name that a browser gives a file, as a word for the page: without folders and control characters."""
    name = PurePosixPath(unquote(header, errors="replace").replace("\\", "/")).name
    return "".join(letter for letter in name if letter.isprintable())[:200] or "picture"


def _ending(name: str) -> str:
    """The ending of a known format, or none; nothing else of the name."""
    return next((ending for ending in _ENDINGS if name.lower().endswith(ending)), "")


def _check_length(request: Request) -> None:
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) > MAX_UPLOAD:
        raise _too_large()


async def _receive(request: Request, path: Path, scope: anyio.CancelScope) -> None:
    size = 0
    try:
        async with await anyio.open_file(path, "xb") as file:
            async for part in request.stream():
                scope.deadline = anyio.current_time() + STALLED
                size += len(part)
                if size > MAX_UPLOAD:
                    raise _too_large()
                await file.write(part)
    except ClientDisconnect:
        raise Refusal(400, "The upload broke off; try again.") from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Refusal(507, "The disk for temporary files is full; free some space, then try again.") from error
    if not size:
        raise Refusal(400, "The file is empty; choose another one.")


def _too_large() -> Refusal:
    return Refusal(413, f"The file is larger than {MAX_UPLOAD // 2**20} MB; use syndiff predict, or scale it down.")
