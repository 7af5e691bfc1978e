"""Which gates apply, and how strictly."""

from dataclasses import dataclass
from typing import Annotated, Literal

from syndiff.bounds import Bounds, Section
from syndiff.errors import SyndiffError

_Quantile = Annotated[float, Bounds(0, 0.5, above=True, below=True)]
PIXEL_GATES = ("seam", "sharpness", "noise", "contrast", "near_copy")
"""The gates that need nothing but the training cases."""


@dataclass(frozen=True, kw_only=True)
class GatesSettings(Section):
    """Settings of the gates. Every bound is a quantile of the same score on real lesions.

    Attributes:
        mode: "on" refuses samples out of bounds, "report" only scores them, "off" checks technical failures alone.
        checks: which of seam, sharpness, noise, contrast and near_copy to apply.
        quantile: share of real lesions that each gate would refuse.
        agreement_quantile: the same share for the agreement with a segmenter, which misses some real lesions.
        segmenter: run folder of a segmenter trained on real cases for the gate `agreement`; empty leaves it out.
        text_model: folder of a CLIP-like model for the gate `text_image`; empty leaves it out.
    """

    section = "gates"

    mode: Literal["on", "report", "off"] = "on"
    checks: tuple[str, ...] = PIXEL_GATES
    quantile: _Quantile = 0.02
    agreement_quantile: _Quantile = 0.1
    segmenter: str = ""
    text_model: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [name for name in self.checks if name not in PIXEL_GATES]
        if unknown or len(set(self.checks)) < len(self.checks):
            raise SyndiffError(
                f"gates settings: checks is {', '.join(self.checks)}; expected each at most once of "
                f"{', '.join(PIXEL_GATES)} (agreement and text_image are added by segmenter and text_model)."
            )
        if self.mode == "off" and (self.segmenter or self.text_model):
            raise SyndiffError(
                f"gates settings: segmenter={self.segmenter!r} and text_model={self.text_model!r} have no effect "
                "while mode is off; leave them out or set mode to on or report."
            )
