"""Video, read: every frame upright and with its exact time, a few in memory, and a word for what is damaged."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from syndiff.data.decoding import MAX_PIXELS
from syndiff.errors import SyndiffError
from syndiff.files import check_regular
from syndiff.inference.formats.base import Incomplete, Source
from syndiff.inference.formats.video_writer import VideoFrame, VideoWriter

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame as Decoded
    from av.video.stream import VideoStream

SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg"})

_OPTIONS = {
    # A playlist under the name of a video would have FFmpeg fetch what it lists, from anywhere.
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo",
    "protocol_whitelist": "file",
}
_STATES_ITS_END = ("mov", "matroska", "avi")  # others give an estimate
_TOLERANCE = 0.5  # seconds by which a video may end before its stated end
_MEND = "copy or export the video again"


def is_video(path: Path) -> bool:
    """Whether the name of `path` is that of a video; nothing is read."""
    return path.suffix.lower() in SUFFIXES


class VideoSource(Source):
    """A video file, decoded by FFmpeg's libraries (PyAV); its sound and its metadata are not read.

    Raises SyndiffError for a file that cannot be opened, that has no video, or that has more pixels than are read, and
    ModuleNotFoundError without PyAV.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with _opened(path) as (_, stream):
            self._stated = stream.frames
            self._rate = stream.average_rate or stream.guessed_rate or Fraction(25)
            self._pixel_aspect = stream.sample_aspect_ratio or Fraction(1)
            _check_size(path, stream.codec_context.width, stream.codec_context.height)

    @property
    def frame_count(self) -> int | None:
        """What the file states (a cut one holds less, an edited one shows less); None where it states nothing."""
        return self._stated or None

    def frames(self) -> Iterator[VideoFrame]:
        """The frames, upright. Raises `Incomplete` behind the last one where a part is damaged or missing.

        So it does at a frame of another size, since a video of masks has one size.
        """
        with _opened(self.path) as (container, stream), _complaints(stream) as complaints:
            damage = _Damage.of(container)
            size, last, number = (0, 0), -1, 0
            for number, decoded in enumerate(_decoded(container, stream, damage), 1):
                found = decoded.width, decoded.height
                _check_size(self.path, *found)
                size = size if number > 1 else found
                if found != size:
                    raise Incomplete(
                        f"{self.path}: frame {number} has {found[0]}x{found[1]} pixels and those before it "
                        f"{size[0]}x{size[1]}. Those before it were predicted; cut the video where its size changes."
                    )
                damage.frames += decoded.is_corrupt
                frame = self._frame(decoded, stream, number, last)
                last = frame.pts
                yield frame
            damage.complaints = complaints()
        damage.judge(self.path, number)

    def writer(self, folder: Path, name: str) -> VideoWriter:
        """`name`.mp4, the video with contours, and `name`.masks.mkv, the masks without loss."""
        return VideoWriter(folder, name, self._rate)

    def _frame(self, decoded: "Decoded", stream: "VideoStream", number: int, last: int) -> VideoFrame:
        """A frame with its time in whole units of one over the denominator of the stream's time base."""
        base = decoded.time_base or stream.time_base or 1 / self._rate
        pts = decoded.pts if decoded.pts is not None else decoded.dts
        duration = max(0, (decoded.duration or 0) * base.numerator) or round(base.denominator / self._rate)
        # Where the file has no time for a frame, or one that falls back, the frame follows the one before it.
        time = last + 1 if pts is None else max(last + 1, pts * base.numerator)
        image, turned = _upright(decoded)
        return VideoFrame(
            image=image,
            name=f"{number:06d}",
            seconds=time / base.denominator,
            pts=time,
            duration=duration,
            time_base=Fraction(1, base.denominator),
            pixel_aspect=1 / self._pixel_aspect if turned else self._pixel_aspect,
            interlaced=decoded.interlaced_frame,
        )


