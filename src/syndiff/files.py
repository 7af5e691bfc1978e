"""Files written whole or not at all, and JSON read with errors that name the file."""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from syndiff.errors import SyndiffError


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically: readers see the old file or the whole new one.

    Raises OSError (disk full, no permission); nothing is left behind then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically. NaN is refused: JSON has none."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; a missing or damaged one is a `SyndiffError` that names it."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise SyndiffError(f"{path} does not exist.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SyndiffError(f"{path} is not valid JSON ({error}). Restore it or delete it and start again.") from None


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
