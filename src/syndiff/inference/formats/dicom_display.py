"""Stored DICOM samples as the picture a viewer shows: RGB in 8 or 16 bits, through one table for all frames.

Samples are whole numbers of at most 16 bits, so what becomes of each of them is computed once, for every number that
can be stored, and looked up for every pixel. The order of grey is that of DICOM PS3.4 N.2: modality (rescale or its
table), then VOI (window or its table), and MONOCHROME1 inverted last.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from syndiff.errors import SyndiffError
from syndiff.inference.formats.dicom_header import tag_words
from syndiff.inference.formats.reading import readable

if TYPE_CHECKING:
    from pydicom import Dataset

_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_PALETTE = "PALETTE COLOR"
_COLOURS = ("Red", "Green", "Blue")


class Lookup(NamedTuple):
    """A lookup table of a header: `values` for the samples from `first` on, of `bits` bits each."""

    first: int
    values: NDArray[np.int64]
    bits: int

    def __call__(self, samples: NDArray) -> NDArray:
        """Values of `samples`; those beside the table get its nearest end."""
        places = np.clip(np.rint(samples).astype(np.int64) - self.first, 0, len(self.values) - 1)
        return self.values[places]


class Display:
    """What turns the samples of a DICOM file into HxWx3 pictures: uint8 where 8 bits are stored, else uint16.

    Grey goes by its VOI table or else by its first window; without either, the whole range of the bits stored becomes
    0 to 255 or 65535. Colour is taken by the range of its bits. `windowed` says whether the last frame had a window or
    a VOI table.

    Raises SyndiffError for samples of more than 16 bits, an unknown kind of colour, and tables that cannot be.
    """

    def __init__(self, path: Path, header: "Dataset") -> None:
        self._path, self._header = path, header
        self.kind = str(header.PhotometricInterpretation)
        self.bits = int(header.BitsStored)
        samples, allocated = int(header.SamplesPerPixel), int(header.BitsAllocated)
        if self.kind not in (*_GREY, *_COLOUR, _PALETTE) or samples != (3 if self.kind in _COLOUR else 1):
            raise self._unfit("PhotometricInterpretation", "is of a kind that is not read: save it as grey or RGB")
        if allocated not in (1, 8, 16) or not 1 <= self.bits <= allocated:
            raise self._unfit("BitsAllocated", "says that its samples have no 1 to 16 bits: save it with 8 or 16")
        self.low = -(2 ** (self.bits - 1)) if int(header.PixelRepresentation) else 0
        self.type = np.uint8 if self.bits <= 8 else np.uint16
        self.windowed = False
        self._from: tuple[Any, Any] = (None, None)
        self._table: NDArray = np.empty(0, self.type)

    def picture(self, samples: NDArray, index: int) -> NDArray:
        """Frame `index` (from 0) of samples HxW or HxWx3, already RGB, as the picture HxWx3."""
        if self.kind in _GREY:
            table = self._grey_table(index)
        elif self._table.size:
            table = self._table
        else:
            table = self._table = self._palette() if self.kind == _PALETTE else self._full_range(self._stored())
        if self.low or samples.dtype.itemsize * 8 != self.bits:
            samples = np.clip(samples.astype(np.int32) - self.low, 0, len(table) - 1)
        image = table[samples]
        return image if image.ndim == 3 else image[..., None].repeat(3, axis=2)

    def _stored(self) -> NDArray[np.int64]:
        """Every number that can be stored, in order."""
        return np.arange(self.low, self.low + 2**self.bits, dtype=np.int64)

    def _full_range(self, values: NDArray) -> NDArray:
        """Values from the least to the greatest, as 0 to the largest number of the picture's type."""
        low, high = float(values.min()), float(values.max())
        return self._scaled((values - low) / max(high - low, 1e-12))

    def _scaled(self, unit: NDArray[np.float64]) -> NDArray:
        return np.rint(np.clip(unit, 0, 1) * np.iinfo(self.type).max).astype(self.type)

    def _grey_table(self, index: int) -> NDArray:
        """The table of a frame; frames of one volume often share it."""
        modality = group(self._header, "PixelValueTransformationSequence", index) or self._header
        voi = group(self._header, "FrameVOILUTSequence", index) or self._header
        if modality is not self._from[0] or voi is not self._from[1]:
            values = self._after_voi(self._after_modality(modality), voi)
            self._from = modality, voi
            self._table = np.iinfo(self.type).max - values if self.kind == "MONOCHROME1" else values
        return self._table

    def _after_modality(self, source: Any) -> NDArray:
        values = self._stored()
        if source.get("ModalityLUTSequence"):
            return self._lookup(source.ModalityLUTSequence[0], "ModalityLUTSequence")(values)
        slope, intercept = source.get("RescaleSlope"), source.get("RescaleIntercept")
        if slope is None or intercept is None:
            return values
        if not np.isfinite([float(slope), float(intercept)]).all() or float(slope) == 0:
            raise self._unfit("RescaleSlope", "holds no number but 0: correct it or remove it")
        return values * float(slope) + float(intercept)

    def _after_voi(self, values: NDArray, source: Any) -> NDArray:
        if source.get("VOILUTSequence"):
            self.windowed = True
            lookup = self._lookup(source.VOILUTSequence[0], "VOILUTSequence")
            return self._scaled(lookup(values) / (2**lookup.bits - 1))
        self.windowed = source.get("WindowCenter") not in (None, "") and source.get("WindowWidth") not in (None, "")
        return self._scaled(self._window(values, source)) if self.windowed else self._full_range(values)

    def _window(self, values: NDArray, source: "Dataset") -> NDArray[np.float64]:
        """The first window of a header, applied: values in [0, 1]."""
        from pydicom import Dataset
        from pydicom.pixels.processing import apply_windowing

        view = Dataset()  # of 8 bits and without a rescale, so that the library answers from 0 to 255
        view.PhotometricInterpretation, view.BitsStored, view.PixelRepresentation = "MONOCHROME2", 8, 0
        try:
            view.WindowCenter, view.WindowWidth = _first(source.WindowCenter), _first(source.WindowWidth)
            if source.get("VOILUTFunction"):
                view.VOILUTFunction = source.VOILUTFunction
            return apply_windowing(values, view) / 255
        except (ValueError, TypeError, IndexError, AttributeError):
            raise self._unfit(
                "WindowWidth", "or the window's centre or function cannot be: correct the window, or remove it"
            ) from None

    def _lookup(self, item: "Dataset", keyword: str) -> Lookup:
        with readable(self._path, f"{tag_words(keyword)} of "):
            return lookup_table(item.LUTDescriptor, item.LUTData, self._header)

    def _palette(self) -> NDArray:
        """Colours of every number that can be stored, Nx3."""
        from pydicom.pixels.processing import apply_color_lut

        with readable(self._path, "the palette of "):
            header: Any = self._header
            bits = int(header.RedPaletteColorLookupTableDescriptor[2])
            if "RedPaletteColorLookupTableData" in header:
                names = [f"{colour}PaletteColorLookupTable" for colour in _COLOURS]
                lookups = [
                    lookup_table(header[f"{n}Descriptor"].value, header[f"{n}Data"].value, header) for n in names
                ]
                colours = np.stack([lookup(self._stored()) for lookup in lookups], axis=-1)
            else:
                colours = apply_color_lut(self._stored(), header)[..., :3]
            self.type = np.uint8 if bits <= 8 else np.uint16
            return self._scaled(colours / (2**bits - 1))

    def _unfit(self, keyword: str, what: str) -> SyndiffError:
        return SyndiffError(f"{self._path}: {tag_words(keyword)} {what}.")


