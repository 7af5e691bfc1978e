"""The segmenter's training: augmented cases, the step's noise, and validation by Dice."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from syndiff.data.augmentation import Augmentation
from syndiff.data.loading import CaseArrays
from syndiff.data.settings import AugmentationSettings
from syndiff.data.zoom import draw_cases
from syndiff.models.network import Batch
from syndiff.models.prediction import mean_dice, model_description
from syndiff.models.segmenter import initialise
from syndiff.models.settings import SegmenterSettings
from syndiff.models.tensors import trainable_state
from syndiff.training.batches import case_indices, derived_seed
from syndiff.training.loop import Validation
from syndiff.training.objective import SegmentationObjective, draw_randomness
from syndiff.training.settings import TrainingSettings


class SegmentationTask:
    """`Task` of a segmenter or a control; without `val_cases` it can be stepped but not validated.

    The first source of `train_cases` is the real one; all others are synthetic. `about` is what model.json says of the
    training beside the model's own description.
    """

    score_name, score_sign, begins_trained = "val_dice", 1, False

    def __init__(
        self,
        model_settings: SegmenterSettings,
        settings: TrainingSettings,
        augmentation: AugmentationSettings,
        *,
        train_cases: CaseArrays,
        val_cases: CaseArrays | None = None,
        seed: int,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.model_settings, self.settings, self.seed = model_settings, settings, seed
        self.about = dict(about or {})
        self.train_cases, self.val_cases = train_cases, val_cases
        self.model = initialise(model_settings, seed, train_cases.targets)
        self.model.measure_latents(train_cases.masks)
        self.objective = SegmentationObjective(self.model, settings)
        self.augment = Augmentation(augmentation)
        self.coarse_steps = round(settings.coarse_share * settings.steps)
        self.mixed_steps = settings.steps - round(settings.real_share * settings.steps)
        self.real = torch.nonzero(train_cases.source == 0).flatten()

    def state(self) -> dict[str, Tensor]:
        """All but the frozen autoencoder's."""
        return trainable_state(self.model)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The pretrained backbone has a rate of its own; the vision encoder may be left out of the average."""
        backbone = set(self.model.backbone_part.parameters())
        rest = [p for p in self.model.parameters() if p.requires_grad and p not in backbone]
        groups: list[dict[str, Any]] = [
            {"params": rest, "lr_scale": 1.0},
            {
                "params": [p for p in self.model.backbone_part.parameters() if p.requires_grad],
                "lr_scale": self.settings.backbone_lr_scale,
            },
        ]
        if self.settings.ema_encoder or self.model.vision_encoder is None:
            return groups
        encoder = set(self.model.vision_encoder.parameters())
        return [
            {**group, "params": [p for p in group["params"] if (p in encoder) != averaged], "averaged": averaged}
            for group in groups
            for averaged in (True, False)
        ]

    def batch(self, step: int, *, process: int, processes: int) -> Batch:
        """Augmented cases with their noise and timesteps."""
        cases = self.train_cases
        drawn = torch.arange(len(cases)) if step < self.mixed_steps else self.real
        count, own = self.settings.batch_size, slice(process, None, processes)
        indices = drawn[case_indices(len(drawn), count, self.seed, step)[own]]
        share = {"process": process, "processes": processes}
        image, mask = draw_cases(cases, indices, self.augment.settings, seed=derived_seed(self.seed, step, 3), **share)
        image, mask = self.augment(image, mask, seed=derived_seed(self.seed, step, 0), **share)
        size = self.model_settings.image_size
        if step < self.coarse_steps:
            size = self.model_settings.coarse_size
            image, mask = (F.interpolate(x, size=(size, size), mode="bilinear", antialias=True) for x in (image, mask))
            mask = (mask > 0.5).float()
        generator = torch.Generator().manual_seed(derived_seed(self.seed, step, 1))
        noise, timestep = draw_randomness(self.model, count, size, self.settings.inference_share, generator)
        return Batch(image.contiguous(memory_format=torch.channels_last), mask, noise[own], timestep[own])

    def validate(self) -> Validation:
        """Mean Dice on the validation cases at the model's resolution, one view an image."""
        assert self.val_cases is not None
        return Validation(mean_dice(self.model, self.val_cases, batch_size=self.settings.batch_size))

    def describe(self, *, step: int, score: float | None) -> dict[str, Any]:
        """`model_description` of the segmenter, and `about`."""
        return {**model_description(self.model_settings, self.model, step=step, val_dice=score), **self.about}
