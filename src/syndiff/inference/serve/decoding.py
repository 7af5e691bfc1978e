"""Files from a browser are decoded in a process of its own: a hostile one can neither crash nor exhaust the server."""

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from syndiff.data.dataset import Case, Dataset
from syndiff.data.readers import distinct, image_content, read_image, read_mask, read_stored_mask
from syndiff.data.targets import Targets
from syndiff.data.written_masks import read_masks
from syndiff.errors import SyndiffError
from syndiff.imaging import as_shown, encode_jpeg, encode_png
from syndiff.inference.formats.opening import format_of, open_source
from syndiff.inference.formats.reading import readable
from syndiff.inference.formats.video import is_video
from syndiff.inference.serve.contours import Contours
from syndiff.reviews.events import content_shown

SECONDS, MEMORY = 60.0, 6 * 2**30
"""A file may take so long and so many bytes of address space; the largest allowed pictures need about half of each."""

SHOWN_SIDE = 4096
"""Pixels of the longer side of what a browser shows at most."""

_THUMBNAIL = 160


@dataclass(frozen=True)
class Decoded:
    """One frame of a file.

    image: HxWx3, uint8 or uint16. frame, frames: which one it is, from 1, of how many (None: only reading to the end
        would tell). name: what tells it from the others in a source of several frames, else "".
    """

    image: NDArray[np.uint8] | NDArray[np.uint16]
    frame: int
    frames: int | None
    name: str


@dataclass(frozen=True)
class DecodedCase:
    """Size of an image, its content (`readers.image_content`), and the contours of its masks."""

    width: int
    height: int
    content: str
    contours: tuple[Contours, ...]


@dataclass(frozen=True)
class ReviewedCase:
    """A picture's size, the content of its case (`Subject.content`), its mask's contour, and whether that is empty."""

    width: int
    height: int
    content: str
    contour: Contours
    empty: bool


@dataclass(frozen=True)
class BlindPicture:
    """A case as a JPEG for the eye, its size there, and the contour of its mask in its pixels."""

    jpeg: bytes
    width: int
    height: int
    contour: Contours


