"""What is to be predicted: the files that a user names in one of several ways, and what each output is called."""

import codecs
import glob
import os
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from syndiff.documents import read_object
from syndiff.errors import SyndiffError
from syndiff.files import MARK, expanded
from syndiff.inference.formats.opening import format_of, known_endings, without_ending

KIND = "a folder of predictions"
"""What the mark of a folder that `predict` writes says (`files.claimed`)."""

RESERVED = (".probability", ".overlay", ".seg", ".masks")
"""What is added to a name for a further output: no source's own output may end so."""

_OURS = ("predictions.csv", "predictions.jsonl")
"""Names in a folder of predictions that no source's folder may take."""

_SHOWN = 5


@dataclass(frozen=True, slots=True)  # there may be ten thousands
class Input:
    """A file to predict.

    source: how the journal and the table call it: its path below the folder that was named, or, from a list, its
        whole path.
    name: what its outputs are to be called, with "/" between folders and without its ending, if no other has that name.
    ending: what was left out of the name, such as ".png".
    """

    path: Path
    source: str
    name: str
    ending: str

    @property
    def stem(self) -> str:
        """The name of the file without folders and ending: what the noise of a picture depends on."""
        return PurePath(self.name).name


@dataclass
class Inputs:
    """The files in the order in which they are predicted, and what else was found.

    ignored: names of what is not read, by kind.
    problems: a sentence for each folder that could not be looked into.
    """

    files: list[Input] = field(default_factory=list)
    ignored: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def told(self) -> str:
        """How many things of each kind are not read, with the first few names; empty where all is."""
        return ", ".join(
            f"{kind} ({len(names)}: {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"
            for kind, names in self.ignored.items()
        )

    def add(self, path: Path, below: PurePath, source: str | None = None) -> None:
        """One more file; `below` is its path below the folder that was named, and `source` what it is called if not so.

        Steps upwards are left out of its name: outputs lie within the folder for them.
        """
        inside = PurePath(*(part for part in below.parts if part != ".."))
        if len(inside.parts) > 1 and inside.parts[0].casefold() in _OURS:
            self.problems.append(f"{path} lies in a folder whose name predict needs for itself; rename the folder.")
            return
        stem = without_ending(inside.name) or "unnamed"
        name = (inside.parent / stem).as_posix()
        self.files.append(Input(path, source or below.as_posix(), name, inside.name[len(stem) :]))

    def ignore(self, kind: str, name: str) -> None:
        """One more thing that is not read."""
        self.ignored.setdefault(kind, []).append(name)


def find_inputs(images: Path | str, out: Path) -> Inputs:
    """The files that `images` names: a file, a folder with all below it, a glob, or a list.

    A glob is a path with * ? or [ in it, of files. A list is a text file (its name ends in .txt, or "@" stands before
    it) or, as "-", standard input: a path a line, from the folder of the process. `out`, other folders of predictions,
    hidden files and links to folders are left out of a folder.

    Raises SyndiffError where there is no file, and where one lies in `out`.
    """
    text = os.fspath(images)
    images = Path(images)
    if text == "-":
        found = _listed(sys.stdin.buffer.read(), "standard input")
    elif images.is_dir():
        found = _walked(images, out)
    elif images.is_file():
        found = _from_list(images) if images.suffix.lower() == ".txt" else _single(images)
    elif text.startswith("@"):
        found = _from_list(expanded(text[1:]))
    elif glob.has_magic(text):
        found = _matched(text)
    else:
        raise SyndiffError(f"{str(no_file(images))[:-1]}; give an image, a folder, a glob in quotes, or a list.")
    if not found.files:
        there = f" Not read: {found.told()}." if found.ignored else ""
        problems = "".join(f" {problem}" for problem in found.problems)
        what = "Standard input" if text == "-" else str(images)
        if glob.has_magic(text) and not images.exists():
            problems += " In a glob, [ ] * and ? stand for other characters; put a name that has them into a list."
        raise SyndiffError(
            f"{what} {'holds' if images.is_dir() else 'names'} no images; expected "
            f"files ending in {known_endings()}.{there}{problems}"
        )
    _check_apart(found.files, out)
    return found


def output_names(files: Iterable[Input], known: Mapping[str, str]) -> dict[str, str]:
    """What the outputs of each source are called.

    A source that is `known` keeps its name. Where two files have one name, also but for capitals, or where it ends like
    a further output (`RESERVED`), the ending of the file becomes part of it: "a-png", "a-jpg". The names depend on the
    files alone, not on which of them were predicted before.
    """
    files = list(files)
    wanted = Counter(_folded(each.name) for each in files)
    names = {each.source: known[each.source] for each in files if each.source in known}
    taken = {_folded(name) for name in known.values()}
    for each in files:
        if each.source in names:
            continue
        name = each.name
        if wanted[_folded(name)] > 1 or _folded(name) in taken or _folded(name).endswith(RESERVED):
            name = base = f"{each.name}-{each.ending.removeprefix('.') or 'file'}"
            number = 2
            while _folded(name) in taken or wanted[_folded(name)]:
                name, number = f"{base}-{number}", number + 1
        names[each.source] = name
        taken.add(_folded(name))
    return names


