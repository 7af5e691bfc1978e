"""NIfTI volumes: slice after slice along the third axis, as pictures; and masks that lie where the volume lies."""

import contextlib
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from syndiff.data.decoding import MAX_BYTES, MAX_PIXELS
from syndiff.data.targets import Targets
from syndiff.errors import SyndiffError
from syndiff.inference.formats.base import Frame, Source, Writer
from syndiff.inference.formats.nifti_display import Display, NoNumbers, turn_of
from syndiff.inference.formats.reading import readable
from syndiff.inference.formats.staging import Staging
from syndiff.models.predictor import Prediction

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

SUFFIXES = (".nii", ".nii.gz")
_MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}  # NIfTI's codes of metre, millimetre and micrometre
_PLACE = (
    "dim_info",
    "dim",
    "pixdim",
    "xyzt_units",
    "qform_code",
    "sform_code",
    "quatern_b",
    "quatern_c",
    "quatern_d",
    "qoffset_x",
    "qoffset_y",
    "qoffset_z",
    "srow_x",
    "srow_y",
    "srow_z",
)
"""The fields of a header that say where its voxels lie; its texts and extensions may name a patient and stay behind."""

_CHUNK = 2**20


def is_nifti(path: Path) -> bool:
    """Whether a file is NIfTI by its suffix, .nii or .nii.gz."""
    return path.name.lower().endswith(SUFFIXES)


class NiftiSource(Source):
    """A NIfTI-1 or -2 file (.nii, .nii.gz) of two or three axes: one frame for each place on the third ("0001", ...).

    `Display` says how numbers become grey and how a slice is turned upright. RGB and RGBA voxels are taken as they are,
    alpha dropped. A file is read from its start to its end, one slice in memory; twice where the range of grey values
    must be found first. Frame.spacing is that of the two axes; None where the unit is unknown.

    Raises SyndiffError for a file that is damaged or cut off, has a fourth axis, voxels that are no real numbers, or
    slices larger than pictures may be; ModuleNotFoundError without nibabel.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with readable(path):
            self.header, self._voxels = _read_header(path)
            self.shape = tuple(int(size) for size in self.header.get_data_shape())
            _check_shape(path, self.shape)
            self.turn = turn_of(self.header)
            self._type = _checked_type(path, self.header.get_data_dtype())
            self._count = self.shape[2] if len(self.shape) > 2 else 1
            if path.suffix.lower() != ".gz":
                self._check_length()
            try:
                self._display = Display.of(self.header, self.slices)
            except NoNumbers:
                raise SyndiffError(f"{path} holds no finite number; export it again.") from None

    @property
    def frame_count(self) -> int:
        return self._count

    def frames(self) -> Iterator[Frame]:
        digits, spacing = max(4, len(str(self._count))), self._spacing()
        slices = self.slices()
        for number in range(1, self._count + 1):
            with readable(self.path, f"slice {number} of "):
                stored = next(slices)
                image = self.turn.upright(self._display.picture(stored))
            yield Frame(image, f"{number:0{digits}}" if self._count > 1 else "", spacing)
        with readable(self.path):
            next(slices, None)  # reads on to the checksum

    def writer(self, folder: Path, name: str) -> "NiftiWriter":
        return NiftiWriter(self, folder, name)

    def slices(self) -> Iterator[NDArray]:
        """The stored slices, first axis x second axis, in order. Raises EOFError where the file ends too early."""
        plane = self.shape[:2]
        size = plane[0] * plane[1] * self._type.itemsize
        with _opened(self.path) as file:
            _skip(file, self._voxels)
            for _ in range(self._count):
                yield np.frombuffer(_exactly(file, size), self._type).reshape(plane, order="F")
            while file.read(_CHUNK):  # the checksum of a .gz is at its end
                pass

    def _check_length(self) -> None:
        expected = self._voxels + int(np.prod(self.shape, dtype=object)) * self._type.itemsize
        if self.path.stat().st_size < expected:
            raise EOFError

    def _spacing(self) -> tuple[float, float] | None:
        """Millimetres between rows and between columns of the upright slice."""
        unit = _MILLIMETRES.get(int(self.header["xyzt_units"]) & 7, 0.0)
        first, second = (float(zoom) * unit for zoom in self.header["pixdim"][1:3])
        if not (np.isfinite([first, second]).all() and first > 0 and second > 0):
            return None
        return (first, second) if self.turn.first_is_rows else (second, first)


class NiftiWriter(Writer):
    """NAME.nii.gz: 0 and 1, or the numbers of several classes, in uint8; shape, affine and codes are its source's.

    It is written slice by slice.
    """

    def __init__(self, source: NiftiSource, folder: Path, name: str) -> None:
        self._source = source
        self._staging = Staging(folder)
        self._context = contextlib.ExitStack()
        self._path = folder / f"{name}.nii.gz"
        self._file: BinaryIO | None = None

    def add(self, frame: Frame, answer: Prediction) -> None:
        if self._file is None:
            raw = self._context.enter_context(self._staging.opened(self._path))
            # no name and no time, so that the same mask has the same bytes
            packed = gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0)
            self._file = cast(BinaryIO, self._context.enter_context(packed))
            self._file.write(_mask_header(self._source.header, answer.targets))
        labels = answer.byte_labels(str(self._path)) if answer.targets.several else answer.mask
        self._file.write(self._source.turn.stored(labels).astype(np.uint8).tobytes(order="F"))

    def finish(self) -> list[Path]:
        self._context.close()
        return self._staging.commit()

    def abandon(self) -> None:
        with contextlib.suppress(OSError):
            self._context.close()
        self._staging.abandon()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked where its name ends in .gz."""
    with path.open("rb") as file:
        if path.suffix.lower() == ".gz":
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield cast(BinaryIO, unpacked)
        else:
            yield file


