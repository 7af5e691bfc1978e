"""A diffusers inpainting pipeline as a folder on this disk: found or fetched, checked, hashed and loaded."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from syndiff.documents import check_object, digest, read_object
from syndiff.errors import SyndiffError, unquoted
from syndiff.files import expanded, sha256
from syndiff.models.hub import DOWNLOAD, find_folder
from syndiff.models.tensors import check_file, check_values

DEFAULT_MODEL = "diffusers/stable-diffusion-xl-1.0-inpainting-0.1"

_PIPELINES = tuple(f"Stable{name}{task}Pipeline" for name in ("DiffusionXL", "Diffusion") for task in ("Inpaint", ""))
_PARTS = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
_OF_SDXL = ("text_encoder_2", "tokenizer_2")
_LEFT_OUT = {"safety_checker": None, "feature_extractor": None, "image_encoder": None}
"""Parts that some pipelines name and that are never loaded: the checker blackens what it takes for nudity."""
_LIBRARIES = ("diffusers", "transformers", "stable_diffusion", None)
_HOW_TO_GET_IT = (
    f"Get a folder with `hf download {DEFAULT_MODEL} --local-dir DIR` on a machine with network, "
    "copy it here and give its path as the model"
)


@dataclass(frozen=True)
class PipelineFolder:
    """A Stable Diffusion 1.5, 2 or XL pipeline in diffusers' layout, complete on this disk.

    `commit` is the hub's commit, None for a folder of the user's own. Make one with `find_pipeline`.
    """

    path: Path
    variant: str | None = None
    commit: str | None = None

    @cached_property
    def is_sdxl(self) -> bool:
        """Whether it has SDXL's second text encoder."""
        index = read_object(self.path / "model_index.json", {"_class_name": str}, mend=DOWNLOAD)
        return "XL" in index["_class_name"]

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts that are loaded."""
        return _parts(self.is_sdxl)

    @cached_property
    def hash(self) -> str:
        """SHA-256 over every file of the pipeline's parts: weights, configurations, vocabularies."""
        return digest([(path.relative_to(self.path).as_posix(), sha256(path)) for path in self._files()])

    def _files(self) -> Iterator[Path]:
        for part in self.parts:
            for path in sorted((self.path / part).iterdir()):
                if path.suffix in (".safetensors", ".json", ".txt"):
                    yield path

    def load(self, dtype: torch.dtype) -> Any:
        """Load it as an inpainting pipeline, on the CPU; its autoencoder does not overflow at `dtype`.

        Raises SyndiffError when configurations and weights do not fit each other.
        """
        from diffusers import AutoPipelineForInpainting

        extra = {"add_watermarker": False} if self.is_sdxl else {**_LEFT_OUT, "requires_safety_checker": False}
        try:
            pipeline = AutoPipelineForInpainting.from_pretrained(
                str(self.path),
                dtype=dtype,
                variant=self.variant,
                use_safetensors=True,
                local_files_only=True,
                **extra,
            )
        except (OSError, ValueError, RuntimeError, TypeError) as error:
            raise SyndiffError(
                f"{self.path} could not be loaded as an inpainting pipeline: {error}. Get the folder anew."
            ) from error
        if self.is_sdxl:  # only float16 overflows, but SDXL's own configuration upcasts always
            pipeline.vae.register_to_config(force_upcast=dtype == torch.float16)
        channels = pipeline.unet.config.in_channels
        if channels not in (4, 9):
            raise SyndiffError(
                f"{self.path / 'unet'} takes {channels} channels; expected 9 (an inpainting U-Net) or 4 (a plain one)."
            )
        for name in self.parts:
            if isinstance(part := getattr(pipeline, name), torch.nn.Module):
                check_values(self.path / name, part.state_dict())
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


def find_pipeline(model: str, revision: str | None = None, variant: str | None = None) -> PipelineFolder:
    """Find `model`, a folder or a name on the hub, fetch it if need be, and check that it is whole.

    `revision` is a branch, tag or commit on the hub, `variant` the suffix of the weight files to take ("fp16").
    Raises SyndiffError for a folder that is missing, incomplete or of another architecture, for pickled weights
    and foreign code, and for a model that cannot be fetched.
    """

    def download() -> str:
        from diffusers import DiffusionPipeline

        return DiffusionPipeline.download(model, revision=revision, variant=variant, use_safetensors=True, **_LEFT_OUT)

    path = find_folder(model, revision, download, what="model", like=DEFAULT_MODEL)
    assert path is not None  # it was to be fetched
    found = PipelineFolder(path, variant, commit=None if expanded(model).is_dir() else path.name)
    _check_folder(found.path, variant)
    return found


def first_line(error: Exception) -> str:
    """The first line of a library's error, for a sentence of ours."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _parts(sdxl: bool) -> tuple[str, ...]:
    return tuple(part for part in _PARTS if sdxl or part not in _OF_SDXL)


def _check_folder(folder: Path, variant: str | None) -> None:
    """Raise SyndiffError unless `folder` holds a whole pipeline, naming what is missing."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise SyndiffError(
            f"{folder} is no pipeline folder: it has no model_index.json (expected beside "
            f"{', '.join(_parts(sdxl=False))}). {_HOW_TO_GET_IT}."
        )
    content = read_object(index, {}, mend=DOWNLOAD)
    pipeline = content.get("_class_name")
    if not isinstance(pipeline, str) or pipeline not in _PIPELINES:
        raise SyndiffError(f"{index} names the pipeline {unquoted(pipeline)}; expected one of {', '.join(_PIPELINES)}.")
    for part, origin in content.items():
        if isinstance(origin, list) and (len(origin) != 2 or origin[0] not in _LIBRARIES):
            raise SyndiffError(
                f"{index} takes its {part} from {unquoted(origin[0] if origin else origin)}; expected diffusers or "
                "transformers: code that comes with a model is not run."
            )
    for part in _parts("XL" in pipeline):
        origin = content.get(part)
        library = origin[0] if isinstance(origin, list) and origin else None
        if library is None:
            raise SyndiffError(f"{index} names no {part}; this pipeline cannot paint from text without it.")
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
        shards = read_object(sharded, {"weight_map": dict}, mend=DOWNLOAD)["weight_map"]
        check_object(f"{sharded}: weight_map", shards, dict.fromkeys(shards, str), mend=DOWNLOAD)
        names = sorted(set(shards.values()))
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
        check_file(folder / part / name)
