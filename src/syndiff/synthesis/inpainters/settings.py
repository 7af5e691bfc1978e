"""How the inpainters paint; which one it is belongs to `SynthesisSettings`."""

from dataclasses import dataclass
from typing import Annotated, Literal

from syndiff.bounds import Bounds, Section
from syndiff.errors import SyndiffError
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
            paints_from_text=True,
            # not where it keeps something of what is there: of an old lesion beside the new shape that would remain
            reads_lesion_mask=self.strength == 1 and self.detail == "painted",
            reads_captions=True,
            libraries=("diffusers", "torch"),
        )

    def check_steps(self, timesteps: int) -> None:
        """Raise SyndiffError for more steps than the inpainter's noise schedule has."""
        if self.steps > timesteps:
            raise self.refuse("steps", f"no more than the {timesteps} timesteps of the inpainter")


_Weight = Annotated[float, Bounds(-100, 100)]
LARGE = 0.03
"""Share of the frame's area from which on a lesion is large (PolypInpainter's boundary)."""


@dataclass(frozen=True, kw_only=True)
class SdxlSettings(Section):
    """Settings of the inpainter "sdxl". The paper gives no value of any of them.

    Attributes:
        variant: suffix of the weight files to take, such as fp16; empty for none.
        loras: LoRA files (safetensors in diffusers' format), or folders that `syndiff adapt` wrote.
        lora_weights: strength of each LoRA, in the same order; empty is 1 for each.
        scheduler: "model" is the pipeline's own; the others replace it.
        steps: steps of the scheduler at strength 1.
        guidance_scale: of classifier-free guidance; 1 or less leaves guidance and the negative prompt out.
        strength: share of the steps that are taken, from noise added to what is there: 1 starts from noise alone.
            "by_size" is 0.9 from 3 % of the frame's area on, falling linearly to 0.5 for the smallest lesion.
        start: what the noise is added to: the frame as it is, or a real lesion ("donor") blended into it. "auto"
            takes the donor for lesions below 3 % of the frame's area.
        context: side of the crop that is painted, in lengths of the mask's longer side; 0 paints the whole frame.
        min_crop: least side of that crop, in pixels of the frame.
        resolution: side in pixels at which crops are painted: 1024 for SDXL, 512 for SD 1.5.
        dtype: "auto" is bfloat16 on a GPU and float32 without one. With float16 SDXL's autoencoder runs in float32,
            since it overflows to NaN.
        device: "auto" is the GPU where there is one.
        offload: what waits in main memory until it is needed: nothing, whole parts ("model"), or every layer
            ("sequential": slow, for the smallest GPUs).
        vae_slicing: decode the samples of a batch one after another.
        vae_tiling: encode and decode in overlapping tiles of half the resolution; the result differs a little.
        batch_size: samples painted at once. It can change the last bit of a sample, no more.
    """

    section = "sdxl"

    variant: str = ""
    loras: tuple[str, ...] = ()
    lora_weights: tuple[_Weight, ...] = ()
    scheduler: Literal["model", "ddim", "euler", "dpmpp_2m", "unipc"] = "model"
    steps: Annotated[int, Bounds(1, 1000)] = 30
    guidance_scale: Annotated[float, Bounds(0, 100)] = 7.5
    strength: Annotated[float, Bounds(0, 1, above=True)] | Literal["by_size"] = "by_size"
    start: Literal["auto", "frame", "donor"] = "auto"
    context: Annotated[float, Bounds(1, 100, also=(0,))] = 2.5
    min_crop: Annotated[int, Bounds(1, 100_000)] = 128
    resolution: Annotated[int, Bounds(8, 8192, multiple=8)] = 1024
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    offload: Literal["none", "model", "sequential"] = "none"
    vae_slicing: bool = False
    vae_tiling: bool = False
    batch_size: Annotated[int, Bounds(1, 1024)] = 1

    def __post_init__(self) -> None:
        """Refuse settings that no run could use, and those without effect, before anything is loaded."""
        super().__post_init__()
        if len(self.lora_weights) not in (0, len(self.loras)):
            raise self.refuse("lora_weights", f"one number for each of the {len(self.loras)} loras, or none")
        if len(set(self.loras)) < len(self.loras):
            raise self.refuse("loras", "each file once")
        least = 0.5 if isinstance(self.strength, str) else self.strength
        if steps_at(self.steps, least) < 1:
            raise SyndiffError(
                f"sdxl: {self.steps} steps at strength {least} leave no step to paint with; raise either."
            )
        idle = {
            "start": (self.start != "auto" and self.strength == 1, "at strength 1, which starts from noise"),
            "min_crop": (
                self.min_crop != SdxlSettings.min_crop and not self.context,
                "with context 0, which paints the whole frame",
            ),
            "vae_slicing": (self.vae_slicing and self.batch_size == 1, "with batch_size 1"),
        }
        for name, (useless, why) in idle.items():
            if useless:
                raise SyndiffError(f"sdxl: {name} is {getattr(self, name)} and has no effect {why}; leave it out.")

    def strength_of(self, share: float) -> float:
        """Strength for a lesion that takes this share of the frame's area.

        By size it is rounded to tenths, so that a batch is painted in at most five parts.
        """
        if not isinstance(self.strength, str):
            return self.strength
        return round(0.5 + 0.4 * min(1.0, share / LARGE), 1)


def steps_at(steps: int, strength: float) -> int:
    """Number of steps that diffusers' inpainting pipelines take."""
    return min(int(steps * strength), steps)
