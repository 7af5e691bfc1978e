"""Writing answers: first into a folder of unfinished files, then whole to their names; overlays and maps on request."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from syndiff.data.listing import is_text
from syndiff.errors import SyndiffError
from syndiff.files import sha256, write_bytes
from syndiff.imaging import as_shown, encode_jpeg, encode_pages, encode_png
from syndiff.inference.formats.base import Frame, Source
from syndiff.inference.journal import Journal, Made
from syndiff.inference.overlay import draw_answer
from syndiff.inference.table import figures
from syndiff.models.predictor import Prediction

UNFINISHED = ".syndiff-unfinished"
"""In a folder of predictions: files that are being written. What a kill left in it is removed by the next call."""

_JPEG_SIDE = 65_500  # pixels of a side that a JPEG may have
_OF_THE_NAME = frozenset({errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.EILSEQ})
"""Errors of one name; all others would meet every file."""


@contextmanager
def unfinished(out: Path) -> Iterator[Path]:
    """The folder for unfinished files, empty, while the context lasts; `out` is held by the caller."""
    folder = out / UNFINISHED
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Output:
    """The files of one source, from its first answer to their names.

    name: what they are called, with "/" between folders. extras: "overlay" and "probability", where asked for.
    frames: how many were added. remarks: sentences about what was not written, once finished.

    Whatever fails raises SyndiffError where only this source is concerned, OSError where all are (a full disk). Whoever
    made it calls `finish` or `abandon`, the latter also after a failure.
    """

    def __init__(self, source: Source, name: str, extras: frozenset[str], staging: Path, journal: Journal) -> None:
        self._source, self._name, self._extras = source, name, extras
        self._staging, self._journal = staging, journal
        self._beside: list[Path] = []
        self.frames, self.remarks = 0, list[str]()
        folder = (staging / name).parent
        self._writer = source.writer(folder, PurePosixPath(name).name)
        with self._failing():
            folder.mkdir(parents=True, exist_ok=True)
        journal.begin()

    def add(self, frame: Frame, answer: Prediction) -> None:
        """Take the answer to the next frame."""
        with self._failing():
            self._writer.add(frame, answer)
            self._add_extras(frame, answer)
        self._journal.row(figures(frame, answer))
        self.frames += 1

    def finish(self, key: str, checksum: str, problem: str) -> None:
        """Bring the files to their names, on record as those of the source `key` with this content."""
        with self._failing():
            paths = [*self._writer.finish(), *self._beside]
            self.remarks += self._writer.remarks
            files = {path.relative_to(self._staging).as_posix(): sha256(path) for path in paths}
            self._journal.keep(
                key, Made(checksum, self._name, files, _whole(self._source.path), self._extras, problem), self._staging
            )

    def abandon(self) -> None:
        """Leave nothing behind."""
        self._writer.abandon()
        shutil.rmtree(self._staging, ignore_errors=True)

    def _add_extras(self, frame: Frame, answer: Prediction) -> None:
        if not self._extras:
            return
        if frame.seconds is not None:
            if not self.frames and "probability" in self._extras:
                self.remarks.append(f"{self._source.path} is a video, of which no maps of probability are written.")
            return  # its contours are drawn by its writer
        name = f"{self._name}/{frame.name}" if frame.name else self._name
        if "probability" in self._extras:
            deep = np.rint(answer.probabilities * np.float32(65535)).astype(np.uint16)
            if answer.targets.several:
                self._write(f"{name}.probability.tif", encode_pages(deep))
            else:
                self._write(f"{name}.probability.png", encode_png(Image.fromarray(deep[0])))
        if "overlay" in self._extras:
            drawn = overlay(frame.image, answer)
            if max(drawn.shape) <= _JPEG_SIDE:
                self._write(f"{name}.overlay.jpg", encode_jpeg(drawn))
            else:
                self._write(f"{name}.overlay.png", encode_png(drawn))

    def _write(self, output: str, content: bytes) -> None:
        path = self._staging / output
        write_bytes(path, content)
        self._beside.append(path)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """An error of this source's name alone as a sentence; another one names the file that the user knows."""
        try:
            yield
        except OSError as error:
            told = os.fsdecode(error.filename) if error.filename else str(self._staging / self._name)
            output = Path(told.replace(f"{UNFINISHED}{os.sep}", ""))
            if error.errno in _OF_THE_NAME:
                raise SyndiffError(
                    f"{output} cannot be written ({error.strerror}); rename {self._source.path}, or clear the way."
                ) from None
            error.filename, error.filename2 = str(output), None
            raise


def _whole(path: Path) -> str:
    """A path from the root on, for the record; empty where it is no text."""
    whole = str(path.absolute())
    return whole if is_text(whole) else ""


def overlay(image: NDArray, answer: Prediction) -> NDArray[np.uint8]:
    """A picture (HxWx3, 8 or 16 bits) in 8 bits with the contours that `draw_answer` draws."""
    return draw_answer(as_shown(image), answer)