def group(header: "Dataset", sequence: str, index: int) -> "Dataset | None":
    """What the functional groups of a multi-frame header say about frame `index` (from 0): its own, else the shared."""
    own, shared = header.get("PerFrameFunctionalGroupsSequence"), header.get("SharedFunctionalGroupsSequence")
    for groups in (own[index : index + 1] if own else [], shared or []):
        for item in groups:
            if found := item.get(sequence):
                return found[0]
    return None


def lookup_table(descriptor: Any, data: Any, header: "Dataset") -> Lookup:
    """A lookup table (PS3.3 C.11.1.1): its descriptor is (entries, 0 for 65536; first sample; bits of an entry).

    `data` are numbers or bytes: one for an entry, or two in the byte order of the file.
    """
    count, first, bits = int(descriptor[0]) or 2**16, int(descriptor[1]), int(descriptor[2])
    if isinstance(data, bytes):
        order = "<" if header.file_meta.TransferSyntaxUID.is_little_endian else ">"
        values = np.frombuffer(data, np.uint8 if len(data) < 2 * count else f"{order}u2")
    else:
        values = np.asarray(data)
    if len(values) < count or not 8 <= bits <= 16:
        raise ValueError("the table is shorter than it says, or its entries have no 8 to 16 bits")
    return Lookup(first, values[:count].astype(np.int64), bits)


def _first(value: Any) -> float:
    """A window may be given several times, for the reader to choose from."""
    return float(value if isinstance(value, str | float | int) else value[0])
