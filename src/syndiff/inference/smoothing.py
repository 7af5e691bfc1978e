"""Masks of a video that do not flicker: answers averaged over time, and no longer than the picture stays the same."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from syndiff.errors import SyndiffError
from syndiff.models.predictor import Prediction

SECONDS = 0.1
"""The time over which a video is averaged where nobody says otherwise; chosen on validation videos (results/video)."""

CUT = 0.2
"""The `change` from which a frame has nothing to do with the one before it. Neighbours in colonoscopies move by less
than 0.1; frames of two of them differ by more than 0.26."""

_SIDE = 32


class Smoothing:
    """Averages the answers to the frames of one video.

    p = w probability + (1 - w) (p of the frame before), where w is 1 - exp(-dt / seconds) for a frame dt seconds later,
    or change / CUT where that is more, and at most 1. So a picture that stands still is averaged over about `seconds`,
    one that moves over less, and after a cut the new frame answers alone.

    A wide contour is that of the frame itself, joined with the new mask: it misses no more than before.

    Raises SyndiffError unless `seconds` is 0 (no averaging) to 10.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        if not 0 <= seconds <= 10:
            raise SyndiffError(f"a video is averaged over 0 to 10 seconds; found {seconds}. 0 leaves it as it is.")
        self.seconds = seconds
        self._thumbnail: NDArray[np.float32] | None = None
        self._average: NDArray[np.float32] = np.empty((0, 0), np.float32)
        self._time = 0.0

    def smooth(self, image: NDArray[np.uint8], time: float, answer: Prediction) -> Prediction:
        """The answer to the next frame, HxWx3 and shown at `time` seconds, with what the frames before it told."""
        if self.seconds == 0:
            return answer
        before, self._thumbnail = self._thumbnail, thumbnail(image)
        weight = 1.0
        if before is not None and self._average.shape == answer.probability.shape:
            settled = 1 - math.exp(-max(0.0, time - self._time) / self.seconds)
            weight = min(1.0, max(settled, change(before, self._thumbnail) / CUT))
        self._time = time
        if weight == 1:
            self._average = answer.probability
            return answer
        self._average = self._average + np.float32(weight) * (answer.probability - self._average)
        mask = self._average > np.float32(0.5)
        wide = None if answer.wide is None else answer.wide | mask
        return replace(answer, mask=mask, probability=self._average, wide=wide)


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What `change` compares: a picture HxWx3 in 32x32 grey values, 0 to 255."""
    small = Image.fromarray(image).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    return np.asarray(small.convert("L"), np.float32)


def change(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """How far two thumbnails differ: their mean difference over the spread of their values; 0 for the same picture."""
    spread = np.stack([before, after]).std() + 1  # a grey value: black frames are alike
    return float(np.abs(after - before).mean() / spread)
