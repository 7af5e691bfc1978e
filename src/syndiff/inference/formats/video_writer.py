"""Video, written: the contours as H.264 for the eye, the masks as FFV1 without loss, each frame at its own time."""

from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from syndiff.errors import SyndiffError
from syndiff.files import GrowingFile
from syndiff.inference.formats.base import Frame, Writer
from syndiff.inference.overlay import draw_answer
from syndiff.models.predictor import Prediction

if TYPE_CHECKING:
    from av.video.frame import VideoFrame as Picture

# Without B-frames no packet waits for a later one: times are carried as they are.
_H264 = {"preset": "veryfast", "crf": "20", "bf": "0"}
_BT709, _LIMITED_RANGE = 1, 1  # FFmpeg's numbers


@dataclass(frozen=True)
class VideoFrame(Frame):
    """A frame of a video with its exact place in time.

    image: HxWx3 uint8, turned as its file says, at the number of pixels that it stores.
    pts, duration: it is shown from `pts` times `time_base` seconds on, for `duration` such units; `pts` rises.
    time_base: one over a whole number, in seconds.
    pixel_aspect: the width of a pixel over its height.
    interlaced: whether it is made of two half pictures.
    """

    pts: int = 0
    duration: int = 1
    time_base: Fraction = Fraction(1, 1000)
    pixel_aspect: Fraction = Fraction(1)
    interlaced: bool = False


class VideoWriter(Writer):
    """Writes `name`.mp4 and `name`.masks.mkv from the answers to the frames of one `VideoSource`.

    rate: frames a second, with which the encoder plans.
    """

    def __init__(self, folder: Path, name: str, rate: Fraction) -> None:
        self._shown, self._masks = folder / f"{name}.mp4", folder / f"{name}.masks.mkv"
        self._rate = rate
        self._tracks: list[_Track] = []
        self._interlaced = False

    def add(self, frame: Frame, answer: Prediction) -> None:
        """Take the answer to the next frame. Raises OSError (disk full), after which to `abandon`."""
        assert isinstance(frame, VideoFrame), "a VideoSource gives them"
        if not self._tracks:
            self._open(frame)
        self._interlaced |= frame.interlaced
        labels = answer.byte_labels(f"{self._masks}, the masks of a video,")
        for track, picture in zip(self._tracks, (_even(draw_answer(frame.image, answer)), labels), strict=True):
            track.add(picture, frame)

    def finish(self) -> list[Path]:
        """End both files and bring them to their names. Raises OSError, after which to `abandon`."""
        for track in self._tracks:
            track.end()
        return [track.keep() for track in self._tracks]

    def abandon(self) -> None:
        """Remove what was written."""
        for track in self._tracks:
            track.abandon()

    @property
    def remarks(self) -> list[str]:
        """That the frames are interlaced, if they are."""
        if not self._interlaced:
            return []
        return [
            f"{self._shown.stem}: the video is interlaced, so things that move are combs in its frames and masks are "
            "less sure; deinterlace it for better ones."
        ]

    def _open(self, first: VideoFrame) -> None:
        height, width = first.image.shape[:2]
        even = width + width % 2, height + height % 2
        self._tracks.append(_Track(self._shown, "mp4", "libx264", "yuv420p", even, self._rate, first))
        self._tracks.append(_Track(self._masks, "matroska", "ffv1", "gray", (width, height), self._rate, first))


class _Track:
    """One file with one video stream, under a temporary name until it is kept."""

    def __init__(
        self,
        path: Path,
        container: str,
        codec: str,
        pixels: str,
        size: tuple[int, int],
        rate: Fraction,
        first: VideoFrame,
    ) -> None:
        import av

        self._pixels = pixels
        self._file = GrowingFile(path)
        try:
            # Matroska counts milliseconds, MP4 whatever it is told: in the track, and for a start after zero.
            scale = str(first.time_base.denominator)
            times = {"movie_timescale": scale, "video_track_timescale": scale} if container == "mp4" else {}
            self._container = av.open(self._file.file, mode="w", format=container, container_options=times)
            stream: Any = self._container.add_stream(codec, rate=rate, options=_H264 if codec == "libx264" else {})
        except av.FFmpegError as error:
            self._file.abandon()
            raise SyndiffError(
                f"{path} cannot be written: this build of PyAV has no encoder {codec} ({error}); install PyAV's own "
                "wheel: pip install --force-reinstall av."
            ) from None
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        stream.codec_context.sample_aspect_ratio = first.pixel_aspect
        stream.codec_context.time_base = stream.time_base = first.time_base
        if codec == "libx264":
            stream.codec_context.colorspace = stream.codec_context.color_primaries = _BT709
            stream.codec_context.color_trc, stream.codec_context.color_range = _BT709, _LIMITED_RANGE
        self._stream = stream
        self._durations: dict[int, int] = {}  # of the frames in the encoder, by pts; encoders forget them

    def add(self, image: NDArray[np.uint8], frame: VideoFrame) -> None:
        """Encode a picture, HxW grey or HxWx3, at the time of `frame`."""
        picture = self._picture(image)
        picture.pts, picture.time_base, picture.duration = frame.pts, frame.time_base, frame.duration
        self._durations[frame.pts] = frame.duration
        self._encode(picture)

    def end(self) -> None:
        """Encode what is left and end the file."""
        self._encode(None)
        with self._file.named():
            self._container.close()

    def keep(self) -> Path:
        """Bring the file to its name."""
        with self._file.named():
            self._file.finish()
        return self._file.path

    def abandon(self) -> None:
        """Remove the file."""
        with suppress(Exception):  # a full disk, perhaps again
            self._container.close()
        self._file.abandon()

    def _picture(self, image: NDArray[np.uint8]) -> "Picture":
        from av.video.frame import VideoFrame as Picture
        from av.video.reformatter import ColorRange, Colorspace

        if self._pixels == "gray":
            return Picture.from_ndarray(image, format="gray")
        return Picture.from_ndarray(image, format="rgb24").reformat(
            format=self._pixels, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG, threads=1
        )

    def _encode(self, picture: "Picture | None") -> None:
        import av

        with self._file.named():
            try:
                for packet in self._stream.encode(picture):
                    packet.duration = self._durations.pop(packet.pts, 0)
                    self._container.mux(packet)
            except av.error.ExternalError as error:
                raise SyndiffError(
                    f"{self._file.path}: the encoder {self._stream.codec_context.name} refuses frames of "
                    f"{self._stream.width}x{self._stream.height} pixels ({error}); scale the video."
                ) from None


def _even(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture whose sides are even, as H.264 wants them: the last row and column are repeated."""
    height, width = image.shape[:2]
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge") if height % 2 or width % 2 else image
