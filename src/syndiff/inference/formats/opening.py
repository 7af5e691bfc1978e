"""Which format a file is of: one line for each in `FORMATS`. A format's libraries are imported when one is opened."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from syndiff.data.readers import IMAGE_EXTENSIONS
from syndiff.errors import SyndiffError
from syndiff.inference.formats import dicom, nifti, pictures, video
from syndiff.inference.formats.base import Source


@dataclass(frozen=True)
class Format:
    """A kind of files.

    endings: of their names, in lower case; they are left out of the names of outputs, the longest that fits.
    recognises: whether a file is of this kind, by its name or its first bytes.
    open: the source that a file is; raises SyndiffError for one that is damaged or unfit.
    extra: which extra of SynDiff brings the libraries that `open` needs; "" where none is needed.
    """

    endings: frozenset[str]
    recognises: Callable[[Path], bool]
    open: Callable[[Path], Source]
    extra: str = ""


FORMATS = (
    Format(IMAGE_EXTENSIONS, pictures.is_picture, pictures.PictureSource),
    Format(frozenset(nifti.SUFFIXES), nifti.is_nifti, nifti.NiftiSource, "medical"),
    Format(frozenset(dicom.SUFFIXES), dicom.is_dicom, dicom.DicomSource, "medical"),
    Format(video.SUFFIXES, video.is_video, video.VideoSource, "video"),
)
"""In the order in which they are asked; by its name before by its content, where a format knows both."""


def format_of(path: Path) -> Format | None:
    """The format of a file; None for one of no known kind."""
    return next((each for each in FORMATS if each.recognises(path)), None)


def open_source(path: Path) -> Source:
    """The frames of a file of any known format; a file of no known kind is tried as a picture.

    Raises SyndiffError for a file that is damaged or unfit, or whose format needs a library that is not installed.
    """
    chosen = format_of(path) or FORMATS[0]
    try:
        return chosen.open(path)
    except ModuleNotFoundError as error:
        raise missing_library(path, error, chosen) from None


def missing_library(path: Path, error: ModuleNotFoundError, chosen: Format) -> Exception:
    """The sentence for a library that `path` needs; the error itself where it is a fault of SynDiff's own."""
    if not chosen.extra or (error.name or "").startswith("syndiff"):
        return error
    return SyndiffError(f"{path} needs {error.name}, which is not installed: pip install 'syndiff[{chosen.extra}]'.")


def without_ending(name: str) -> str:
    """The name of a file without the ending of its format; of another ending, as it is ("1.2.840.113" has none)."""
    known = [ending for each in FORMATS for ending in each.endings if name.lower().endswith(ending)]
    stem = name.removesuffix(name[-len(max(known, key=len)) :]) if known else name
    return stem if stem.strip(".") else name


def known_endings() -> str:
    """All endings, for a sentence."""
    return ", ".join(sorted(ending for each in FORMATS for ending in each.endings))
