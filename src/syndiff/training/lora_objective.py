"""The loss of an inpainting U-Net on crops: what diffusers' inpainting pipelines feed it, and what it should answer."""

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from syndiff.errors import SyndiffError
from syndiff.models.text import check_prompt_length
from syndiff.training.lora_batch import LoraBatch
from syndiff.training.settings import LoraSettings


class TextEmbedding(NamedTuple):
    """A caption as the U-Net reads it: (tokens, channels), and SDXL's pooled (channels,), None elsewhere."""

    tokens: Tensor
    pooled: Tensor | None


@torch.no_grad()
def embed_captions(pipeline: Any, captions: Iterable[str]) -> dict[str, TextEmbedding]:
    """Each caption, and the empty one, through the pipeline's frozen text encoders, kept in main memory.

    Raises SyndiffError for a caption longer than the text encoder reads.
    """
    wanted = sorted({*captions, ""})
    tokenizers = [pipeline.tokenizer, getattr(pipeline, "tokenizer_2", None)]
    for caption, tokenizer in itertools.product(wanted, filter(None, tokenizers)):
        check_prompt_length(tokenizer, caption)
    embeddings = {}
    for caption in wanted:  # one at a time: what a caption becomes does not depend on the others
        tokens, _, *pooled = pipeline.encode_prompt(
            caption, device=pipeline.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        embeddings[caption] = TextEmbedding(tokens[0].cpu(), pooled[0][0].cpu() if pooled else None)
    return embeddings


def stack_embeddings(embeddings: dict[str, TextEmbedding], captions: Iterable[str]) -> tuple[Tensor, Tensor | None]:
    """Embeddings of a batch: (b, tokens, channels) and SDXL's pooled (b, channels)."""
    found = [embeddings[caption] for caption in captions]
    pooled = [embedding.pooled for embedding in found if embedding.pooled is not None]
    return torch.stack([embedding.tokens for embedding in found]), torch.stack(pooled) if pooled else None


class LoraObjective(nn.Module):
    """LoraBatch -> the mean squared error of the U-Net, weighted by the mask, as the loss "latent".

    A 9-channel U-Net sees noisy latent, mask and latent of the masked crop, a 4-channel one the noisy latent alone.
    It predicts the noise or v, as the pipeline's scheduler says.
    """

    def __init__(self, pipeline: Any, embeddings: dict[str, TextEmbedding], settings: LoraSettings) -> None:
        from diffusers import DDPMScheduler

        super().__init__()
        self.unet, self.settings, self.embeddings = pipeline.unet, settings, embeddings
        self.scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
        self.prediction = self.scheduler.config.prediction_type
        if self.prediction not in ("epsilon", "v_prediction"):
            raise SyndiffError(
                f"The scheduler of {pipeline.config._name_or_path} predicts {self.prediction!r}; expected epsilon or "
                "v_prediction."
            )
        self._vae = [pipeline.vae]  # in a list: frozen, and none of accelerate's business

    @property
    def timesteps(self) -> int:
        """Number of training timesteps."""
        return int(self.scheduler.config.num_train_timesteps)

    def forward(self, batch: LoraBatch) -> dict[str, Tensor]:
        """The loss of one step."""
        return {"latent": self.errors(batch).mean()}

    def errors(self, batch: LoraBatch) -> Tensor:
        """Loss of each sample, (b,)."""
        mask = batch.mask
        latent, masked = self._latents(batch)
        noise = batch.noise[:, 0]
        small = F.interpolate(mask, latent.shape[2:])  # nearest, as the pipelines do
        seen = self.scheduler.add_noise(latent, noise, batch.timestep)
        if self.unet.config.in_channels == 9:
            seen = torch.cat([seen, small, masked], dim=1)
        tokens, pooled = (
            x if x is None else x.to(mask.device) for x in stack_embeddings(self.embeddings, batch.captions)
        )
        answer = self.unet(
            seen.to(self._vae[0].dtype),
            batch.timestep,
            encoder_hidden_states=tokens,
            added_cond_kwargs=None if pooled is None else {"text_embeds": pooled, "time_ids": self._time_ids(mask)},
        ).sample.float()
        target = noise if self.prediction == "epsilon" else self.scheduler.get_velocity(latent, noise, batch.timestep)
        weight = self.settings.outside_weight + (1 - self.settings.outside_weight) * small
        error = (weight * (answer - target) ** 2).mean(dim=1, keepdim=True).sum(dim=(1, 2, 3))
        return self._snr_weight(batch.timestep) * error / weight.sum(dim=(1, 2, 3)).clamp(min=1e-6)

    @torch.no_grad()
    def _latents(self, batch: LoraBatch) -> tuple[Tensor, Tensor]:
        """Latents (b, 4, r/8, r/8) of the crops and of the crops without what is masked, float32."""
        vae, image = self._vae[0], 2 * batch.image - 1
        latents = []
        for picture, noise in ((image, batch.noise[:, 1]), (image * (batch.mask < 0.5), batch.noise[:, 2])):
            drawn = vae.encode(picture.to(vae.dtype)).latent_dist
            latents.append((drawn.mean.float() + drawn.std.float() * noise) * vae.config.scaling_factor)
        return latents[0], latents[1]

    def _time_ids(self, mask: Tensor) -> Tensor:
        """SDXL's original size, corner of the crop, and target size: what its pipeline says when it paints."""
        side = self.settings.resolution
        return torch.tensor([[side, side, 0, 0, side, side]], device=mask.device).repeat(len(mask), 1)

    def _snr_weight(self, timestep: Tensor) -> Tensor:
        """Min-SNR weights (Hang et al., 2023, arXiv 2303.09556), (b,): min(snr, gamma) / snr, or / (snr + 1) for v."""
        gamma = self.settings.min_snr
        if not gamma:
            return torch.ones(len(timestep), device=timestep.device)
        kept = self.scheduler.alphas_cumprod.to(timestep.device)[timestep]
        snr = kept / (1 - kept)
        return snr.clamp(max=gamma) / (snr if self.prediction == "epsilon" else snr + 1)
