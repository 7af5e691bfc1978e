"""What an inpainter under training paints: a small picture of a few fixed crops."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from syndiff.imaging import encode_png
from syndiff.training.lora_batch import LoraBatch
from syndiff.training.lora_objective import TextEmbedding, stack_embeddings
from syndiff.training.settings import LoraSettings

_GUIDANCE = 7.5  # the default of the inpainter "sdxl"
_SIDE = 256  # pixels of a crop in the picture, at most


def sample_probe(
    pipeline: Any, embeddings: dict[str, TextEmbedding], crops: Sequence[LoraBatch], settings: LoraSettings
) -> bytes:
    """A PNG with one row for each of `crops`: what is given, what was painted from noise, what is real.

    Each is painted alone. `pipeline` needs no text encoders; the noise is the same at every call.
    """
    pipeline.unet.eval()
    rows = [_row(pipeline, embeddings, crop, settings, number) for number, crop in enumerate(crops)]
    return _grid(torch.stack(rows).cpu())


@torch.no_grad()
def _row(
    pipeline: Any, embeddings: dict[str, TextEmbedding], crop: LoraBatch, settings: LoraSettings, seed: int
) -> Tensor:
    """(3, 3, h, w) in [0, 1]."""
    tokens, pooled = stack_embeddings(embeddings, crop.captions)
    plain_tokens, plain_pooled = stack_embeddings(embeddings, [""])
    texts = {"prompt_embeds": tokens, "negative_prompt_embeds": plain_tokens}
    if pooled is not None and plain_pooled is not None:
        texts |= {"pooled_prompt_embeds": pooled, "negative_pooled_prompt_embeds": plain_pooled}
    painted = pipeline(
        **{name: value.to(crop.image.device) for name, value in texts.items()},
        image=crop.image,
        mask_image=crop.mask,
        height=settings.resolution,
        width=settings.resolution,
        strength=1.0,
        num_inference_steps=settings.picture_steps,
        guidance_scale=_GUIDANCE,
        generator=torch.Generator("cpu").manual_seed(seed),
        output_type="pt",
    ).images.float()
    around = crop.image * (1 - crop.mask)
    return torch.cat([around + 0.5 * crop.mask, around + painted.nan_to_num() * crop.mask, crop.image])


def _grid(pictures: Tensor) -> bytes:
    """(rows, columns, 3, h, w) in [0, 1] as a PNG."""
    rows, columns, _, height, width = pictures.shape
    table = pictures.permute(0, 3, 1, 4, 2).reshape(rows * height, columns * width, 3)
    image = Image.fromarray(np.rint(table.clamp(0, 1).numpy() * 255).astype(np.uint8))
    image.thumbnail((columns * _SIDE, rows * _SIDE))
    return encode_png(image)
