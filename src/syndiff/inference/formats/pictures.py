"""Pictures: PNG, JPEG, TIFF, BMP and WebP of one page, and TIFF stacks; out come masks as PNG or as a TIFF stack."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from syndiff.data.decoding import count_pages
from syndiff.data.readers import IMAGE_EXTENSIONS, read_image, read_pages
from syndiff.data.written_masks import encode_masks, mask_extension
from syndiff.files import GrowingFile, write_bytes
from syndiff.inference.formats.base import Frame, Source, Writer
from syndiff.models.predictor import Prediction

if TYPE_CHECKING:
    from tifffile import TiffWriter

_TIFF = frozenset({".tif", ".tiff"})
_BIG = 3 * 2**30  # bytes of masks before compression from which a TIFF is written that may exceed 4 GB


def is_picture(path: Path) -> bool:
    """Whether the name of `path` is one of a picture; nothing is read."""
    return path.suffix.lower() in IMAGE_EXTENSIONS


class PictureSource(Source):
    """A picture file, or a TIFF of several pages, which are frames named "0001", "0002" and so on, of any size each.

    Raises SyndiffError as `readers.read_image` does.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._pages = count_pages(path) if path.suffix.lower() in _TIFF else 1

    @property
    def frame_count(self) -> int:
        return self._pages

    def frames(self) -> Iterator[Frame]:
        if self._pages == 1:
            yield Frame(read_image(self.path))
            return
        for number, image in enumerate(read_pages(self.path), 1):
            yield Frame(image, name=f"{number:04d}")

    def writer(self, folder: Path, name: str) -> Writer:
        """`name`.png for one page, `name`.tif for several: 0 background, 255 lesion, or the numbers of several classes.

        Where classes may overlap, `name`.tif with a page for each, of a file of one page.
        """
        return _PngWriter(folder, name) if self._pages == 1 else _StackWriter(folder, name, self._pages)


class _PngWriter(Writer):
    def __init__(self, folder: Path, name: str) -> None:
        self._path, self._content = folder / name, b""

    def add(self, frame: Frame, answer: Prediction) -> None:
        self._path = self._path.with_name(f"{self._path.name}{mask_extension(answer.targets)}")
        self._content = encode_masks(answer.masks, answer.targets)

    def finish(self) -> list[Path]:
        write_bytes(self._path, self._content)
        return [self._path]

    def abandon(self) -> None:
        self._content = b""


class _StackWriter(Writer):
    """Pages are written as they come, so that one is in memory at a time."""

    def __init__(self, folder: Path, name: str, pages: int) -> None:
        self._path, self._pages = folder / f"{name}.tif", pages
        self._growing: GrowingFile | None = None
        self._tiff: TiffWriter | None = None

    def add(self, frame: Frame, answer: Prediction) -> None:
        page = answer.labels(f"{self._path}, the masks of several pages,")
        if self._tiff is None:
            from tifffile import TiffWriter

            self._growing = GrowingFile(self._path)
            self._tiff = TiffWriter(self._growing.file, bigtiff=page.nbytes * self._pages > _BIG)
        self._tiff.write(page, photometric="minisblack", compression="zlib", contiguous=False, metadata=None)

    def finish(self) -> list[Path]:
        assert self._growing is not None and self._tiff is not None, "no page was added"
        self._tiff.close()
        self._growing.finish()
        return [self._path]

    def abandon(self) -> None:
        if self._growing is not None:
            self._growing.abandon()
