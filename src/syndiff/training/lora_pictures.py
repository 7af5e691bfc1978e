"""What an inpainter under training paints: a small picture of a few fixed crops."""

import io
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from syndiff.training.lora_batch import LoraBatch
from syndiff.training.lora_objective import TextEmbedding, stack_embeddings
from syndiff.training.lora_settings import LoraSettings

_GUIDANCE = 7.5  # the default of the inpainter "sdxl"
_SIDE = 256  # pixels of a crop in the picture, at most


@torch.no_grad()
def paint_probe(pipeline: Any, embeddings: dict[str, TextEmbedding], batch: LoraBatch, settings: LoraSettings) -> bytes:
    """A PNG with one row for each crop of `batch`: what is given, what was painted from noise, what is real.

    `pipeline` needs no text encoders; the noise is the same at every call.
    """
    tokens, pooled = stack_embeddings(embeddings, batch.captions)
    plain_tokens, plain_pooled = stack_embeddings(embeddings, [""] * len(batch.captions))
    texts = {"prompt_embeds": tokens, "negative_prompt_embeds": plain_tokens}
    if pooled is not None and plain_pooled is not None:
        texts |= {"pooled_prompt_embeds": pooled, "negative_pooled_prompt_embeds": plain_pooled}
    pipeline.unet.eval()
    painted = pipeline(
        **{name: value.to(batch.image.device) for name, value in texts.items()},
        image=batch.image,
        mask_image=batch.mask,
        height=settings.resolution,
        width=settings.resolution,
        strength=1.0,
        num_inference_steps=settings.picture_steps,
        guidance_scale=_GUIDANCE,
        generator=[torch.Generator("cpu").manual_seed(number) for number in range(len(batch.captions))],
        output_type="pt",
    ).images.float()
    given = batch.image * (1 - batch.mask) + 0.5 * batch.mask
    composite = batch.image * (1 - batch.mask) + painted.nan_to_num() * batch.mask
    return _grid(torch.stack([given, composite, batch.image], dim=1).cpu())


def _grid(pictures: Tensor) -> bytes:
    """(rows, columns, 3, h, w) in [0, 1] as a PNG."""
    rows, columns, _, height, width = pictures.shape
    table = pictures.permute(0, 3, 1, 4, 2).reshape(rows * height, columns * width, 3)
    image = Image.fromarray(np.rint(table.clamp(0, 1).numpy() * 255).astype(np.uint8))
    image.thumbnail((columns * _SIDE, rows * _SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
