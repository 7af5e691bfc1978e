"""What a folder of predictions holds, on record: predicting goes on where it stopped, and nobody's work is lost.

`predictions.jsonl` begins with a line of what makes the masks (weights, engine and settings). Then comes a line for
each source: its checksum, the files that were made from it with theirs, and a row of figures for each frame. A source
of many frames has lines of rows before it. The line is written when the files are whole but not yet under their names:
so whatever lies under a name, the record tells whether it is ours.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from syndiff.data.targets import KEY as TARGETS
from syndiff.documents import OWN, check_object, differences, read_objects
from syndiff.errors import SyndiffError, shown
from syndiff.files import append_json, drop_cut_line, sha256
from syndiff.inference.options import EngineName

NAME = "predictions.jsonl"
_FORMAT = 2
_BEFORE = {"format": _FORMAT, "engine": "torch"}  # what the first format, of masks alone, does not tell
_BLOCK = 100  # rows of a line
_SOURCE = {"source": str, "sha256": str, "name": str, "files": dict, "extras": list, "blocks": int, "rows": list}
_MASK = {"image": str, "image_sha256": str, "mask": str, "mask_sha256": str}


@dataclass(frozen=True, slots=True)  # there may be ten thousands
class Made:
    """What was made from a source.

    sha256: checksum of the source's content; files: checksums of the outputs, by their paths in the folder.
    path: where the source lay, in full; "" where an earlier version did not say.
    extras: what was made beside masks ("overlay", "probability"); problem: a sentence where frames were lost, else "".
    has_figures: whether the rows of its frames are known; an earlier version did not write them.
    last, blocks: its line in the journal, and how many lines before it hold rows of it.
    """

    sha256: str
    name: str
    files: dict[str, str]
    path: str = ""
    extras: frozenset[str] = frozenset()
    problem: str = ""
    has_figures: bool = True
    last: int = 0
    blocks: int = 0


class Journal:
    """The record of a folder of predictions; the caller holds the folder (`files.claimed`).

    `origin` is all that masks depend on besides their images. Raises SyndiffError for a folder whose masks have another
    origin, showing both values, and for a damaged record; a last line that a kill cut short is dropped.
    """

    def __init__(self, folder: Path, origin: dict[str, Any]) -> None:
        self._folder, self._path = folder, folder / NAME
        self._origin = {"format": _FORMAT, **origin}
        self._made: dict[str, Made] = {}
        self._written: dict[str, tuple[str, tuple[str, ...]]] = {}  # of each output: its source, checksums, newest last
        self._rows: list[dict[str, Any]] = []
        self._lines, self._blocks = 0, 0
        if self._path.exists():
            drop_cut_line(self._path)
            self._read()

    @property
    def names(self) -> dict[str, str]:
        """What the outputs of each source are called."""
        return {source: made.name for source, made in self._made.items()}

    @property
    def classes(self) -> list[str]:
        """The names of several classes that the masks tell apart; none of one."""
        return list(self._origin.get(TARGETS, {}).get("classes", {}).values())

    @property
    def wide_classes(self) -> set[str]:
        """Those of several classes that have a wide contour."""
        return {*self._origin.get("wide_thresholds", {})}

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever made."""
        return not self._made

    def made(self, source: str) -> Made | None:
        """What was made from a source, whatever became of it since; None where nothing was."""
        return self._made.get(source)

    def state(self, output: str) -> str:
        """What lies under the name of an output, a path in the folder.

        "nothing", "ours" as it was last written, "older" where it is an earlier one of ours, or "foreign": changed by
        somebody, or never ours.
        """
        path = self._folder / output
        if not os.path.lexists(path):
            return "nothing"
        _, known = self._written.get(output, ("", ()))
        if not known or path.is_symlink() or not path.is_file() or (found := sha256(path)) not in known:
            return "foreign"
        return "ours" if found == known[-1] else "older"

    def begin(self) -> None:
        """The next rows are those of another source; rows of one that came to nothing do not count."""
        self._rows, self._blocks = [], 0

    def row(self, row: Mapping[str, Any]) -> None:
        """The figures of one frame, in their order; of a long source they are not kept in memory."""
        self._rows.append(dict(row))
        if len(self._rows) == _BLOCK:
            self._append({"rows": self._rows})
            self._rows, self._blocks = [], self._blocks + 1

    def keep(self, source: str, made: Made, staging: Path) -> None:
        """Record what was made from a source and bring its files, which lie whole in `staging`, to their names.

        Raises SyndiffError, and keeps nothing, where something foreign lies under one of the names, or the output of
        another source. A file of the same content is not foreign.
        """
        for output, checksum in made.files.items():
            other, _ = self._written.get(output, (source, ()))
            if other != source and output in self._files(other):
                raise SyndiffError(
                    f"{self._folder / output} is an output of {other} already, so that of {source} is not written; "
                    "rename one of the two."
                )
            if self.state(output) == "foreign" and not _is(self._folder / output, checksum):
                raise foreign(self._folder / output)
        before = self._files(source)
        self.record(source, made)
        for output in made.files:
            target = self._folder / output
            target.parent.mkdir(parents=True, exist_ok=True)
            (staging / output).replace(target)
        for output in before.keys() - made.files.keys():  # of a source that had more frames, or more was asked for
            if _is(self._folder / output, before[output]):
                (self._folder / output).unlink()

    def record(self, source: str, made: Made) -> None:
        """Write the line of a source and of the rows since `begin`; its files are where they belong, or will be."""
        line = {
            "source": source,
            "sha256": made.sha256,
            "path": made.path,
            "name": made.name,
            "files": made.files,
            "extras": sorted(made.extras),
            "problem": made.problem,
            "blocks": self._blocks,
            "rows": self._rows,
        }
        self._append(line)
        self._take(source, replace(made, has_figures=True, last=self._lines, blocks=self._blocks))
        self.begin()

    def rows(self) -> Iterator[tuple[str, Made, dict[str, Any]]]:
        """Source, what was made from it, and figures of every frame, in the order in which they were made.

        A source whose figures are not known (made by an earlier version) has one row without any.
        """
        owner = {
            number: source
            for source, made in self._made.items()
            for number in range(made.last - made.blocks, made.last + 1)
        }
        lines = read_objects(self._path, {}, drop_cut=True) if self._path.exists() else ()
        for number, line in enumerate(lines, 1):
            if number in owner:
                made = self._made[owner[number]]
                for row in line["rows"] if made.has_figures else [{}]:
                    yield owner[number], made, check_object(f"{self._path}, line {number}", row, {})

    def _files(self, source: str) -> dict[str, str]:
        made = self._made.get(source)
        return made.files if made else {}

    def _append(self, line: dict[str, Any]) -> None:
        if not self._lines:
            append_json(self._path, self._origin)
            self._lines = 1
        append_json(self._path, line)
        self._lines += 1

    def _take(self, source: str, made: Made) -> None:
        self._made[source] = made
        for output, checksum in made.files.items():
            _, earlier = self._written.get(output, (source, ()))
            self._written[output] = source, (*(each for each in earlier if each != checksum), checksum)

    def _read(self) -> None:
        for number, line in enumerate(read_objects(self._path, {}), 1):
            where = f"{self._path}, line {number}"
            self._lines = number
            if number == 1:
                self._check_origin(check_object(where, line, {"format": int}))
            elif "image" in line or "mask" in line:
                check_object(where, line, _MASK)
                _check_inside(where, line["mask"])
                made = Made(line["image_sha256"], Path(line["mask"]).stem, {line["mask"]: line["mask_sha256"]})
                self._take(line["image"], replace(made, has_figures=False, last=number))
            elif set(line) == {"rows"}:
                check_object(where, line, {"rows": list})
            else:
                check_object(where, line, _SOURCE)
                check_object(f"{where}, files", line["files"], dict.fromkeys(line["files"], str))
                _check_inside(where, line["name"], *line["files"])
                self._take(line["source"], _made(line, number))

    def _check_origin(self, there: dict[str, Any]) -> None:
        changed = differences({**there, **_BEFORE} if there["format"] == 1 else there, self._origin)
        if changed:
            raise SyndiffError(
                f"{self._folder} holds masks that were made otherwise: {changed}. Give another folder as --out, or the "
                "same run and settings as before."
            )


