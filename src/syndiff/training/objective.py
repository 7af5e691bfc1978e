"""One training step's losses, as a module, so that accelerate can wrap it for many devices."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch import Tensor, nn

from syndiff.errors import SyndiffError
from syndiff.models.control import PlainNetwork
from syndiff.models.encoder import AutoencoderEncoder
from syndiff.models.segmenter import DiffusionSegmenter
from syndiff.models.unet import UNetDenoiser
from syndiff.training.settings import TrainingSettings


class Batch(NamedTuple):
    """What one step sees: images (b, 3, h, w) in [0, 1], masks (b, 1, h, w) in {0, 1}, and the step's randomness."""

    image: Tensor
    mask: Tensor
    noise: Tensor
    timestep: Tensor


def draw_randomness(
    model: DiffusionSegmenter | PlainNetwork,
    size: int,
    image_size: int,
    share: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Noise (b, c, h/8, w/8) and timesteps (b,) of one step; the control needs none and gets empty tensors."""
    if isinstance(model, PlainNetwork):
        return torch.empty(0), torch.empty(0, dtype=torch.long)
    noise = torch.randn(size, *model.noise_shape(image_size, image_size), generator=generator)
    timestep = torch.randint(0, model.schedule.timesteps, (size,), generator=generator)
    at_inference = torch.rand(size, generator=generator) < share
    return noise, torch.where(at_inference, model.settings.first_timestep, timestep)


def mask_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy plus soft Dice loss (1 - Dice, averaged over cases); both (b, 1, h, w)."""
    logits = logits.float()
    probability = logits.sigmoid()
    shared = (probability * mask).sum((1, 2, 3))
    total = (probability + mask).sum((1, 2, 3))
    dice = (2 * shared + 1) / (total + 1)  # one pixel of smoothing: two empty masks agree
    return F.binary_cross_entropy_with_logits(logits, mask) + 1 - dice.mean()


def backbone_of(model: DiffusionSegmenter | PlainNetwork) -> nn.Module:
    """The pretrained part of the vision encoder."""
    return model.backbone if isinstance(model, PlainNetwork) else model.encoder.backbone


def checkpoint_gradients(model: DiffusionSegmenter, function: Callable[..., Any]) -> None:
    """Let `function` (block, *inputs) call the blocks of the parts that can do without what it does not keep.

    Raises SyndiffError when the model has no such part.
    """
    parts = [part for part in (model.encoder, model.denoiser) if isinstance(part, AutoencoderEncoder | UNetDenoiser)]
    if not parts:
        raise SyndiffError(
            "training setting gradient_checkpointing: true has no effect with the encoder efficientnet-lite0 and the "
            "denoiser compact; leave it out."
        )
    for part in parts:
        part.enable_gradient_checkpointing(function)


def checkpoint(block: nn.Module, *inputs: Tensor) -> Tensor:
    """torch's gradient checkpointing of one block; dropout draws the same the second time."""
    return torch.utils.checkpoint.checkpoint(block, *inputs, use_reentrant=False)


class SegmentationObjective(nn.Module):
    """Batch -> named, weighted, scalar losses; their sum is what training minimises."""

    def __init__(self, model: DiffusionSegmenter | PlainNetwork, settings: TrainingSettings) -> None:
        super().__init__()
        self.model, self.settings = model, settings
        if isinstance(model, DiffusionSegmenter) and not settings.guide_weight:
            model.guide.requires_grad_(False)  # takes no part; several processes would wait for its gradient
        if not settings.backbone_rate:
            backbone_of(model).requires_grad_(False)
        if settings.gradient_checkpointing and isinstance(model, DiffusionSegmenter):
            checkpoint_gradients(model, checkpoint)

    def train(self, mode: bool = True) -> "SegmentationObjective":
        """Training mode, but for a backbone that is frozen."""
        super().train(mode)
        if not self.settings.backbone_rate:
            backbone_of(self.model).eval()
        return self

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of one step."""
        model = self.model
        if isinstance(model, PlainNetwork):
            return {"mask": mask_loss(model(batch.image), batch.mask)}
        with torch.no_grad():
            clean = model.autoencoder.encode_mask(batch.mask).float()
        noisy = model.schedule.diffuse(clean, batch.noise, batch.timestep)
        condition = model.encoder(batch.image)
        output = model.denoiser(noisy, batch.timestep, condition).float()  # under bf16, losses stay exact
        estimate = model.objective.estimate(output, noisy, batch.timestep)
        losses = model.objective.losses(estimate, clean, batch.noise, batch.timestep)
        if self.settings.mask_weight:
            losses["mask"] = self.settings.mask_weight * mask_loss(model.decode_logits(estimate.clean), batch.mask)
        if self.settings.guide_weight:
            losses["guide"] = self.settings.guide_weight * mask_loss(model.guide(condition), batch.mask)
        return losses