def _exactly(file: BinaryIO, size: int) -> bytes:
    content = file.read(size)
    if len(content) < size:
        raise EOFError
    return content


def _skip(file: BinaryIO, size: int) -> None:
    """Read on to byte `size`, a little at a time: what a header claims may be far beyond the end."""
    while size > 0:
        size -= len(_exactly(file, min(size, _CHUNK)))


def _read_header(path: Path) -> tuple["Nifti1Header", int]:
    """The header of a file and the position of its voxels in it."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    with _opened(path) as file:
        start = file.read(540)
    kinds: tuple[type[Nifti1Header], ...] = (Nifti1Header, Nifti2Header)
    for kind in kinds:
        size = kind.template_dtype.itemsize
        if len(start) >= size and kind.may_contain_header(start[:size]):
            header = kind(start[:size], check=False)
            magic = bytes(header["magic"].item())
            if not magic.startswith((b"n+1", b"n+2")):
                raise SyndiffError(
                    f"{path} is the header of a NIfTI pair (.hdr and .img); save both as one .nii or .nii.gz file."
                )
            return header, max(int(header["vox_offset"]), size)
    raise SyndiffError(f"{path} is damaged, or is no NIfTI file: its header is not one. Copy or export it again.")


def _check_shape(path: Path, shape: tuple[int, ...]) -> None:
    words = "x".join(map(str, shape))
    if len(shape) < 2 or min(shape) < 1:
        raise SyndiffError(f"{path} has the shape {words or 'of nothing'}; a slice or a volume was expected.")
    if any(size > 1 for size in shape[3:]):
        raise SyndiffError(
            f"{path} has {len(shape)} axes ({words}), such as a volume for each point in time; two or three are read. "
            "Save one volume: nibabel.load(PATH).slicer[..., 0].to_filename('one.nii.gz')."
        )
    if shape[0] * shape[1] > MAX_PIXELS or shape[0] * shape[1] * 6 > MAX_BYTES:
        raise SyndiffError(f"{path} has slices of {shape[0]}x{shape[1]}, more than is read; cut it into parts.")


def _checked_type(path: Path, kind: np.dtype[Any]) -> np.dtype[Any]:
    if kind.names in (("R", "G", "B"), ("R", "G", "B", "A")) or kind.kind in "uif":
        return kind
    raise SyndiffError(f"{path} holds voxels of type {kind}; real numbers or RGB were expected.")


def _mask_header(source: "Nifti1Header", targets: Targets) -> bytes:
    """The bytes before the voxels of a mask that lies as `source` does."""
    header = type(source)(endianness="<")
    for name in _PLACE:
        header[name] = source[name]
    header.set_data_dtype(np.uint8)
    highest = max(targets.numbers) if targets.several else 1
    header["scl_slope"], header["scl_inter"], header["cal_min"], header["cal_max"] = 1, 0, 0, highest
    names = ", ".join(f"{number} {name}" for number, name in targets.classes.items())
    told = f"SynDiff mask: {names if targets.several else '1 is lesion'}"
    header["descrip"] = told.encode("ascii", "replace")[:79]
    header["magic"] = b"n+1" if header["sizeof_hdr"] == 348 else b"n+2\0\r\n\x1a\n"
    start = len(header.binaryblock) + 4
    header["vox_offset"] = start
    return header.binaryblock + bytes(4)  # four zeros: no extension follows