@dataclass
class _Damage:
    """What was found wrong with a video so far: parts that FFmpeg refused, frames that it mended, the end reached.

    complaints: errors that its decoder logged; some of them it hides behind neighbouring pixels and says nothing else.
    """

    stated_end: float
    reached: float = 0.0
    parts: int = 0
    frames: int = 0
    complaints: int = 0

    @classmethod
    def of(cls, container: "InputContainer") -> "_Damage":
        """Nothing yet, and the end that the file states, in seconds."""
        states = container.duration and container.format.name.startswith(_STATES_ITS_END)
        return cls(((container.start_time or 0) + (container.duration or 0)) / 1e6 if states else 0.0)

    def judge(self, path: Path, count: int) -> None:
        """Raise SyndiffError for a video of which no frame was read, and `Incomplete` for one that lacks some."""
        if count == 0:
            raise SyndiffError(f"{path} holds no frame that can be read; {_MEND}.")
        found = []
        if self.stated_end - self.reached > _TOLERANCE:
            found.append(f"it ends at {self.reached:.1f} of {self.stated_end:.1f} seconds")
        if self.parts:
            found.append(f"packets that cannot be decoded: {self.parts}")
        if self.frames:
            found.append(f"damaged frames: {self.frames}")
        if self.complaints and not found:
            found.append(f"errors that the decoder met: {self.complaints}")
        if found:
            raise Incomplete(
                f"{path} is cut off or damaged: {'; '.join(found)}. The frames that can be read ({count}) were "
                f"predicted; for the others, {_MEND}."
            )


@contextmanager
def _complaints(stream: "VideoStream") -> Iterator[Callable[[], int]]:
    """How many errors the decoder of a stream has logged so far, from whatever thread."""
    import av.logging

    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture(local=False) as logs:
            yield lambda: sum(of == stream.codec_context.name and at <= av.logging.ERROR for at, of, _ in logs)
    finally:
        av.logging.set_level(level)


@contextmanager
def _opened(path: Path) -> Iterator[tuple["InputContainer", "VideoStream"]]:
    """A file and its video stream. Raises SyndiffError for one that has none."""
    import av

    check_regular(path)
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise SyndiffError(f"{path} does not exist.") from None
    except PermissionError:
        raise SyndiffError(f"{path} may not be read; give yourself read permission.") from None
    with file:  # given a name, FFmpeg might take a part of it for a protocol
        try:
            container = av.open(file, mode="r", options=_OPTIONS, metadata_errors="replace")
        except (av.FFmpegError, ValueError, OSError) as error:
            told = getattr(error, "strerror", None) or type(error).__name__
            raise SyndiffError(
                f"{path} cannot be opened as a video ({told}): it is damaged, was cut off before its index was "
                "written, or is of another kind. Copy it again, or export it as MP4 with H.264."
            ) from None
        with container:
            videos = [each for each in container.streams.video if not each.disposition & each.disposition.attached_pic]
            if not videos:
                kinds = ", ".join(sorted({each.type for each in container.streams})) or "nothing"
                raise SyndiffError(f"{path} holds no video (it holds: {kinds}); give a file with one.")
            best = container.streams.best("video")
            stream = next((each for each in videos if each is best), videos[0])
            if stream.codec_context is None:
                raise SyndiffError(
                    f"{path}: this build of PyAV has no decoder for its video; export it as MP4 with H.264."
                )
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # for sizes that change on the way
            yield container, stream


def _decoded(container: "InputContainer", stream: "VideoStream", damage: _Damage) -> Iterator["Decoded"]:
    """The frames of a stream; what cannot be decoded is counted, and the next that can is given."""
    import av

    packets = container.demux()  # of all streams: sound may well end after the video
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            time = packet.pts if packet.pts is not None else packet.dts
            if time is not None and packet.time_base is not None:
                damage.reached = max(damage.reached, float((time + (packet.duration or 0)) * packet.time_base))
            decoded = stream.decode(packet) if packet.stream is stream else []
        except (av.FFmpegError, OSError):
            damage.parts += 1
            continue
        yield from decoded


def _upright(decoded: "Decoded") -> tuple[NDArray[np.uint8], bool]:
    """A frame as HxWx3, turned and mirrored as its display matrix says, and whether its sides were exchanged.

    The matrix takes column p and row q to a p + c q and b p + d q; it is read to the nearest quarter turn.
    """
    from av.sidedata.sidedata import Type

    image = decoded.to_ndarray(format="rgb24", threads=1)
    side_data: Any = decoded.side_data
    matrix = side_data.get(Type.DISPLAYMATRIX)
    turned = False
    if matrix is not None:
        a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
        turned = abs(b) > abs(a)
        if turned:
            image, a, d = image.swapaxes(0, 1), c, b
        image = image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    return np.ascontiguousarray(image), turned


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise SyndiffError(
            f"{path} has frames of {width}x{height} pixels, more than the {MAX_PIXELS:,} that are read; scale it down."
        )
