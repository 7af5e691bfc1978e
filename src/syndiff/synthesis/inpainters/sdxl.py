"""A lesion painted from a prompt by any Stable Diffusion inpainting pipeline (1.5, 2, XL) of diffusers."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property, reduce
from operator import or_
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from syndiff.data.boxes import crop_box
from syndiff.data.crops import cut, paste
from syndiff.data.readers import to_unit
from syndiff.data.seen import Seen
from syndiff.data.splits import Split
from syndiff.errors import SyndiffError
from syndiff.models.lora import LoraFile, find_lora, load_loras
from syndiff.models.pipeline_folder import DEFAULT_MODEL, PipelineFolder, find_pipeline, first_line
from syndiff.models.text import check_prompt_length, load_tokenizers
from syndiff.synthesis.inpainters.base import InpaintRequest
from syndiff.synthesis.inpainters.capabilities import Capabilities
from syndiff.synthesis.inpainters.settings import LARGE, SdxlSettings
from syndiff.synthesis.inpainters.strength import paint_by_way, with_donor

_SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "dpmpp_2m": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
}


class Sdxl:
    """A pipeline and how it paints; the network is loaded when it first does.

    `model` is a folder in diffusers' layout or a name on the hub, `revision` a branch, tag or commit there. A
    sample's noise comes from its own seed, so it is the same (up to rounding) in any batch.

    Raises SyndiffError, at the first use, for a folder that is missing, incomplete or of another architecture, a
    model that cannot be fetched, a LoRA that is missing or made for another network, and a prompt longer than the
    text encoder reads. Only safetensors are read and no code of the model is run.
    """

    name = "sdxl"

    def __init__(
        self, model: str = DEFAULT_MODEL, *, revision: str | None = None, settings: SdxlSettings | None = None
    ) -> None:
        self.model, self.revision, self.settings = model, revision, settings or SdxlSettings()

    @property
    def capabilities(self) -> Capabilities:
        """It paints the label alone, from text."""
        libraries = ("diffusers", "scipy", "torch", "transformers", *(("peft",) if self.settings.loras else ()))
        return Capabilities(batch_size=self.settings.batch_size, paints_from_text=True, libraries=libraries)

    def check_prompt(self, text: str) -> None:
        """Raise SyndiffError when a text encoder would cut the end off `text`; loads the tokenizers only."""
        for tokenizer in self._tokenizers:
            check_prompt_length(tokenizer, text)

    @property
    def seen(self) -> Seen:
        """What the LoRAs' run folders tell; of the pipeline itself nothing is known."""
        return reduce(or_, (Seen.read(lora.path.parent) or Seen() for lora in self._loras), Seen())

    def describe(self) -> dict[str, Any]:
        """Name the model with what identifies its bytes: the hub's commit, or a hash of a local folder."""
        folder = self._folder
        used = {**asdict(self.settings), "dtype": str(self._dtype).removeprefix("torch."), "device": self._device.type}
        del used["lora_weights"]
        return {
            "name": self.name,
            "model": self.model,
            "revision": folder.commit,
            "hash": None if folder.commit else folder.hash,
            "learned_from": sorted({name for lora in self._loras for name in _datasets(lora)}),
            "settings": {
                **used,
                "loras": [{"file": lora.name, "weight": lora.weight, "hash": lora.hash} for lora in self._loras],
                "margin": self.capabilities.margin,
                "watermark": False,
            },
        }

    def inpaint(self, requests: Sequence[InpaintRequest]) -> list[NDArray[np.float32]]:
        """Paint all requests, those of one strength as one batch, each with its own generator."""
        for text in dict.fromkeys(text for r in requests for text in (r.prompt, r.negative_prompt)):
            self.check_prompt(text)

        def strength_of(request: InpaintRequest) -> float:
            # what remains of a lesion that is to be painted over would still be one
            return self.settings.strength_of(float(request.mask.mean()) if request.lesion.any() else 1.0)

        return paint_by_way(requests, strength_of, self._paint)

    def _paint(self, requests: Sequence[InpaintRequest], strength: float) -> list[NDArray[np.float32]]:
        settings, size = self.settings, self.settings.resolution
        boxes = [crop_box(request.mask, settings.context, settings.min_crop) for request in requests]
        prompts = [request.prompt for request in requests]
        negative = [request.negative_prompt for request in requests]
        pictures = self._pipeline(
            prompt=prompts,
            negative_prompt=negative,
            image=torch.stack([cut(self._start(r), box, size) for r, box in zip(requests, boxes, strict=True)]),
            # binary: the pipeline would cut a soft edge at one half without a word; compositing does the feathering
            mask_image=torch.stack(
                [(cut(r.mask, box, size) >= 0.5).float() for r, box in zip(requests, boxes, strict=True)]
            ),
            height=size,
            width=size,
            strength=strength,
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance_scale,
            # drawn on the CPU: a sample's noise is the same on any device
            generator=[torch.Generator("cpu").manual_seed(request.seed) for request in requests],
            output_type="pt",
        ).images
        return [
            paste(to_unit(request.image), picture, box)
            for request, picture, box in zip(requests, pictures, boxes, strict=True)
        ]

    def _start(self, request: InpaintRequest) -> NDArray[np.float32]:
        """What noise is added to: the frame, or the frame with a real lesion in it where one is wanted (HxWx3)."""
        settings, frame = self.settings, to_unit(request.image)
        if not request.lesion.any():
            return frame
        small = request.mask.mean() < LARGE and settings.strength != 1
        if settings.start == "donor" or (settings.start == "auto" and small):
            return with_donor(request)
        return frame

    @cached_property
    def _device(self) -> torch.device:
        name = self.settings.device
        if name == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            return torch.empty(0, device=name).device
        except (RuntimeError, AssertionError) as error:
            raise SyndiffError(
                f"sdxl: device is {name!r}, which this machine cannot use ({first_line(error)}); "
                "expected auto, cpu, or a device that `syndiff doctor` lists."
            ) from None

    @property
    def _dtype(self) -> torch.dtype:
        if self.settings.dtype != "auto":
            return getattr(torch, self.settings.dtype)
        return torch.float32 if self._device.type == "cpu" else torch.bfloat16

    @cached_property
    def _folder(self) -> PipelineFolder:
        return find_pipeline(self.model, self.revision, self.settings.variant or None)

    @cached_property
    def _loras(self) -> list[LoraFile]:
        weights = self.settings.lora_weights or (1.0,) * len(self.settings.loras)
        return [find_lora(path, weight) for path, weight in zip(self.settings.loras, weights, strict=True)]

    @cached_property
    def _tokenizers(self) -> list[Any]:
        return load_tokenizers(self._folder.path)

    @cached_property
    def _pipeline(self) -> Any:
        settings = self.settings
        if settings.offload != "none" and self._device.type == "cpu":
            raise SyndiffError(
                f"sdxl: offload is {settings.offload} and has no effect on the CPU, whose memory everything is "
                "in; leave it out."
            )
        pipeline = self._folder.load(self._dtype)
        load_loras(pipeline, self._loras)
        if settings.scheduler != "model":
            import diffusers

            scheduler = getattr(diffusers, _SCHEDULERS[settings.scheduler])
            pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
        if settings.vae_slicing:
            pipeline.vae.enable_slicing()
        if settings.vae_tiling:
            # diffusers' tiles are as large as the pictures that the autoencoder was trained on, which splits nothing
            pipeline.vae.tile_sample_min_size = settings.resolution // 2
            pipeline.vae.tile_latent_min_size = settings.resolution // 2 // pipeline.vae_scale_factor
            pipeline.vae.enable_tiling()
        if settings.offload == "model":
            pipeline.enable_model_cpu_offload(device=self._device)
        elif settings.offload == "sequential":
            pipeline.enable_sequential_cpu_offload(device=self._device)
        else:
            pipeline.to(self._device)
        return pipeline


def _datasets(lora: LoraFile) -> set[str]:
    """The dataset that a LoRA of `syndiff adapt` learned from: the split beside it names it."""
    split = lora.path.parent / "split.json"
    return {Split.read(split).dataset} if (split.parent / "lora.json").is_file() and split.is_file() else set()