def no_file(path: Path) -> SyndiffError:
    """The sentence for a path that is no regular file."""
    if not path.exists():
        return SyndiffError(f"{path} does not exist, or is a link that leads nowhere.")
    return SyndiffError(f"{path} is a pipe, a device or a folder; an image is a file.")


def _folded(name: str) -> str:
    """A name as file systems compare it that know no capitals and compose accents."""
    return unicodedata.normalize("NFC", name).casefold()


def _single(path: Path) -> Inputs:
    found = Inputs()
    found.add(path, PurePath(path.name))
    return found


def _walked(folder: Path, out: Path) -> Inputs:
    """Everything below a folder, in the order of the names."""
    found, own = Inputs(), os.path.realpath(out)
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        relative = path.relative_to(folder)
        if path != folder and path.is_dir() and os.path.realpath(path) == own:
            continue
        if path.is_dir() and (path == folder or not path.is_symlink()):
            if path != folder and _is_predictions(path):
                found.ignore("folders of predictions", str(relative))
                continue
            try:
                inside = sorted(path.iterdir(), reverse=True)
            except OSError as error:
                found.problems.append(f"{path} cannot be looked into ({error.strerror}); check its permissions.")
                continue
            waiting += [each for each in inside if not each.name.startswith(".")]
            for each in reversed(inside):
                if each.name.startswith("."):
                    found.ignore("hidden files", str(each.relative_to(folder)))
        elif path.is_dir():
            found.ignore("links to folders", str(relative))
        elif _is_known(path):
            found.add(path, relative)
        else:
            found.ignore("files of other kinds", str(relative))
    return found


def _matched(pattern: str) -> Inputs:
    """The files that a glob matches; they are called by their paths below the folder before its first wildcard."""
    found = Inputs()
    parts = Path(pattern).parts
    fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:fixed])
    for text in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207 - Path.glob enters hidden folders
        path = Path(text)
        relative = path.relative_to(root)
        if path.name.startswith("."):
            found.ignore("hidden files", str(relative))
        elif path.is_dir():
            found.ignore("folders", str(relative))
        elif _is_known(path):
            found.add(path, relative)
        else:
            found.ignore("files of other kinds", str(relative))
    return found


def _from_list(path: Path) -> Inputs:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SyndiffError(f"The list {path} cannot be read ({error.strerror}); give a text file of paths.") from None
    return _listed(content, str(path))


def _listed(content: bytes, origin: str) -> Inputs:
    """The files of a list, a path a line; the folders below the one that all have in common are kept."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise SyndiffError(f"{origin} is stored as UTF-16; save the list as UTF-8, a path a line.")
    lines = [os.fsdecode(line.removesuffix(b"\r")) for line in content.removeprefix(codecs.BOM_UTF8).split(b"\n")]
    paths = [expanded(line) for line in lines if line.strip()]
    found = Inputs()
    if not paths:
        return found
    whole = [Path(os.path.normpath(path.absolute())) for path in paths]
    common = os.path.commonpath([path.parent for path in whole])
    seen: set[Path] = set()
    for path, absolute in zip(paths, whole, strict=True):
        if absolute in seen:
            found.ignore("paths that stand twice in the list", str(path))
            continue
        seen.add(absolute)
        if path.name.startswith("."):
            found.ignore("hidden files", str(path))
        else:
            found.add(path, absolute.relative_to(common), absolute.as_posix())
    return found


def _is_known(path: Path) -> bool:
    """Whether a file is of a known kind; one that cannot be read is taken for what its name says."""
    try:
        return format_of(path) is not None
    except OSError:
        return False


def _is_predictions(folder: Path) -> bool:
    mark = folder / MARK
    try:
        return mark.is_file() and read_object(mark, {"kind": str})["kind"] == KIND
    except (SyndiffError, OSError):
        return False


def _check_apart(files: Iterable[Input], out: Path) -> None:
    """Refuse an `out` in which an image lies, be it by a link: its mask would take its place."""
    folder = Path(os.path.realpath(out))
    for parent, path in {each.path.parent: each.path for each in files}.items():
        if Path(os.path.realpath(parent)).is_relative_to(folder):
            raise _inside(path, out)
    for each in files:
        if each.path.is_symlink() and Path(os.path.realpath(each.path)).is_relative_to(folder):
            raise _inside(each.path, out)


def _inside(path: Path, out: Path) -> SyndiffError:
    return SyndiffError(f"{path} lies in {out}, where masks would overwrite images. Give another folder as --out.")
