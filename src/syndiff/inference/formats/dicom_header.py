"""DICOM headers: read without pixels, checked, and never quoted.

A header holds the patient's name, number and dates. So no message repeats a value of it: messages name the file and
the tag. pydicom and highdicom do quote values in what they warn of, and are silenced.
"""

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from syndiff.errors import SyndiffError
from syndiff.inference.formats.base import NoPicture
from syndiff.inference.formats.reading import readable

if TYPE_CHECKING:
    from pydicom import Dataset

MAGIC, MAGIC_AT = b"DICM", 128
_ENVELOPED = (
    b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03"  # what an encrypted file (PS3.15, a CMS envelope) begins with
)
_QUOTING = ("pydicom", "highdicom", "pylibjpeg", "libjpeg", "openjpeg", "rle")
_DIRECTORY = "1.2.840.10008.1.3.10"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_NO_PICTURES = {
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation, the answer to a picture",
    "1.2.840.10008.5.1.4.1.1.66.7": "a segmentation, the answer to a picture",
    "1.2.840.10008.5.1.4.1.1.30": "a parametric map",
    "1.2.840.10008.5.1.4.1.1.481.2": "a dose distribution",
}
_NEEDED = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
)
_PIXELS = b"\x7f\xe0\x00\x10"


def silence() -> None:
    """Keep the DICOM libraries from printing or logging what they read, for the rest of this process.

    For good and not for a while: files are read and written in several threads, which share one list of filters.
    """
    for name in _QUOTING:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=rf"({'|'.join(_QUOTING)})\b")


def read_header(path: Path) -> tuple["Dataset", int]:
    """The header of a DICOM file with a picture, and the position of its pixel data element in the file.

    Raises NoPicture for a DICOMDIR, a report and the like; SyndiffError for a file that is encrypted, deflated as a
    whole, damaged, or that lacks what a picture needs.
    """
    silence()
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info

    with readable(path):
        _check_magic(path)
        meta = read_file_meta_info(path)
        if meta.get("MediaStorageSOPClassUID") == _DIRECTORY:
            raise NoPicture(f"{path} is a DICOMDIR, the index of a disc; give the folder of images that lies by it.")
        if not meta.get("TransferSyntaxUID"):
            raise SyndiffError(f"{path} {lacks('TransferSyntaxUID')}; export it again.")
        if meta.TransferSyntaxUID == _DEFLATED:
            raise SyndiffError(
                f"{path} is deflated as a whole (0002,0010), which is not read; convert it to Explicit VR Little "
                "Endian, with dcmconv +te or a viewer."
            )
        with path.open("rb") as file:
            header = dcmread(file, stop_before_pixels=True)
            position = file.tell()
            tag = file.read(4)
        _check_picture(path, header)
        if (tag[1::-1] + tag[3:1:-1] if meta.TransferSyntaxUID.is_little_endian else tag) != _PIXELS:
            raise SyndiffError(
                f"{path} has no pixel data (7FE0,0010) of whole numbers: it is cut off, or it holds decimal numbers; "
                "export it again as a picture of 8 or 16 bits."
            )
    return header, position


def lacks(keyword: str) -> str:
    """ "lacks Rows (0028,0010)"."""
    return f"lacks {tag_words(keyword)}"


def tag_words(keyword: str) -> str:
    """Name and number of an attribute: "Rows (0028,0010)"."""
    from pydicom.datadict import dictionary_description, tag_for_keyword
    from pydicom.tag import Tag

    tag = Tag(tag_for_keyword(keyword) or 0)
    return f"{dictionary_description(tag)} ({tag.group:04X},{tag.element:04X})"


def whole_number(path: Path, header: "Dataset", keyword: str, default: int | None = None) -> int:
    """An attribute of the header that counts something.

    Raises SyndiffError where it is missing without a `default`, or no whole number.
    """
    try:
        value = header.get(keyword)
        return int(str(default if value is None else value))
    except (ValueError, TypeError):
        raise SyndiffError(f"{path}: {tag_words(keyword)} holds no whole number; export the file again.") from None


def _check_magic(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(MAGIC_AT + len(MAGIC))
    if start[MAGIC_AT:] == MAGIC:
        return
    if start[:1] == b"\x30" and _ENVELOPED in start[:64]:
        raise SyndiffError(f"{path} is encrypted (a secure DICOM file); decrypt it with the key of its sender.")
    raise SyndiffError(
        f"{path} is no DICOM file, or is damaged: it does not bear the letters DICM behind its first {MAGIC_AT} bytes "
        f"({path.stat().st_size:,} bytes in all). Copy or export it again."
    )


def _check_picture(path: Path, header: "Dataset") -> None:
    """Raise SyndiffError unless the header says that this is a picture, and what kind of."""
    kind = header.get("SOPClassUID")
    if kind in _NO_PICTURES:
        raise NoPicture(f"{path} is {_NO_PICTURES[kind]}, not a picture; leave it out.")
    if "Rows" not in header and "Columns" not in header:
        if "EncryptedAttributesSequence" in header:
            raise SyndiffError(
                f"{path} is encrypted: its picture, if any, lies in Encrypted Attributes (0400,0500); decrypt it with "
                "the key of its sender."
            )
        known = kind.name if kind is not None and kind.name != str(kind) else "its kind is unknown"
        raise NoPicture(f"{path} is a DICOM file without a picture ({known}); leave it out.")
    for keyword in _NEEDED:
        if header.get(keyword) in (None, ""):
            raise SyndiffError(f"{path} {lacks(keyword)}, without which its picture cannot be read; export it again.")
