"""What every format is read into: pictures, each with what was drawn on it, in the order in which it was drawn."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from syndiff.data.importing.shapes import Region, Shape
from syndiff.data.listing import check_text, nfc
from syndiff.data.readers import IMAGE_EXTENSIONS
from syndiff.errors import SyndiffError, shown

EXPORT_AGAIN = "Export it again from the tool that made it."

FOREGROUND = "foreground"
"""The label of what has no name."""

MAX_PATH = 2000
"""Bytes of a path within the folder of the pictures."""

_SHOWN = 3


@dataclass(frozen=True)
class Drawn:
    """Pixels of a picture under a label; without a label they take away what was drawn before."""

    label: str | None
    region: Region


@dataclass(frozen=True)
class Item:
    """A picture and what was drawn on it.

    `name` is its path as the annotation names it ("/" between folders), from which the case gets its own; `image` its
    file, the files of its three channels, or the bytes of a file. `origin` names it in errors. `size` gives the width
    and height that the annotation states, or None; `draw` what was drawn, for a height and width.
    """

    name: str
    image: Path | tuple[Path, ...] | bytes
    origin: str
    size: Callable[[], tuple[int, int] | None]
    draw: Callable[[int, int], Iterator[Drawn]]


@dataclass(frozen=True)
class Annotations:
    """All that a source holds.

    `labels` are those that occur, in the order in which classes get their numbers; None where only the pixels of the
    masks tell. `declared` occur in the list of the source's labels, drawn or not. `left` counts what is not taken, in
    words; `notes` are worth knowing; `description` goes into dataset.json.
    """

    tool: str
    items: list[Item]
    labels: tuple[str, ...] | None
    declared: tuple[str, ...] = ()
    left: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    description: dict[str, Any] = field(default_factory=dict)


def shape_item(
    name: str,
    image: Path | bytes,
    origin: str,
    size: tuple[int, int] | None,
    shapes: Iterable[tuple[str | None, Shape]],
) -> Item:
    """An item of shapes with their labels."""
    several = list(shapes)

    def draw(height: int, width: int) -> Iterator[Drawn]:
        for label, shape in several:
            yield Drawn(label, shape(height, width))

    return Item(name, image, origin, lambda: size, draw)


def stated_size(width: Any, height: Any, origin: str) -> tuple[int, int]:
    """Width and height as an annotation states them. Raises SyndiffError for what is no size of a picture."""
    sizes = [int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 10 else value
             for value in (width, height)]  # fmt: skip
    if not all(type(value) is int and 0 < value < 1e9 for value in sizes):
        raise SyndiffError(
            f"{origin}: its size is {shown(width)} x {shown(height)}, expected its width and height in pixels. "
            f"{EXPORT_AGAIN}"
        )
    return sizes[0], sizes[1]


def inside(name: Any, origin: str) -> PurePosixPath:
    """The path of a picture within a folder, as an annotation names it; Windows' separators are taken too.

    Raises SyndiffError for a name that is none, that is an address of the web, or that leads out of the folder.
    """
    if not isinstance(name, str) or not name.strip():
        raise SyndiffError(f"{origin}: the name of the picture is {shown(name)}, expected a file name. {EXPORT_AGAIN}")
    check_text(name, f"{origin}: the name of the picture")
    if "://" in name:
        raise SyndiffError(f"{origin}: {shown(name)} is an address; download the picture and name its file there.")
    parts: list[str] = []
    path = name.replace("\\", "/")
    if path.startswith("/") or path[1:2] == ":":
        raise SyndiffError(
            f"{origin}: {shown(name)} is a path of the machine where it was annotated; name the file as it lies "
            "under the folder of the pictures."
        )
    for part in path.split("/"):
        if part == ".." and not parts:
            raise SyndiffError(
                f"{origin}: {shown(name)} leads out of the folder of the pictures, and is not followed; put the "
                "picture into that folder and name it without '..'."
            )
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    if any(len(part.encode()) > 255 for part in parts) or len(path.encode()) > MAX_PATH:
        raise SyndiffError(
            f"{origin}: {shown(name)} is longer than the name of any file; export the annotations again."
        )
    return PurePosixPath(*parts)


def picture_root(given: Path | None, beside: Path, names: Iterable[PurePosixPath], *folders: str) -> Path:
    """The folder under which the pictures lie: the one that is given, or the first near `beside` that has any of them.

    Looked at are `beside` itself, its `images/` and the other `folders` in it, and the same in the folder above.
    """
    if given is not None:
        if not given.is_dir():
            raise SyndiffError(f"--images {given} is no folder; give the folder where the pictures lie.")
        return given
    several = list(names)
    near = [folder / inner for folder in (beside, beside.absolute().parent) for inner in ("", "images", *folders)]
    return next((root for root in near if any((root / name).is_file() for name in several[:100])), beside)


def as_stored(path: Path) -> Path:
    """`path`, or the file beside it whose name differs only in how Unicode encodes an accent, as macOS writes names."""
    if path.is_file() or path.name.isascii() or not path.parent.is_dir():
        return path
    alike = (other for other in path.parent.iterdir() if nfc(other.name) == nfc(path.name))
    return next(alike, path)


def check_once(items: Iterable[Item]) -> None:
    """Raise SyndiffError where two items are one picture."""
    first: dict[object, str] = {}
    for item in items:
        for key in (item.name, item.image):
            if key in first:
                twice = key if isinstance(key, Path) else item.name
                raise SyndiffError(
                    f"{twice} is annotated twice ({first[key]}; {item.origin}), and which one holds cannot be told; "
                    "remove one of them or merge them in the tool."
                )
        first |= {item.name: item.origin, item.image: item.origin}


def pictures(folder: Path) -> list[PurePosixPath]:
    """The readable pictures under a folder, as paths in it, sorted; hidden files and folders are left."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in IMAGE_EXTENSIONS)
    return sorted(PurePosixPath(path.as_posix()) for path in paths if not any(p.startswith(".") for p in path.parts))


def only_file(source: Path, patterns: tuple[str, ...], tool: str, *preferred: str) -> Path:
    """`source` where it is a file; of a folder, the first of the `preferred` names or the only file of the patterns."""
    if source.is_file():
        return source
    if not source.is_dir():
        raise SyndiffError(f"{source} does not exist; give the annotations that {tool} exported, a file or its folder.")
    named = [source / name for name in preferred if (source / name).is_file()]
    found = named[:1] or sorted(path for pattern in patterns for path in source.glob(pattern) if path.is_file())
    if len(found) != 1:
        some = ", ".join(path.name for path in found[:_SHOWN])
        holds = f"several files ({some})" if found else f"no {' or '.join(patterns)}"
        raise SyndiffError(f"{source} holds {holds}; give the one file that {tool} exported.")
    return found[0]
