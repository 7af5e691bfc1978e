"""What every format gives and takes: frames one after another, and an answer for each."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from numpy.typing import NDArray

from syndiff.errors import SyndiffError
from syndiff.models.predictor import Prediction


class Incomplete(SyndiffError):
    """Raised by `Source.frames` after the last frame that could be read: a part of the source is lost.

    The answers so far are worth keeping: `finish` their writer, and name the problem. After any other SyndiffError
    `abandon` it.
    """


@dataclass(frozen=True)
class Frame:
    """One picture of a source.

    image: HxWx3, uint8 or uint16, upright as a viewer shows it.
    name: "" where the source holds one picture, else what tells it from the others ("0001"): part of the case's id and
        of names of files.
    spacing: millimetres between the centres of two rows and of two columns; None where the source does not say.
    seconds: when a video shows it; None elsewhere.
    """

    image: NDArray
    name: str = ""
    spacing: tuple[float, float] | None = None
    seconds: float | None = None


class Source(ABC):
    """One input file, opened for reading. A damaged or unfit one raises SyndiffError: at once, or at the frame.

    One that breaks off after some good frames raises `Incomplete` behind them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    @abstractmethod
    def frame_count(self) -> int | None:
        """How many frames there are; None where only reading tells."""

    @abstractmethod
    def frames(self) -> Iterator[Frame]:
        """The frames in order, each read when it is asked for: no more than a few are in memory."""

    @abstractmethod
    def writer(self, folder: Path, name: str) -> "Writer":
        """What writes the answers to this source as files of `folder` whose names begin with `name`."""


class Writer(ABC):
    """Writes the answers to one source. Files appear whole under their names, and only with `finish`."""

    @abstractmethod
    def add(self, frame: Frame, answer: Prediction) -> None:
        """Take the answer to the next frame."""

    @abstractmethod
    def finish(self) -> list[Path]:
        """Bring the files to their names and return these. Raises SyndiffError where one cannot be written."""

    @abstractmethod
    def abandon(self) -> None:
        """Leave nothing behind: the source broke in the middle, or somebody pressed Ctrl-C."""

    @property
    def remarks(self) -> list[str]:
        """Sentences about what was not written and why, such as a DICOM SEG that its source does not allow."""
        return []
