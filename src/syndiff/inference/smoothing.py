"""Masks of a video that do not flicker: answers averaged over time, and no longer than the picture stays the same."""

import math
from collections import deque
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from syndiff.errors import SyndiffError
from syndiff.inference.formats.base import Frame
from syndiff.inference.options import SMOOTH_SECONDS
from syndiff.models.predictor import Prediction

AHEAD = 3
"""Frames after a frame that its average looks at. With none, masks trail behind what moves."""

CUT = 0.2
"""The `change` from which a frame has nothing to do with the one before it.

Neighbours in a moving colonoscopy differ by less than 0.1, frames of two colonoscopies by more than 0.26.
"""

_SIDE = 32
_LONGEST = 10.0


class Smoothing:
    """Averages the answers to the frames of one video.

    The probabilities of a frame become a weighted mean of its own, of those of all frames before and of `ahead` frames
    after it. From one frame to the next a weight falls by exp(-dt / seconds) (1 - change / CUT): the more, the later it
    is shown and the more the picture changes. Nothing passes a cut. So answers come out `ahead` frames late.

    A wide contour is that of the frame itself, joined with the new mask: it misses no more than before.

    Raises SyndiffError unless `seconds` is 0, for answers as they are, to 10.
    """

    def __init__(self, seconds: float = SMOOTH_SECONDS, *, ahead: int = AHEAD) -> None:
        if not 0 <= seconds <= _LONGEST:
            raise SyndiffError(
                f"A video can be averaged over 0 to {_LONGEST:g} seconds, found {seconds}; 0 leaves it as it is."
            )
        self.seconds, self.ahead = seconds, ahead
        self._waiting: deque[_Waiting] = deque()
        self._last: tuple[NDArray[np.float32], float] | None = None
        self._sum, self._weight = np.zeros(1, np.float32), 0.0  # over the frames that are out

    def add(self, frame: Frame, answer: Prediction) -> list[tuple[Frame, Prediction]]:
        """Take the next frame and what it alone answers; give the frames that are ready, and their new answers."""
        if self.seconds == 0:
            return [(frame, answer)]
        shown = thumbnail(frame.image), frame.seconds or 0.0
        kept = 0.0
        if self._last is not None:
            (before, earlier), (after, time) = self._last, shown
            kept = math.exp(-max(0.0, time - earlier) / self.seconds) * max(0.0, 1 - change(before, after) / CUT)
        self._last = shown
        self._waiting.append(_Waiting(frame, answer, kept))
        return [self._next()] if len(self._waiting) > self.ahead else []

    def rest(self) -> list[tuple[Frame, Prediction]]:
        """The frames that still wait: the video has ended, or broken off."""
        return [self._next() for _ in range(len(self._waiting))]

    def _next(self) -> tuple[Frame, Prediction]:
        frame, answer, kept = self._waiting.popleft()
        own = answer.probabilities
        self._sum = own + np.float32(kept) * self._sum if kept else own
        self._weight = 1 + kept * self._weight
        later, weight = np.zeros(1, np.float32), 0.0
        for each in reversed(self._waiting):
            later = np.float32(each.kept) * (each.answer.probabilities + later)
            weight = each.kept * (1 + weight)
        if self._weight + weight == 1:
            return frame, answer
        probability = np.minimum((self._sum + later) / np.float32(self._weight + weight), np.float32(1))
        found = Prediction.of(probability, answer.targets, answer.seconds)
        new = replace(answer, mask=found.mask, probability=found.probability, by_class=found.by_class)
        return frame, new.with_wides(answer.wides)


class _Waiting(NamedTuple):
    """kept: what is left of a weight on the way from the frame before it to this one, 0 to 1."""

    frame: Frame
    answer: Prediction
    kept: float


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What `change` compares: a picture HxWx3 in 32x32 grey values, 0 to 255."""
    small = Image.fromarray(image).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    return np.asarray(small.convert("L"), np.float32)


def change(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """How far two thumbnails differ: their mean difference over the spread of their values; 0 for the same picture."""
    spread = np.stack([before, after]).std() + 1  # a grey value: black frames are alike
    return float(np.abs(after - before).mean() / spread)
