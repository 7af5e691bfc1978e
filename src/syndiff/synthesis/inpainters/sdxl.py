"""Stable Diffusion XL inpainting through diffusers: a lesion painted from a prompt."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch.nn.functional import interpolate

from syndiff.data.readers import to_unit
from syndiff.errors import SyndiffError
from syndiff.files import read_json, sha256
from syndiff.synthesis.inpainters.base import InpaintRequest
from syndiff.synthesis.inpainters.prompt_length import check_prompt_length, load_tokenizers

DEFAULT_MODEL = "diffusers/stable-diffusion-xl-1.0-inpainting-0.1"

_PIPELINES = ("StableDiffusionXLInpaintPipeline", "StableDiffusionXLPipeline")
_PARTS = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
_HOW_TO_GET_IT = (
    f"Get a folder with `hf download {DEFAULT_MODEL} --local-dir DIR` on a machine with network, "
    "copy it here and give its path as the model"
)


@dataclass(frozen=True)
class Sdxl:
    """Settings and, once it paints, the network. The paper gives no value of any of them: ours are diffusers'.

    `model` is a folder in diffusers' layout or a name on the hub, `revision` a branch, tag or commit there,
    `variant` the suffix of the weight files to take ("fp16"). Frames and masks are stretched to `resolution`
    (a multiple of 8) and back. `dtype` "auto" is bfloat16 on a GPU and float32 without one; with float16 the
    autoencoder runs in float32, since SDXL's overflows to NaN. `batch_size` can change the last bit of a
    sample, no more: its noise comes from its own seed.

    Raises SyndiffError for a folder that is missing, incomplete or of another architecture, a model that
    cannot be fetched, and settings out of range. Only safetensors are read and no code of the model is run.
    """

    model: str = DEFAULT_MODEL
    _: KW_ONLY
    revision: str | None = None
    variant: str | None = None
    steps: int = 30
    guidance_scale: float = 7.5
    strength: float = 0.99
    resolution: int = 1024
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    batch_size: int = 1

    name = "sdxl"
    margin = 0.0
    copies = False
    paints_from_text = True
    libraries = ("diffusers", "torch", "transformers")
    reads_captions = False

    def __post_init__(self) -> None:
        """Refuse settings that no run could use, before anything is loaded."""
        for setting, value, fits, expected in (
            ("steps", self.steps, self.steps >= 1, "1 or more"),
            ("guidance_scale", self.guidance_scale, self.guidance_scale >= 0, "0 or more"),
            ("strength", self.strength, 0 < self.strength <= 1, "more than 0 and at most 1"),
            ("resolution", self.resolution, self.resolution > 0 and self.resolution % 8 == 0, "a multiple of 8"),
            ("batch_size", self.batch_size, self.batch_size >= 1, "1 or more"),
        ):
            if not fits:
                raise SyndiffError(f"sdxl: {setting} is {value}; expected {expected}.")
        if int(self.steps * self.strength) < 1:
            raise SyndiffError(
                f"sdxl: {self.steps} steps at strength {self.strength} leave no step to paint with; raise either."
            )

    def check_prompt(self, text: str) -> None:
        """Raise SyndiffError when a text encoder would cut the end off `text`; loads the tokenizers only."""
        for tokenizer in self._tokenizers:
            check_prompt_length(tokenizer, text)

    def describe(self) -> dict[str, Any]:
        """Name the model with what identifies its bytes: the hub's commit, or a hash of a local folder."""
        return {
            "name": self.name,
            "model": self.model,
            "revision": None if self._is_local else self._folder.name,
            "hash": _hash(self._folder) if self._is_local else None,
            "settings": {
                "variant": self.variant,
                "steps": self.steps,
                "guidance_scale": self.guidance_scale,
                "strength": self.strength,
                "resolution": self.resolution,
                "dtype": str(self._dtype).removeprefix("torch."),
                "device": self._device.type,
                "batch_size": self.batch_size,
                "margin": self.margin,
                "watermark": False,
            },
        }

    def inpaint(self, requests: Sequence[InpaintRequest]) -> list[NDArray[np.float32]]:
        """Paint all requests as one batch, each with its own generator."""
        for text in dict.fromkeys(text for r in requests for text in (r.prompt, r.negative_prompt)):
            self.check_prompt(text)
        images = [_resize(torch.from_numpy(to_unit(r.image)).movedim(2, 0), self._size) for r in requests]
        masks = [_resize(torch.from_numpy(r.mask).float()[None], self._size) for r in requests]
        painted = self._pipeline(
            prompt=[request.prompt for request in requests],
            negative_prompt=[request.negative_prompt for request in requests],
            image=torch.stack(images).clamp(0, 1),
            mask_image=torch.stack(masks),
            height=self.resolution,
            width=self.resolution,
            strength=self.strength,
            num_inference_steps=self.steps,
            guidance_scale=self.guidance_scale,
            # drawn on the CPU: a sample's noise is the same on any device
            generator=[torch.Generator("cpu").manual_seed(request.seed) for request in requests],
            output_type="pt",
        ).images
        return [
            _resize(picture.float().cpu(), (height, width)).clamp(0, 1).movedim(0, 2).numpy()
            for picture, request in zip(painted, requests, strict=True)
            for height, width in [request.mask.shape]
        ]

    @property
    def _size(self) -> tuple[int, int]:
        return self.resolution, self.resolution

    @property
    def _is_local(self) -> bool:
        return Path(self.model).expanduser().is_dir()

    @cached_property
    def _device(self) -> torch.device:
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            return torch.empty(0, device=self.device).device
        except (RuntimeError, AssertionError) as error:
            raise SyndiffError(
                f"sdxl: device is {self.device!r}, which this machine cannot use ({_first_line(error)}); "
                "expected auto, cpu, or a device that `syndiff doctor` lists."
            ) from None

    @property
    def _dtype(self) -> torch.dtype:
        if self.dtype != "auto":
            return getattr(torch, self.dtype)
        return torch.float32 if self._device.type == "cpu" else torch.bfloat16

    @cached_property
    def _folder(self) -> Path:
        """Where the model lies on this disk, complete."""
        if self._is_local:
            if self.revision:
                raise SyndiffError(
                    f"sdxl: revision is {self.revision!r} but the model {self.model} is a folder, which has "
                    "none; leave the revision out or name a model on the hub."
                )
            folder = Path(self.model).expanduser()
        else:
            folder = _download(self.model, self.revision, self.variant)
        _check_folder(folder, self.variant)
        return folder

    @cached_property
    def _tokenizers(self) -> list[Any]:
        return load_tokenizers(self._folder)

    @cached_property
    def _pipeline(self) -> Any:
        from diffusers import StableDiffusionXLInpaintPipeline

        try:
            pipeline = StableDiffusionXLInpaintPipeline.from_pretrained(
                str(self._folder),
                dtype=self._dtype,
                variant=self.variant,
                use_safetensors=True,
                local_files_only=True,
                add_watermarker=False,
            )
        except (OSError, ValueError, RuntimeError, TypeError) as error:
            raise SyndiffError(
                f"{self._folder} could not be loaded as an SDXL pipeline: {error}. Get the folder anew."
            ) from error
        # only float16 overflows, but SDXL's own configuration upcasts always
        pipeline.vae.register_to_config(force_upcast=self._dtype == torch.float16)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline.to(self._device)