class Decoder:
    """Decodes files one at a time in a process that has little to lose; a new one is started where it was lost."""

    def __init__(self, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self._seconds, self._memory, self._lock = seconds, memory, threading.Lock()
        self._process: Any = None
        self._pipe: Connection | None = None

    def read(self, path: Path, frame: int | None = None) -> Decoded:
        """A frame of a file of any format but video, counted from 1; by default the middle one.

        Raises SyndiffError for a file that is damaged, unfit or beyond the limits, and for a frame that it lacks.
        """
        return self._ask(_read, path, frame)

    def thumbnail(self, path: Path) -> bytes:
        """A JPEG of the middle frame, no side longer than 160 pixels. Raises SyndiffError as `read` does."""
        return self._ask(_jpeg, path, _THUMBNAIL)

    def jpeg(self, path: Path, side: int = SHOWN_SIDE) -> bytes:
        """A JPEG of the middle frame for the eye, no side longer than `side`. Raises SyndiffError as `read` does."""
        return self._ask(_jpeg, path, side)

    def case(
        self, image: Path, masks: Sequence[Path], threshold: int | None, targets: Targets | None = None
    ) -> "DecodedCase":
        """Size and content of an image, and the contours of its masks; what is above `threshold`, or 0, is foreground.

        Of masks of several classes, `targets`, the contours are those of each. Raises SyndiffError as `read` does, and
        for a mask of another size.
        """
        return self._ask(_case, image, tuple(masks), threshold, targets or Targets())

    def reviewed(self, dataset: Dataset, case: Case, mask: Path | None = None) -> "ReviewedCase":
        """A case as a reviewer sees it; the contour is that of the corrected `mask` (0 is background) if one is given.

        Raises SyndiffError as `Dataset.load` does, and for a corrected mask of another size.
        """
        return self._ask(_reviewed, case.image, replace(dataset, cases=(case,)), case.id, mask)

    def blind(self, dataset: Dataset, case: Case, side: int) -> "BlindPicture":
        """A case whose longer side has `side` pixels at most, mask and all. Raises SyndiffError as `reviewed`."""
        return self._ask(_blind, case.image, replace(dataset, cases=(case,)), case.id, side)

    def mask(self, dataset: Dataset, case: Case) -> bytes:
        """The mask of a case as a grey PNG of 0 and 255, as large as the picture. Raises SyndiffError as `reviewed`."""
        return self._ask(_mask, case.image, replace(dataset, cases=(case,)), case.id)

    def drawn_mask(self, path: Path, shape: tuple[int, int] | None) -> NDArray[np.bool_]:
        """A mask (HxW) that was drawn on the page: a grey PNG of 0 and 255, of this height and width, if given.

        Raises SyndiffError for anything else.
        """
        return self._ask(_drawn_mask, path, shape)

    def start(self) -> None:
        """Start the process, so that the first file need not wait for it."""
        with self._lock:
            self._running()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _ask(self, work: Callable[..., Any], path: Path, *more: Any) -> Any:
        with self._lock:
            pipe = self._running()
            try:
                pipe.send((work, path, *more))
                if not pipe.poll(self._seconds):
                    self._end()
                    raise SyndiffError(f"{path} takes longer than {self._seconds:.0f} s to read; save it as a PNG.")
                good, answer = pipe.recv()
            except (EOFError, OSError):  # it crashed, or the system took its memory
                self._end()
                raise SyndiffError(
                    f"{path} is damaged: its decoder broke off; copy it again, or save it as PNG."
                ) from None
        if not good:
            raise SyndiffError(answer)
        return answer

    def _running(self) -> Connection:
        if self._pipe is None or not self._process.is_alive():
            self._end()
            context = multiprocessing.get_context("spawn")
            self._pipe, other = context.Pipe()
            self._process = context.Process(target=_serve, args=(other, self._memory), daemon=True)
            self._process.start()
            other.close()
        return self._pipe

    def _end(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
            self._process.kill()
            self._process.join()
            self._process.close()
            self._pipe = self._process = None


def _serve(pipe: Connection, memory: int) -> None:
    """The process: answers until the server is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's, which ends this one
    _limit(memory)
    with contextlib.suppress(EOFError, OSError):
        while True:
            work, path, *more = pipe.recv()
            try:
                answer = (True, work(path, *more))
            except SyndiffError as error:
                answer = (False, str(error))
            except MemoryError:
                answer = (False, f"{path} does not fit into memory; scale it down.")
            pipe.send(answer)


def _limit(memory: int) -> None:
    """No more memory than that, no file written, no image of the memory left by a crash."""
    try:
        import resource
    except ImportError:  # Windows has none of it
        return
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for kind, most in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (most, resource.getrlimit(kind)[1]))
    os.environ["OMP_NUM_THREADS"] = "1"


def _read(path: Path, frame: int | None) -> Decoded:
    if is_video(path):
        raise SyndiffError(f"{path} is a video, which this page does not read; use syndiff predict.")
    if format_of(path) is None:
        raise SyndiffError(f"{path} is of no known kind; expected PNG, JPEG, TIFF, BMP, WebP, DICOM or NIfTI.")
    with readable(path):
        source = open_source(path)
        count = source.frame_count
        wanted = frame or (count or 1) // 2 + (count or 1) % 2
        if wanted < 1 or (count is not None and wanted > count):
            raise SyndiffError(f"{path} has {count} frames, not a frame {wanted}.")
        for number, found in enumerate(itertools.islice(source.frames(), wanted), 1):
            if number == wanted:
                return Decoded(found.image, wanted, count, found.name)
        raise SyndiffError(f"{path} has fewer than {wanted} frames.")


def _jpeg(path: Path, side: int) -> bytes:
    return encode_jpeg(shrunk(_read(path, None).image, side))


def _case(path: Path, masks: tuple[Path, ...], threshold: int | None, targets: Targets) -> DecodedCase:
    image = read_image(path)
    height, width = image.shape[:2]
    contours = []
    for each in masks:
        found = read_masks(each, targets) if targets.several else read_mask(each, threshold)[None]
        if found.shape[1:] != (height, width):
            raise SyndiffError(
                f"{each.name} is {found.shape[2]}x{found.shape[1]} (width x height), but its image {width}x{height}; "
                "it belongs to another image."
            )
        contours.append(Contours.of(found, targets))
    return DecodedCase(width, height, image_content(image), tuple(contours))


def _reviewed(path: Path, dataset: Dataset, case_id: str, corrected: Path | None) -> ReviewedCase:
    targets, (image, masks) = dataset.told_apart, dataset.load_classes(dataset[case_id])
    content, (_, height, width) = content_shown(image, masks, targets), masks.shape
    if corrected is not None:
        targets, masks = Targets(), read_mask(corrected, None)[None]
        if masks.shape[1:] != (height, width):
            raise SyndiffError(f"{corrected} is no corrected mask of {path}: it has another size; correct it again.")
    return ReviewedCase(width, height, content, Contours.of(masks, targets), not masks.any())


def _blind(path: Path, dataset: Dataset, case_id: str, side: int) -> BlindPicture:
    image, masks = dataset.load_classes(dataset[case_id])
    picture = shrunk(image, side)
    height, width = picture.shape[:2]
    small = [np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)) for mask in masks]
    return BlindPicture(encode_jpeg(picture), width, height, Contours.of(np.stack(small), dataset.told_apart))


def _mask(path: Path, dataset: Dataset, case_id: str) -> bytes:
    return encode_png(dataset.load(dataset[case_id])[1])


def _drawn_mask(path: Path, shape: tuple[int, int] | None) -> NDArray[np.bool_]:
    try:
        with Image.open(path, formats=["PNG"]) as opened:  # reads no pixels
            width, height = opened.size
    except Image.DecompressionBombError:
        raise SyndiffError(f"{path} has more pixels than any picture may have; reload the page.") from None
    except (OSError, ValueError, SyntaxError):
        raise SyndiffError(f"{path} is no PNG file; reload the page and save again.") from None
    if shape is not None and (height, width) != shape:
        raise SyndiffError(
            f"{path} is {width}x{height} (width x height), but its picture {shape[1]}x{shape[0]}; reload the page."
        )
    stored = read_stored_mask(path)
    if stored.orientation != 1 or stored.values.dtype != np.uint8 or set(distinct(stored.values)) - {0, 255}:
        raise SyndiffError(f"{path} holds other numbers than 0 and 255, or is turned; reload the page and save again.")
    return np.asarray(stored.values > 0)


def shrunk(image: NDArray[np.uint8] | NDArray[np.uint16], side: int) -> NDArray[np.uint8]:
    """An image in 8 bits for the eye, no side longer than `side`; a smaller one keeps its size."""
    shown = as_shown(image)
    height, width = shown.shape[:2]
    if max(height, width) <= side:
        return shown
    by = side / max(height, width)
    size = max(1, round(width * by)), max(1, round(height * by))
    return np.asarray(Image.fromarray(shown).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))


def renamed(error: SyndiffError, path: Path, name: str) -> SyndiffError:
    """The same sentence with the name that the user knows."""
    return SyndiffError(str(error).replace(str(path), name))
