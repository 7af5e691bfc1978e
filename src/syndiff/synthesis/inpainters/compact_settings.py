"""How the compact inpainter paints; which one it is belongs to `SynthesisSettings`."""

from dataclasses import dataclass
from typing import Literal

from syndiff.errors import SyndiffError


@dataclass(frozen=True, kw_only=True)
class CompactSettings:
    """Settings of the inpainter "compact".

    Attributes:
        steps: DDIM steps.
        guidance_scale: of classifier-free guidance: 1 is none, above it the caption is followed more closely, at twice
            the cost.
        temperature: factor on the noise that sampling starts from; 1 is the model's own distribution, below it lesions
            are plainer and fewer look wrong.
        strength: share of the steps that are taken, and of the noise that a new lesion begins with. At 1 that is noise
            alone. Below it painting begins with a real lesion, the one whose shape is taken, blended into the frame: it
            keeps that one's form and light, the more the lower, and turns its surface and colours into its own. Where
            lesions are removed it is 1.
        detail: "painted", or "real": edges, folds and highlights of a lesion stay those of a real one, the one whose
            shape is taken, and what is painted is its colours and shading. Such lesions are near copies on purpose, so
            no gate looks for copies. Where lesions are removed it is "painted".
        batch_size: samples painted at once. It can change the last bit of a sample, no more.
    """

    steps: int = 25
    guidance_scale: float = 1.5
    temperature: float = 0.8
    strength: float = 1.0
    detail: Literal["painted", "real"] = "painted"
    batch_size: int = 8

    def __post_init__(self) -> None:
        for setting, value, fits, expected in (
            ("steps", self.steps, self.steps >= 1, "1 or more"),
            ("guidance_scale", self.guidance_scale, self.guidance_scale >= 0, "0 or more"),
            ("temperature", self.temperature, 0 < self.temperature <= 2, "above 0, at most 2"),
            ("strength", self.strength, 0.1 <= self.strength <= 1, "0.1 to 1"),
            ("detail", self.detail, self.detail in ("painted", "real"), "painted or real"),
            ("batch_size", self.batch_size, self.batch_size >= 1, "1 or more"),
        ):
            if not fits:
                raise SyndiffError(f"compact: {setting} is {value}; expected {expected}.")
