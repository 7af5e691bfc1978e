"""What every segmenter looks like from outside: an image in, a mask and the seconds of each stage out."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True)
class Prediction:
    """A segmenter's answer for one image, at the size of that image.

    mask: HxW bool, True = lesion.
    probability: HxW float32 in [0, 1].
    seconds: wall time of each stage in the order the stages ran, for example
        preprocess, encode, denoise, decode, postprocess.

    >>> answer = syndiff.load("runs/mine").predict(image)
    >>> bool(0 <= answer.probability.min() <= answer.probability.max() <= 1)
    True
    """

    mask: NDArray[np.bool_]
    probability: NDArray[np.float32]
    seconds: dict[str, float]


class Predictor(Protocol):
    """Anything that segments one image; evaluation, timing, report and deployment know no more than this."""

    @property
    def name(self) -> str:
        """How tables and files call this predictor."""

    def predict(self, image: NDArray, *, case_id: str) -> Prediction:
        """Segment `image` (HxWx3, uint8 or uint16, any size).

        Any noise is seeded by (the predictor's seed, `case_id`): a case gets the same answer whatever
        was predicted before it.
        """


class StageClock:
    """Seconds spent in the named stages of one prediction; a stage entered again adds up.

    On a CUDA device the clock waits for the queued kernels before it reads the time, on both sides of
    the stage: without that, the time of a stage is only the time of launching it.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._cuda = device if device is not None and device.type == "cuda" else None
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body of a `with` statement under `name`."""
        start = self._now()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + self._now() - start

    def _now(self) -> float:
        if self._cuda is not None:
            torch.cuda.synchronize(self._cuda)
        return time.perf_counter()