def _resize(image_chw: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bicubic, smoothed where it shrinks."""
    if image_chw.shape[1:] == size:
        return image_chw
    return interpolate(image_chw[None], size, mode="bicubic", antialias=True)[0]


def _download(model: str, revision: str | None, variant: str | None) -> Path:
    """Fetch a model from the hub, or find it in the hub's cache, and return its folder there."""
    if not _looks_like_hub_name(model):
        raise SyndiffError(
            f"The SDXL folder {model} does not exist; expected a folder in diffusers' layout "
            f"(model_index.json beside {', '.join(_PARTS)}). {_HOW_TO_GET_IT}."
        )
    from diffusers import StableDiffusionXLInpaintPipeline
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        folder = StableDiffusionXLInpaintPipeline.download(
            model, revision=revision, variant=variant, use_safetensors=True
        )
    except GatedRepoError:
        raise SyndiffError(
            f"The hub's model {model} asks you to accept its terms first: do so on its page, then log in with "
            "`hf auth login`."
        ) from None
    except (RepositoryNotFoundError, RevisionNotFoundError):
        at = f" at revision {revision!r}" if revision else ""
        raise SyndiffError(
            f"The hub has no model {model}{at}, and no folder of this name exists; mend the name, or give the "
            "path of a local folder."
        ) from None
    except (OSError, ValueError) as error:
        raise SyndiffError(
            f"The model {model} is not on this machine and could not be fetched from the hub "
            f"({_first_line(error)}). To work without network: {_HOW_TO_GET_IT}."
        ) from error
    return Path(folder)


def _looks_like_hub_name(model: str) -> bool:
    return model.count("/") == 1 and model[0] not in "/.~" and not model.endswith("/") and "\\" not in model


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _check_folder(folder: Path, variant: str | None) -> None:
    """Raise SyndiffError unless `folder` holds a whole SDXL pipeline, naming what is missing."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise SyndiffError(
            f"{folder} is no SDXL folder: it has no model_index.json (expected beside {', '.join(_PARTS)}). "
            f"{_HOW_TO_GET_IT}."
        )
    content = read_json(index)
    pipeline = content.get("_class_name") if isinstance(content, dict) else None
    if pipeline not in _PIPELINES:
        raise SyndiffError(f"{index} names the pipeline {pipeline}; expected one of {', '.join(_PIPELINES)}.")
    for part in _PARTS:
        library = (content.get(part) or [None])[0]
        if library not in ("diffusers", "transformers"):
            raise SyndiffError(
                f"{index} takes its {part} from {library}; expected diffusers or transformers: "
                "code that comes with a model is not run."
            )
        if part == "scheduler":
            _require(folder, part, "scheduler_config.json")
        elif part.startswith("tokenizer"):
            _require(folder, part, "tokenizer.json", "vocab.json")
        else:
            _require(folder, part, "config.json")
            stem = "diffusion_pytorch_model" if library == "diffusers" else "model"
            _check_weights(folder, part, stem, variant)


def _require(folder: Path, part: str, *names: str) -> None:
    if not any((folder / part / name).is_file() for name in names):
        raise SyndiffError(
            f"{folder} is incomplete: {part}/{names[0]} is missing, perhaps after a broken download. "
            f"Get the folder again. {_HOW_TO_GET_IT}."
        )


def _check_weights(folder: Path, part: str, stem: str, variant: str | None) -> None:
    """Check that a part's safetensors are there, each of its shards too, and whole."""
    names = [f"{stem}.safetensors"]
    indices = [f"{stem}.safetensors.index.json"]
    if variant:  # a part without files of the variant is taken from its plain ones
        names.insert(0, f"{stem}.{variant}.safetensors")
        indices.insert(0, f"{stem}.safetensors.index.{variant}.json")
    sharded = next((folder / part / name for name in indices if (folder / part / name).is_file()), None)
    if sharded:
        names = sorted(set(read_json(sharded)["weight_map"].values()))
    else:
        names = [name for name in names if (folder / part / name).is_file()][:1] or names
    for name in names:
        if not (folder / part / name).is_file():
            present = [path.name for path in sorted((folder / part).iterdir())]
            others = [name for name in present if name.endswith(".safetensors")]
            pickled = [name for name in present if name.endswith((".bin", ".ckpt", ".pt"))]
            hint = "perhaps after a broken download; get the folder again"
            if others and not sharded:
                hint = f"there is {', '.join(others)}: is `variant` set rightly?"
            elif pickled:
                hint = f"{pickled[0]} is not read, since pickled weights can run code; convert to safetensors"
            raise SyndiffError(f"{folder} is incomplete: {part}/{name} is missing ({hint}).")
        try:
            with safe_open(folder / part / name, "pt"):
                pass
        except SafetensorError as error:
            raise SyndiffError(
                f"{folder / part / name} is damaged or cut short ({error}); get this file again."
            ) from None


def _hash(folder: Path) -> str:
    """SHA-256 over every file of the pipeline's parts: weights, configurations, vocabularies."""
    rows = [(path.relative_to(folder).as_posix(), sha256(path)) for path in _part_files(folder)]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _part_files(folder: Path) -> Iterator[Path]:
    for part in _PARTS:
        for path in sorted((folder / part).iterdir()):
            if path.suffix in (".safetensors", ".json", ".txt"):
                yield path
