"""Small videos as other programs make them, and what is in a video."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av")

STEADY = tuple(range(0, 12 * 512, 512))  # of 1/12800 second: 25 frames a second
VARIABLE = (1000, 4000, 4100, 9001, 20000, 20090)  # of 1/90000 second, and not from zero


def pictures(count: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Frames that differ from each other and from all their turns: a grey that rises and a red corner."""
    frames = np.empty((count, height, width, 3), np.uint8)
    frames[:] = (20 + 15 * np.arange(count, dtype=np.uint8))[:, None, None, None]
    frames[:, : height // 3, : width // 4] = (255, 0, 0)
    frames[:, : height // 6, : width // 2] = (0, 0, 255)
    return frames


def write_video(
    path: Path, frames, pts=STEADY, base=Fraction(1, 12800), *, codec="libx264", pixels="yuv420p", turn=None, **options
) -> Path:
    """A video as another program might have made it."""
    container = av.open(str(path), "w", container_options=options)
    stream = container.add_stream(codec, rate=25)
    stream.height, stream.width = frames[0].shape[:2]
    stream.pix_fmt = pixels
    stream.codec_context.time_base = stream.time_base = base
    if turn:
        stream.set_display_rotation(turn[0], hflip=turn[1])
    for image, time in zip(frames, pts, strict=False):
        picture = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixels)
        picture.pts, picture.time_base = time, base
        container.mux(stream.encode(picture))
    container.mux(stream.encode(None))
    container.close()
    return path


def decoded(path: Path, pixels: str) -> tuple[list[Fraction], list[np.ndarray]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return [frame.pts * frame.time_base for frame in frames], [frame.to_ndarray(format=pixels) for frame in frames]
