"""Whether the pixel data of a DICOM file are all there, before anything is decoded.

The JPEG decoder fills a picture that is cut off with grey and says nothing, and makes a picture as large as the stream
tells it, whatever the header says. So both are looked at first: where every fragment ends, and how large it will be.
"""

import os
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, BinaryIO

from syndiff.errors import SyndiffError

if TYPE_CHECKING:
    from pydicom import Dataset

_ITEM, _END = 0xFFFEE000, 0xFFFEE0DD
_HEAD = Struct("<HHL")
_TAIL = 64  # bytes at the end of a fragment: the mark of the end, and padding
_JPEG, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_J2K = b"\xff\x4f\xff\x51"
_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # the markers that the size follows


def check_whole(path: Path, header: "Dataset", position: int) -> None:
    """Raise SyndiffError where pixel data are missing, or where a compressed frame is of another size than the header.

    position: of the pixel data element in the file.
    """
    syntax = header.file_meta.TransferSyntaxUID
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        implicit = header.original_encoding[0]  # as it was read: some files are not what their syntax says
        file.seek(position + (8 if (syntax.is_implicit_VR if implicit is None else implicit) else 12))
        if syntax.is_encapsulated:
            _check_fragments(path, file, size, header)
        else:
            from pydicom.pixels.utils import get_expected_length

            if file.tell() + get_expected_length(header) > size:
                raise cut_off(path, "its pixel data (7FE0,0010) are shorter than its header says")


def cut_off(path: Path, why: str) -> SyndiffError:
    """The sentence for a file that ends too early."""
    return SyndiffError(f"{path} is damaged or cut off: {why}. Copy or export it again.")


def _check_fragments(path: Path, file: BinaryIO, size: int, header: "Dataset") -> None:
    """Walk over the fragments of compressed frames; the first item is the table of offsets."""
    expected = (int(header.Rows), int(header.Columns))
    count, ended = -1, True
    while len(head := file.read(_HEAD.size)) == _HEAD.size:
        group, element, length = _HEAD.unpack(head)
        tag, start = group << 16 | element, file.tell()
        if tag == _END:
            break
        if tag != _ITEM or start + length > size:
            raise cut_off(path, f"fragment {max(count, 0) + 1} of its compressed frames is not whole")
        count += 1
        if count:
            stated = _stream_size(file, start, start + length)
            if stated not in (None, expected):
                raise cut_off(
                    path,
                    f"fragment {count} is compressed as {stated[1]}x{stated[0]} pixels where its header says "
                    f"{expected[1]}x{expected[0]}",
                )
            file.seek(max(start, start + length - _TAIL))
            ended = _JPEG_END in file.read(min(length, _TAIL))
        file.seek(start + length)
    frames = max(1, int(header.get("NumberOfFrames") or 1))
    if count < frames:
        raise cut_off(path, f"it holds {max(count, 0)} frames, its header says {frames} (0028,0008)")
    if not ended and _is_jpeg(header):
        raise cut_off(path, "the last of its compressed frames has no end")


def _is_jpeg(header: "Dataset") -> bool:
    """Of the kinds whose decoder takes a stream without an end: JPEG and JPEG-LS."""
    from pydicom.uid import JPEGLSTransferSyntaxes, JPEGTransferSyntaxes

    return header.file_meta.TransferSyntaxUID in (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes)


def _stream_size(file: BinaryIO, start: int, end: int) -> tuple[int, int] | None:
    """Rows and columns that a stream begins with; None for one that begins with neither JPEG nor JPEG 2000."""
    file.seek(start)
    first = file.read(24)
    if first.startswith(_J2K) and len(first) == 24:
        width, height, left, top = (int.from_bytes(first[place : place + 4]) for place in (8, 12, 16, 20))
        return height - top, width - left
    if not first.startswith(_JPEG):
        return None
    place = start + 2
    while place + 9 <= end:
        file.seek(place)
        mark = file.read(9)
        if mark[0] != 0xFF:
            return None
        if mark[1] in _SIZES:
            return int.from_bytes(mark[5:7]), int.from_bytes(mark[7:9])
        if mark[1] == 0xFF:  # a fill byte
            place += 1
        else:
            place += 2 + int.from_bytes(mark[2:4])
    return None
