"""What a user may choose about predicting."""

from dataclasses import dataclass
from typing import Literal

from syndiff.models.settings import Refine

EngineName = Literal["auto", "torch", "onnx", "openvino"]
"""What computes a trained network; "auto" takes what is fastest here."""

SMOOTH_SECONDS = 0.1
"""Over which a video is averaged where nobody says otherwise; chosen on validation clips (results/video)."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a model predicts, and what is written.

    timestep, steps, tta: replace the model's own where they are not None; seed: of the noise.
    refine: whether lesions get a second look (`models.settings.Refine`).
    smooth: seconds over which the answers to a video are averaged (`smoothing.Smoothing`); 0: not at all.
    probability, overlay: whether a map of probabilities, and a picture with contours, is written for each frame.
    """

    engine: EngineName = "auto"
    timestep: int | None = None
    steps: int | None = None
    tta: int | None = None
    seed: int = 0
    refine: Refine = "none"
    smooth: float = SMOOTH_SECONDS
    probability: bool = False
    overlay: bool = False

    @property
    def extras(self) -> frozenset[str]:
        """What is written beside masks."""
        return frozenset(name for name in ("probability", "overlay") if getattr(self, name))
