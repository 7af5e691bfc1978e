"""The compact inpainter's training: crops around lesions and of mucosa, hidden where it has to paint."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from syndiff import __version__
from syndiff.models.inpainter import InpaintingModel, continue_inpainter, initialise_inpainter
from syndiff.models.settings import InpaintingSettings
from syndiff.models.tensors import trainable_state
from syndiff.training.batches import case_indices, derived_seed
from syndiff.training.inpainting_pool import EncodedCrops
from syndiff.training.loop import Validation
from syndiff.training.settings import AdaptSettings

_MEASURED = 512
"""Crops whose latents tell the principal components."""


class InpaintingBatch(NamedTuple):
    """One batch in the autoencoder's latent space; `EncodedCrops` says what the first four are."""

    clean: Tensor
    visible: Tensor
    lesion_mask: Tensor
    hidden: Tensor
    tokens: Tensor
    """Captions (b, l)."""
    noise: Tensor
    """(b, c, s/8, s/8), standard normal."""
    timestep: Tensor
    """(b,), 0 to T - 1."""


class InpaintingObjective(nn.Module):
    """|z_0 - z~_0|^2, weighted by the timestep and toward what is hidden: the rest the model is shown."""

    def __init__(self, model: InpaintingModel, outside_weight: float) -> None:
        super().__init__()
        self.model, self.outside_weight = model, outside_weight

    def forward(self, batch: InpaintingBatch) -> dict[str, Tensor]:
        """The loss of one step."""
        model = self.model
        clean = model.components(batch.clean)
        noisy = model.schedule.diffuse(clean, batch.noise, batch.timestep)
        condition = model.condition(batch.visible, batch.lesion_mask, batch.hidden)
        output = model(noisy, batch.timestep, condition, batch.tokens).float()  # under bf16, the loss stays exact
        found = model.prediction.estimate(output, noisy, batch.timestep).clean
        error = model.prediction.weight(batch.timestep) * (found - clean).square().mean(1, keepdim=True)
        weight = self.outside_weight + (1 - self.outside_weight) * (batch.hidden > 0)
        return {"latent": (weight * error).sum() / weight.sum()}


class InpaintingTask:
    """`Task` of the compact inpainter; validated by its loss on fixed crops, noises and timesteps.

    With `start` it goes on from that model's weights, whose words `vocabulary` begins with.
    """

    score_name, score_sign, begins_trained = "val_loss", -1, False

    def __init__(
        self,
        model_settings: InpaintingSettings,
        settings: AdaptSettings,
        *,
        train: EncodedCrops,
        val: EncodedCrops,
        vocabulary: Sequence[str],
        about: Mapping[str, Any],
        seed: int,
        start: InpaintingModel | None = None,
    ) -> None:
        self.model_settings, self.settings, self.seed, self.about = model_settings, settings, seed, dict(about)
        self.train = train
        if start is None:
            self.model = initialise_inpainter(model_settings, vocabulary, seed)
            self.model.measure(train.clean[:_MEASURED])
        else:
            self.model = continue_inpainter(start, model_settings, vocabulary, seed)
        self.objective = InpaintingObjective(self.model, settings.outside_weight)
        self._probe = self._draw(val, range(len(val)), (seed, 3), caption_dropout=0)

    def state(self) -> dict[str, Tensor]:
        """All but the frozen autoencoder's."""
        return trainable_state(self.model)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """One group: nothing is pretrained."""
        return [{"params": [p for p in self.model.parameters() if p.requires_grad], "lr_scale": 1.0}]

    def batch(self, step: int, *, process: int, processes: int) -> InpaintingBatch:
        """Crops of the step, each with its own noise and timestep."""
        indices = case_indices(len(self.train), self.settings.batch_size, self.seed, step)
        entropy = (derived_seed(self.seed, step, 0),)
        whole = self._draw(self.train, indices, entropy, caption_dropout=self.settings.caption_dropout)
        return InpaintingBatch(*(value[process::processes] for value in whole))

    @torch.inference_mode()
    def validate(self) -> Validation:
        """Mean loss on the validation crops."""
        self.objective.eval()
        device = next(self.model.parameters()).device
        size = self.settings.batch_size
        losses, weights = [], []
        for start in range(0, len(self._probe.clean), size):
            part = InpaintingBatch(*(value[start : start + size].to(device) for value in self._probe))
            losses.append(self.objective(part)["latent"].item())
            weights.append(len(part.clean))
        return Validation(sum(loss * weight for loss, weight in zip(losses, weights, strict=True)) / sum(weights))

    def describe(self, *, step: int, score: float | None) -> dict[str, Any]:
        """The JSON beside the weights."""
        autoencoder = self.model.autoencoder
        return {
            "format": 1,
            "syndiff": __version__,
            "model": {**asdict(self.model_settings), "channels": list(self.model_settings.channels)},
            "vocabulary": list(self.model.vocabulary),
            "painting": {
                "context": round((self.settings.min_context + self.settings.max_context) / 2, 3),
                "margin": self.settings.margin,
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
        self, crops: EncodedCrops, indices: Sequence[int], entropy: tuple[int, ...], *, caption_dropout: float
    ) -> InpaintingBatch:
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
        noise = torch.randn(len(indices), *self.model.noise_shape(), generator=generator)
        timestep = torch.randint(0, self.model_settings.timesteps, (len(indices),), generator=generator)
        dropped = torch.rand(len(indices), generator=generator) < caption_dropout
        tokens = self.model.captions.tokens(
            ["" if drop else crops.captions[i] for drop, i in zip(dropped.tolist(), indices, strict=True)]
        )
        chosen = list(indices)
        return InpaintingBatch(
            clean=crops.clean[chosen],
            visible=crops.visible[chosen],
            lesion_mask=crops.lesion_mask[chosen],
            hidden=crops.hidden[chosen],
            tokens=tokens,
            noise=noise,
            timestep=timestep,
        )
