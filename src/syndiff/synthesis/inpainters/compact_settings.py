"""How the compact inpainter paints; which one it is belongs to `SynthesisSettings`."""

from dataclasses import dataclass
from typing import Annotated, Literal

from syndiff.bounds import Bounds, Section
from syndiff.synthesis.inpainters.capabilities import Capabilities


@dataclass(frozen=True, kw_only=True)
class CompactSettings(Section):
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

    section = "compact"

    steps: Annotated[int, Bounds(1, 100_000)] = 25
    guidance_scale: Annotated[float, Bounds(0, 100)] = 1.5
    temperature: Annotated[float, Bounds(0, 2, above=True)] = 0.8
    strength: Annotated[float, Bounds(0.1, 1)] = 1.0
    detail: Literal["painted", "real"] = "painted"
    batch_size: Annotated[int, Bounds(1, 1024)] = 8

    def capabilities(self, margin: float) -> Capabilities:
        """What an inpainter that was taught with this `margin` can do so."""
        return Capabilities(
            margin=margin,
            batch_size=self.batch_size,
            copies=self.detail == "real",
            # not where it keeps something of what is there: of an old lesion beside the outline that would remain
            reads_lesion_mask=self.strength == 1 and self.detail == "painted",
            reads_captions=True,
            libraries=("diffusers", "torch"),
        )

    def check_steps(self, timesteps: int) -> None:
        """Raise SyndiffError for more steps than the inpainter's noise schedule has."""
        if self.steps > timesteps:
            raise self.refuse("steps", f"no more than the {timesteps} timesteps of the inpainter")
