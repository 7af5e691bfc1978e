"""DICOM pictures, of one frame or many: every frame as a viewer shows it, decoded when it is asked for."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from syndiff.data.decoding import MAX_BYTES, MAX_PIXELS
from syndiff.errors import SyndiffError
from syndiff.inference.formats.base import Frame, Source
from syndiff.inference.formats.dicom_display import Display, group
from syndiff.inference.formats.dicom_header import (
    MAGIC,
    MAGIC_AT,
    read_header,
    silence,
    whole_number,
)
from syndiff.inference.formats.dicom_whole import check_whole, cut_off
from syndiff.inference.formats.dicom_writer import DicomWriter
from syndiff.inference.formats.reading import readable

if TYPE_CHECKING:
    from pydicom import Dataset

SUFFIXES = (".dcm", ".dicom")
_FLAT = 1 / 16  # a frame of less than this share of the range of its type is nearly one grey


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its suffix (.dcm, .dicom) or by the letters DICM at byte 128."""
    if path.name.lower().endswith(SUFFIXES):
        return True
    try:
        with path.open("rb") as file:
            file.seek(MAGIC_AT)
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


class DicomSource(Source):
    """A DICOM file with a picture, or with several frames ("0001", "0002", ...).

    Samples become RGB as `Display` says: grey by its rescale and its window (the range of its bits where it has none),
    MONOCHROME1 inverted last, palettes looked up, and YBR converted by pydicom, once. 8 bits stored give uint8, up to
    16 give uint16. Overlays, ICC profiles and curves are left alone. Needs pydicom, and for compressed frames the
    plugins of the extra `medical`.

    Raises SyndiffError for a file that is encrypted, no picture, a DICOMDIR, damaged or cut off, larger than pictures
    may be, or compressed in a way for which no decoder is installed; ModuleNotFoundError without pydicom.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.header, position = read_header(path)
        rows, columns = (whole_number(path, self.header, name) for name in ("Rows", "Columns"))
        self._count = max(1, whole_number(path, self.header, "NumberOfFrames", 1))
        self._shape = (rows, columns)
        with readable(path):
            self._display = Display(path, self.header)
        _check_size(path, rows, columns, self._display.bits)
        _check_decoder(path, self.header)
        with readable(path):
            check_whole(path, self.header, position)
        self._contrast = 0.0

    @property
    def frame_count(self) -> int:
        return self._count

    def frames(self) -> Iterator[Frame]:
        silence()
        from pydicom.pixels import iter_pixels

        digits = max(4, len(str(self._count)))
        decoded = iter_pixels(self.path)
        for index in range(self._count):
            with readable(self.path, f"frame {index + 1} of "):
                samples = next(decoded, None)
                if samples is None:
                    raise cut_off(self.path, f"it holds {index} frames, its header says {self._count} (0028,0008)")
                image = self._display.picture(self._checked(samples), index)
                self._look_at(image)
                spacing = pixel_spacing(self.header, index)
            yield Frame(image, f"{index + 1:0{digits}}" if self._count > 1 else "", spacing)
        with readable(self.path, "what follows the last frame of "):
            if next(decoded, None) is not None:
                raise SyndiffError(
                    f"{self.path} holds more frames than the {self._count} that its header says (0028,0008); export it "
                    "again."
                )

    def writer(self, folder: Path, name: str) -> DicomWriter:
        return DicomWriter(self, folder, name)

    @property
    def remarks(self) -> list[str]:
        """What the reader of the masks should know of the picture, once its frames were read."""
        if self._display.bits <= 8 or self._display.windowed or self._contrast >= _FLAT:
            return []
        return [
            f"{self.path} has no window (0028,1050), so its {self._display.bits} bits were taken in full, of which the "
            f"picture uses {self._contrast:.1%}: it looks nearly grey. Save it with a window."
        ]

    def _checked(self, samples: NDArray) -> NDArray:
        if samples.shape[:2] != self._shape:
            raise cut_off(self.path, f"a frame is decoded to {samples.shape} where its header says {self._shape}")
        return samples

    def _look_at(self, image: NDArray) -> None:
        if self._display.bits > 8 and not self._display.windowed and self._contrast < _FLAT:
            self._contrast = max(self._contrast, float(np.ptp(image)) / float(np.iinfo(image.dtype).max))


def pixel_spacing(header: "Dataset", index: int = 0) -> tuple[float, float] | None:
    """Millimetres between rows and between columns of frame `index` (from 0); None where the header does not say.

    Pixel Spacing (0028,0030) of the frame's own functional group, the shared one or the header, else Imager Pixel
    Spacing (0018,1164), which is measured at the detector: the object may be smaller.
    """
    places = (group(header, "PixelMeasuresSequence", index), header)
    values = next((place.PixelSpacing for place in places if place is not None and place.get("PixelSpacing")), None)
    values = values or header.get("ImagerPixelSpacing")
    try:
        rows, columns = (float(value) for value in values or ())
    except (ValueError, TypeError):
        return None
    return (rows, columns) if np.isfinite([rows, columns]).all() and rows > 0 and columns > 0 else None


def _check_size(path: Path, rows: int, columns: int, bits: int) -> None:
    if rows < 1 or columns < 1:
        raise SyndiffError(f"{path} says that it is {columns}x{rows} pixels (0028,0010); export it again.")
    if rows * columns > MAX_PIXELS or rows * columns * 3 * (1 if bits <= 8 else 2) > MAX_BYTES:
        raise SyndiffError(
            f"{path} is {columns}x{rows} pixels of {bits} bits, more than the {MAX_PIXELS:,} pixels or "
            f"{MAX_BYTES / 1e6:.0f} MB of RGB that are read; scale it down or cut it into tiles."
        )


def _check_decoder(path: Path, header: "Dataset") -> None:
    """Raise SyndiffError where the transfer syntax is unknown, or where no installed library decodes it."""
    from pydicom.pixels import get_decoder

    syntax = header.file_meta.TransferSyntaxUID
    name = syntax.name if syntax.name != str(syntax) else "an unknown transfer syntax"
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise SyndiffError(
            f"{path} is stored as {name} (0002,0010), which is not read; convert it to Explicit VR Little Endian, or a "
            "video to MP4."
        ) from None
    if not decoder.is_available:
        raise SyndiffError(
            f"{path} is compressed as {name} (0002,0010), for which no decoder is installed: pip install "
            "'syndiff[medical]'."
        )