def recorded_engine(folder: Path) -> EngineName | None:
    """Which engine made the masks of a folder; None where there are none, or their record is damaged."""
    try:
        first = next(read_objects(folder / NAME, {"format": int}, drop_cut=True), None)
    except (OSError, SyndiffError):
        return None
    known: dict[object, EngineName] = {"torch": "torch", "onnx": "onnx", "openvino": "openvino"}
    return None if first is None else known.get(str(first.get("engine", "torch")).partition(" ")[0])


def foreign(output: Path) -> SyndiffError:
    """The sentence for an output that is not as it was written."""
    return SyndiffError(
        f"{output} is not as predict wrote it (corrected by hand, or another file): it is kept as it is; move it "
        "elsewhere and run the same command again to have it predicted."
    )


def _made(line: dict[str, Any], number: int) -> Made:
    return Made(
        sha256=line["sha256"],
        name=line["name"],
        files=line["files"],
        path=str(line.get("path", "")),
        extras=frozenset(map(str, line["extras"])),
        problem=str(line.get("problem", "")),
        last=number,
        blocks=line["blocks"],
    )


def _check_inside(where: str, *paths: str) -> None:
    for path in paths:
        if path.startswith("/") or ".." in path.split("/"):
            raise SyndiffError(f"{where}: {shown(path)} leads out of the folder. {OWN}")


def _is(path: Path, checksum: str) -> bool:
    return path.is_file() and not path.is_symlink() and sha256(path) == checksum
