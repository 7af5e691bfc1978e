"""The files of a dataset folder by case, and the names that no case may have."""

import difflib
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from syndiff.data.readers import IMAGE_EXTENSIONS
from syndiff.errors import SyndiffError, did_you_mean, shown
from syndiff.files import check_regular

MAX_STEM = 200
"""Bytes that a case's name may have: 255 is what file systems take, and names are written with something added."""

TABLES = {
    "groups.csv": {"", "csv", "txt", "tsv", "xls", "xlsx", "ods", "numbers"},
    "captions.csv": {"", "csv", "txt", "tsv", "xls", "xlsx", "ods", "numbers"},
    "dataset.json": {"json", "yaml", "yml"},
}
"""What may lie beside images/ and masks/, and the endings of files that are likely to be meant by it."""


def some(items: Iterable[object], limit: int = 5) -> str:
    """The first few of many, readable."""
    listed = [str(item) for item in items]
    return ", ".join(listed[:limit]) + (f", ... ({len(listed)} in all)" if len(listed) > limit else "")


def printable(name: str) -> str:
    """A file name as text that can be written anywhere: bytes that are no UTF-8 as \\xf3, halves of characters too."""
    try:
        return os.fsencode(name).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # from JSON, which may hold what no file name can
        return name.encode("utf-8", "backslashreplace").decode()


def natural(name: str) -> tuple[tuple[str | int, ...], str]:
    """What to sort names by so that 2 comes before 10; capitals tell nothing but for names that are the same else.

    >>> sorted(["f10", "F2", "f1"], key=natural)
    ['f1', 'F2', 'f10']
    """
    return tuple(int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name.casefold())), name


def is_text(text: str) -> bool:
    """Whether `text` can be written as UTF-8; names of files may hold other bytes, JSON halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def nfc(text: str) -> str:
    """The composed Unicode form: ó is one character, not o with an accent (as macOS writes names)."""
    return unicodedata.normalize("NFC", text)


@dataclass(frozen=True)
class Listing:
    """Readable pictures of a folder by case (the stem of the name, composed Unicode), and the other entries."""

    folder: Path
    files: dict[str, Path]
    others: tuple[Path, ...]

    @classmethod
    def read(cls, folder: Path) -> "Listing":
        """List images/ or masks/; hidden files do not count.

        Raises SyndiffError for a missing folder, two files of one case, what is no regular file, and names that are no
        UTF-8, hold control characters or are longer than `MAX_STEM`.
        """
        if not folder.is_dir():
            raise SyndiffError(
                f"{folder.parent} has no {folder.name}/ folder; a dataset is images/<case>.png beside masks/<case>.png."
            )
        files: dict[str, Path] = {}
        others: list[Path] = []
        for path in sorted(folder.iterdir()):
            if path.name.startswith("."):
                continue
            check_text(path.name, f"a name in {folder}")
            if path.is_dir() or path.suffix.lower() not in IMAGE_EXTENSIONS:
                others.append(path)
                continue
            check_regular(path)
            case = nfc(path.stem)
            if len(case.encode()) > MAX_STEM:
                raise SyndiffError(
                    f"{folder}: the name {shown(path.name)} has {len(case.encode())} bytes before its extension, "
                    f"expected {MAX_STEM} at most; shorten it."
                )
            if case in files:
                raise SyndiffError(
                    f"{files[case]} and {path} are two files for the case {case!r}; {_keep(files, path)}"
                )
            files[case] = path
        return cls(folder, files, tuple(others))


def check_root(root: Path) -> None:
    """Raise SyndiffError for a dataset folder that does not exist or whose name cannot be written into a report."""
    check_text(str(root), "the path of the dataset folder")
    if not root.is_dir():
        found = "is a file" if root.exists() else "does not exist"
        raise SyndiffError(f"The dataset folder {root} {found}; give a folder that holds images/ and masks/.")


def check_near_misses(root: Path, listings: Iterable[Listing]) -> None:
    """Raise SyndiffError where a table is absent but a file lies there that is likely to be meant by it.

    Without its table a dataset is still one, but is divided, read or described differently.
    """
    entries = [path for path in sorted(root.iterdir()) if not path.name.startswith(".") and path.is_file()]
    inside = [path for listing in listings for path in listing.others if path.is_file()]
    for table in (name for name in TABLES if not (root / name).exists()):
        for path in (*entries, *inside):
            if _resembles(path.name, table):
                raise SyndiffError(
                    f"{path} is not read, but looks like {root / table}, which is absent. Name it so (as "
                    f"{'CSV' if table.endswith('csv') else 'JSON'} in UTF-8) if it is meant, else give it another name."
                )


def check_pairs(root: Path, images: Listing, masks: Listing) -> None:
    """Raise SyndiffError for a dataset without images, an image without a mask and the reverse."""
    if not images.files:
        there = f" Not read there: {some(path.name for path in images.others)}." if images.others else ""
        raise SyndiffError(
            f"{images.folder} holds no images; expected files that end in {', '.join(sorted(IMAGE_EXTENSIONS))}, "
            f"directly in it.{there}"
        )
    for present, absent, what, missing in ((images, masks, "image", "mask"), (masks, images, "mask", "image")):
        alone = sorted(present.files.keys() - absent.files.keys())
        if alone:
            raise SyndiffError(
                f"{root}: {len(alone)} {what}(s) without {missing}: {some(alone)}. "
                f"{_instead(alone, present.files, absent)}"
                f"Put the {missing} of the same name into {absent.folder} or remove the {what}."
            )


def _instead(alone: list[str], present: Mapping[str, Path], absent: Listing) -> str:
    """What lies there in place of the missing files, as a sentence or nothing."""
    unread = [f"{path.parent.name}/{path.name}" for path in absent.others if nfc(path.stem) in alone]
    if unread:
        are = "is" if len(unread) == 1 else "are"
        return f"{some(unread, 3)} {are} not read: save as PNG. "
    strangers = sorted(absent.files.keys() - present.keys())
    if strangers:
        return f"{absent.folder} holds {some(strangers, 3)} instead{did_you_mean(alone[0], strangers)}. "
    return ""


def check_text(name: str, what: str) -> None:
    """Raise SyndiffError for text that is no UTF-8 or holds control characters; `what` says where it stands."""
    if not is_text(name):
        raise SyndiffError(
            f"{what}, {printable(name)}, is no UTF-8 (it comes from a system with another encoding); rename it, for "
            "example with convmv, or unpack its archive with the right encoding."
        )
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in name):
        raise SyndiffError(f"{what}, {shown(name)}, holds a line break or another control character; rename it.")


def _keep(files: Mapping[str, Path], path: Path) -> str:
    other = files[nfc(path.stem)]
    if other.stem == path.stem:
        return "keep one or rename it."
    return "their names differ only in how accents are encoded; keep one or rename it."


def _resembles(name: str, table: str) -> bool:
    """Whether a name is the table's but for capitals, a misspelling, "(1)" or "copy", or another ending."""
    stem, *endings = name.casefold().strip(" ~.").split(".")
    wanted, extension = table.split(".")
    likely = endings[-1] in TABLES[table] if endings else "" in TABLES[table]
    letters = re.sub(r"[^a-z]|copy|copie|kopie", "", stem)
    return (likely or extension in endings) and difflib.SequenceMatcher(None, letters, wanted).ratio() > 0.8
