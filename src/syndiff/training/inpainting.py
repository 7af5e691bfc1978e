"""The compact inpainter's training: crops around lesions and of mucosa, hidden where it has to paint."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from syndiff import __version__
from syndiff.data.augmentation import Augmentation, AugmentationSettings
from syndiff.errors import SyndiffError
from syndiff.models.autoencoder import DOWNSAMPLING
from syndiff.models.inpainter import InpaintingModel, InpaintingSettings, initialise_inpainter
from syndiff.training.inpainting_crops import LesionCrops
from syndiff.training.inpainting_settings import AdaptSettings
from syndiff.training.loop import derived_seed


class InpaintingBatch(NamedTuple):
    """Crops (b, 3, s, s) in [0, 1], outlines and hidden regions (b, 1, s, s) in {0, 1}, captions as tokens (b, l)."""

    image: Tensor
    lesion: Tensor
    hidden: Tensor
    tokens: Tensor
    noise: Tensor
    """(b, c, s/8, s/8), standard normal."""
    timestep: Tensor
    """(b,), 0 to T - 1."""


class InpaintingObjective(nn.Module):
    """|v - v~|^2, weighted toward what is hidden: the rest the model is shown."""

    def __init__(self, model: InpaintingModel, outside_weight: float) -> None:
        super().__init__()
        self.model, self.outside_weight = model, outside_weight

    def forward(self, batch: InpaintingBatch) -> dict[str, Tensor]:
        """The loss of one step."""
        model = self.model
        clean = model.encode(batch.image)
        noisy = model.schedule.diffuse(clean, batch.noise, batch.timestep)
        surroundings = model.surroundings(batch.image, batch.lesion, batch.hidden)
        output = model(noisy, batch.timestep, surroundings, batch.tokens).float()  # under bf16, the loss stays exact
        signal, scale = model.schedule.coefficients(batch.timestep)
        error = (output - (signal * batch.noise - scale * clean)).square().mean(1, keepdim=True)
        hidden = F.max_pool2d(batch.hidden, DOWNSAMPLING)  # a latent pixel that touches it
        weight = self.outside_weight + (1 - self.outside_weight) * hidden
        return {"velocity": (weight * error).sum() / weight.sum()}


class InpaintingTask:
    """`Task` of the compact inpainter; validated by its loss on fixed crops, noises and timesteps."""

    score_name, score_sign = "val_loss", -1

    def __init__(
        self,
        model_settings: InpaintingSettings,
        settings: AdaptSettings,
        *,
        train_crops: LesionCrops,
        val_crops: LesionCrops,
        vocabulary: Sequence[str],
        about: Mapping[str, Any],
        seed: int,
        probes: int = 64,
    ) -> None:
        self.model_settings, self.settings, self.seed, self.about = model_settings, settings, seed, dict(about)
        self.train_crops = train_crops
        self.model = initialise_inpainter(model_settings, vocabulary, seed)
        self.objective = InpaintingObjective(self.model, settings.outside_weight)
        self.augment = Augmentation(
            AugmentationSettings(
                flips=False, rotation=0, scale=(1, 1), translate=0, colour=settings.colour, hue=settings.hue
            )
        )
        self._standardise()
        self._probe = self._draw(val_crops, [i % len(val_crops) for i in range(probes)], (seed, 3), augment=False)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """One group: nothing is pretrained."""
        return [{"params": [p for p in self.model.parameters() if p.requires_grad], "rate_scale": 1.0}]

    def batch(self, step: int, *, process: int, processes: int) -> InpaintingBatch:
        """Crops of the step's lesions, each its own place, size, turn, hidden margin, noise and timestep."""
        indices = self.train_crops.indices(self.settings.batch_size, self.seed, step)[process::processes]
        return self._draw(self.train_crops, indices, (derived_seed(self.seed, step, 0, process),), augment=True)

    @torch.inference_mode()
    def validate(self) -> float:
        """Mean loss on the validation crops."""
        self.objective.eval()
        device = next(self.model.parameters()).device
        size = self.settings.batch_size
        losses, weights = [], []
        for start in range(0, len(self._probe.image), size):
            part = InpaintingBatch(*(value[start : start + size].to(device) for value in self._probe))
            losses.append(self.objective(part)["velocity"].item())
            weights.append(len(part.image))
        return sum(loss * weight for loss, weight in zip(losses, weights, strict=True)) / sum(weights)

    def describe(self, *, step: int, score: float | None) -> dict[str, Any]:
        """The JSON beside the weights."""
        autoencoder = self.model.autoencoder
        return {
            "format": 1,
            "syndiff": __version__,
            "model": {**asdict(self.model_settings), "channels": list(self.model_settings.channels)},
            "vocabulary": list(self.model.vocabulary),
            "painting": {
                "context": round((self.settings.least_context + self.settings.most_context) / 2, 3),
                "margin": round((self.settings.least_margin + self.settings.most_margin) / 2, 3),
            },
            "autoencoder": {
                "source": autoencoder.source,
                "fingerprint": autoencoder.fingerprint,
                "scaling_factor": autoencoder.scaling_factor,
            },
            "learned_from": self.about,
            "step": step,
            "val_loss": score,
            "parameters": sum(value.numel() for value in self.model.parameters() if value.requires_grad),
        }

    def _draw(
        self, crops: LesionCrops, indices: Sequence[int], entropy: tuple[int, ...], *, augment: bool
    ) -> InpaintingBatch:
        settings = self.settings
        colours, noises, places = (
            int(child.generate_state(1)[0]) for child in np.random.SeedSequence(entropy).spawn(3)
        )
        image, lesion, hidden, captions = crops.draw(
            indices, (places,), size=self.model_settings.crop_size, settings=settings
        )
        if augment:
            image, _ = self.augment(image, lesion, seed=colours)
        generator = torch.Generator().manual_seed(noises)
        noise = torch.randn(len(indices), *self.model.noise_shape(), generator=generator)
        timestep = torch.randint(0, self.model_settings.timesteps, (len(indices),), generator=generator)
        dropped = torch.rand(len(indices), generator=generator) < (settings.caption_dropout if augment else 0)
        tokens = self.model.captions.tokens(
            ["" if drop else caption for drop, caption in zip(dropped.tolist(), captions, strict=True)]
        )
        image = image.contiguous(memory_format=torch.channels_last)
        return InpaintingBatch(image, lesion, hidden, tokens, noise, timestep)

    def _standardise(self, crops: int = 128) -> None:
        """Centre the latents of the training crops and give them unit variance on average over the channels.

        One scale for all channels: it keeps the channels that carry light and colour larger than those of detail, so
        they emerge from the noise first. Scaled one by one, the shipped autoencoder's channels of detail, which are
        hardly predictable, drown them.
        """
        indices = [i % len(self.train_crops) for i in range(crops)]
        image, *_ = self.train_crops.draw(
            indices, (self.seed, 4), size=self.model_settings.crop_size, settings=self.settings
        )
        latent = self.model.encode(image)
        mean = latent.mean((0, 2, 3), keepdim=True)
        std = (latent - mean).square().mean().sqrt()
        if not std > 0:
            raise SyndiffError("The training crops are all of one colour: there is nothing to learn painting from.")
        self.model.latent_mean.copy_(mean)
        self.model.latent_std.copy_(std)
