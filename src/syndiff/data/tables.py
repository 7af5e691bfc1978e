"""Tables of one line a case (`case,<column>`): groups.csv and captions.csv."""

import csv
import io
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from syndiff.data.listing import nfc, some
from syndiff.documents import read_text
from syndiff.errors import SyndiffError, did_you_mean, shown
from syndiff.files import check_regular, write_parts

_SAVE = "Save it as CSV in UTF-8 (in a spreadsheet: save as, CSV UTF-8)."
_SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # xlsx and ods, xls


def read_table(path: Path, column: str, cases: Iterable[str]) -> dict[str, str]:
    """Read a `case,<column>` CSV that names every one of `cases` once; empty when the file is absent.

    Cases and values come back in composed Unicode. Raises SyndiffError for a file that is no such table, a line that
    does not fit, and cases that are unknown, listed twice or absent.
    """
    if not path.exists() and not path.is_symlink():
        return {}
    table: dict[str, str] = {}
    known = set(cases)
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if header != ["case", column]:
            raise SyndiffError(
                f"{path} starts with {shown(','.join(header))}; its first line must be case,{column} (with a comma "
                "between the columns, here and in every line)."
            )
        for row in filter(None, reader):
            where = f"{path}, line {reader.line_num}"
            if len(row) != 2 or not all(field.strip() for field in row):
                raise SyndiffError(
                    f"{where}: found {shown(','.join(row))}; expected a case and its {column} "
                    "(in quotes when it holds a comma)."
                )
            case, value = (nfc(field.strip()) for field in row)
            if case not in known:
                raise SyndiffError(
                    f"{where}: case {shown(case)} has no image{_meant(case, known)}; "
                    "remove the line or write the image's file name without its extension."
                )
            if case in table:
                raise SyndiffError(f"{where}: case {case!r} is listed twice; keep one line.")
            table[case] = value
    except csv.Error as error:
        raise SyndiffError(
            f"{path}, line {reader.line_num}: {error}; a field that begins with a quote must end with one, and a quote "
            'within it is written twice ("").'
        ) from None
    absent = sorted(known - table.keys())
    if absent:
        raise SyndiffError(
            f"{path} does not list {len(absent)} case(s): {some(absent)}. Add a {column} for each or delete the file."
        )
    return table


def write_table(path: Path, column: str, rows: Iterable[tuple[str, str | None]]) -> None:
    """Write a `case,<column>` CSV atomically, as `read_table` reads it; rows are written as they come."""
    write_parts(path, _lines(column, rows))


def table_bytes(column: str, rows: Iterable[tuple[str, str | None]]) -> bytes:
    """What `write_table` would write."""
    return b"".join(_lines(column, rows))


def _text(path: Path) -> str:
    check_regular(path)
    with path.open("rb") as file:
        if file.read(4) in _SPREADSHEETS:
            raise SyndiffError(f"{path} is a spreadsheet's own file, no CSV. {_SAVE}")
    text = read_text(path, mend=_SAVE)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise SyndiffError(
            f"{path}, line {line}: holds a NUL character, as text in UTF-16 or a damaged file does. {_SAVE}"
        )
    return text


def _meant(case: str, known: set[str]) -> str:
    """A hint at the case that a line may mean."""
    padded = [name for name in known if name != case and name.lstrip("0") == case.lstrip("0")]
    if padded:
        return f" (is it {padded[0]!r}? Spreadsheets drop zeros at the start of a number)"
    return did_you_mean(case, known)


def _lines(column: str, rows: Iterable[tuple[str, str | None]]) -> Iterator[bytes]:
    return (_csv_row(row) for row in itertools.chain([("case", column)], rows))


def _csv_row(row: tuple[str, str | None]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(row)
    return line.getvalue().encode()
