"""The names of cases, from the paths of their pictures, and their groups, from a pattern in them or a table."""

import csv
import io
import os.path
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from syndiff.data.listing import MAX_STEM, check_text, nfc, some
from syndiff.documents import read_text
from syndiff.errors import SyndiffError, did_you_mean, shown
from syndiff.files import expanded

_SAVE = "Save it as CSV in UTF-8."


def short_paths(paths: Sequence[str]) -> list[str]:
    """Paths without the folders that all of them have in common.

    >>> short_paths(["all/a/1.png", "all/b/1.png"])
    ['a/1.png', 'b/1.png']
    """
    shared = os.path.commonpath([str(PurePosixPath(path).parent) for path in paths]) if paths else ""
    return [str(PurePosixPath(path).relative_to(shared)) if shared else path for path in paths]


def case_names(paths: Sequence[str]) -> list[str]:
    """A case's name for each path: folders joined with "_", without the extension.

    >>> case_names(["a/1.png", "b/1.png"])
    ['a_1', 'b_1']

    Raises SyndiffError for two pictures that would become one case, and names that no case may have.
    """
    first: dict[str, str] = {}
    for path in paths:
        name = nfc("_".join(PurePosixPath(path).with_suffix("").parts))
        check_text(name, "the name of a picture")
        if name.startswith(".") or len(name.encode()) > MAX_STEM:
            raise SyndiffError(
                f"{shown(path)} would become the case {shown(name)}, expected at most {MAX_STEM} bytes and no dot at "
                "its start (hidden files are not read); rename the picture."
            )
        if name in first:
            raise SyndiffError(
                f"{first[name]} and {path} would both become the case {name!r} (folders are joined to the name, the "
                "extension is dropped); rename one of them, in the annotations too."
            )
        first[name] = path
    return list(first)


def groups_by_pattern(pattern: str, paths: Mapping[str, str]) -> dict[str, str]:
    """The group of each case: what the one pair of brackets of a regular expression finds in the path of its picture.

    The expression must fit the whole path without its extension. Raises SyndiffError for an expression that is none, or
    has not one pair of brackets, and for paths that it does not fit.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise SyndiffError(f"--group-pattern {pattern!r} is no regular expression ({error}).") from None
    if compiled.groups != 1:
        raise SyndiffError(
            f"--group-pattern {pattern!r} has {compiled.groups} pairs of brackets; expected one, around the part of "
            "the name that is the patient or video, such as '(\\d+)_.*'; others are written (?:...)."
        )
    groups: dict[str, str] = {}
    for case, path in paths.items():
        found = compiled.fullmatch(str(PurePosixPath(path).with_suffix("")))
        if found and (found[1] or "").strip():
            groups[case] = nfc(found[1].strip())
    without = [paths[case] for case in paths if case not in groups]
    if without:
        raise SyndiffError(
            f"--group-pattern {pattern!r} finds no group in {len(without)} of {len(paths)} names: {some(without)}. It "
            "must fit the whole name without its extension, folders included."
        )
    return groups


def groups_from_table(option: str, paths: Mapping[str, str]) -> tuple[dict[str, str], int]:
    """The group of each case from `FILE.csv:column`, and how many lines name no picture.

    The first column names the pictures: as paths, file names, names without extension, or cases. Raises SyndiffError
    for a file that is no such table, cases that it does not name, and two groups for one.
    """
    file, colon, column = option.rpartition(":")
    if not colon or not file or not column:
        raise SyndiffError(f"--groups is {shown(option)}; expected FILE.csv:column, such as patients.csv:patient_id.")
    table, other = _read(expanded(file), column), 0
    known = _known(paths)
    groups: dict[str, str] = {}
    for name, group, where in table:
        case = known.get(name)
        if case is None:
            other += 1
        elif groups.setdefault(case, group) != group:
            raise SyndiffError(f"{where}: {name!r} has the group {group!r} here and {groups[case]!r} above; keep one.")
    absent = [case for case in paths if case not in groups]
    if absent:
        hint = did_you_mean(absent[0], [name for name, _, _ in table])
        raise SyndiffError(
            f"{file} gives no group for {len(absent)} of {len(paths)} pictures: {some(absent)}{hint}. Its first column "
            "must name the pictures, by file name with or without extension."
        )
    return groups, other


def _read(file: Path, column: str) -> list[tuple[str, str, str]]:
    """Name, group and place of each line."""
    if not file.is_file():
        raise SyndiffError(f"--groups: {file} does not exist, or is no file.")
    text = read_text(file, mend=_SAVE)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if column not in header[1:]:
            raise SyndiffError(
                f"{file} has no column {column!r} after its first, which names the pictures"
                f"{did_you_mean(column, header)}; its first line is {shown(','.join(header))}."
            )
        place, rows = header.index(column, 1), []
        for row in filter(None, reader):
            where = f"{file}, line {reader.line_num}"
            if len(row) <= place or not row[0].strip() or not row[place].strip():
                raise SyndiffError(f"{where}: found {shown(','.join(row))}; expected a picture and its {column}.")
            rows.append((nfc(row[0].strip()), nfc(row[place].strip()), where))
    except csv.Error as error:
        raise SyndiffError(f"{file}, line {reader.line_num}: {error}. {_SAVE}") from None
    return rows


def _known(paths: Mapping[str, str]) -> dict[str, str]:
    """Cases by all the names that a table may give them; a name that two cases share is none."""
    found: dict[str, str] = {}
    twice = set()
    for case, path in paths.items():
        whole = PurePosixPath(nfc(path))
        for name in {case, str(whole), str(whole.with_suffix("")), whole.name, whole.stem}:
            if found.setdefault(name, case) != case:
                twice.add(name)
    return {name: case for name, case in found.items() if name not in twice}
