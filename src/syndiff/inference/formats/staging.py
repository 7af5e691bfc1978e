"""Files of one source that appear together: written under temporary names, then renamed, or none of them left."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


class Staging:
    """Files on their way into `folder` and below; it is made where it is missing.

    Raises OSError where something cannot be written (a full disk, no permission).
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = [path for path in (folder, *folder.parents) if not path.exists()]
        self._waiting: list[tuple[Path, Path]] = []

    def put(self, path: Path, content: bytes) -> None:
        """Take the content of a file that `commit` shall bring to `path`."""
        with self.opened(path) as file:
            file.write(content)

    @contextlib.contextmanager
    def opened(self, path: Path) -> Iterator[BinaryIO]:
        """A file to be written piece by piece, which is on the disk when the context is left."""
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f".syndiff-{secrets.token_hex(4)}.tmp"  # `files.sweep` knows such names
        self._waiting.append((temporary, path))
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if error.filename in (None, str(temporary)):  # None: a full disk, say
                error.filename, error.filename2 = str(path), None  # the name that the user knows
            raise

    def commit(self) -> list[Path]:
        """Rename all files to their paths, in the order they were begun, and return these."""
        paths = [path for _, path in self._waiting]
        for temporary, path in self._waiting:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.replace(path)
        self._waiting, self._made = [], []
        return paths

    def abandon(self) -> None:
        """Remove the files that wait, and the folders that were made for them if nothing else is in these."""
        for temporary, _ in self._waiting:
            temporary.unlink(missing_ok=True)
        self._waiting = []
        with contextlib.suppress(OSError):
            for path in self._made:
                path.rmdir()
