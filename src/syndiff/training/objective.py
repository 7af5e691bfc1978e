"""One training step's losses, as a module, so that accelerate can wrap it for many devices."""

import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from syndiff.models.network import Batch, LossWeights, SegmentationNetwork
from syndiff.training.settings import TrainingSettings


def draw_randomness(
    model: SegmentationNetwork, count: int, image_size: int, share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Noise (b, c, h', w') and timesteps (b,) of one step, about `share` of them where sampling starts."""
    noise = torch.randn(count, *model.noise_shape(image_size, image_size), generator=generator)
    return noise, model.draw_timesteps(count, at_inference=share, generator=generator)


def checkpoint(block: nn.Module, *inputs: Tensor) -> Tensor:
    """torch's gradient checkpointing of one block; dropout draws the same the second time."""
    return torch.utils.checkpoint.checkpoint(block, *inputs, use_reentrant=False)


class SegmentationObjective(nn.Module):
    """Batch -> named, weighted, scalar losses; their sum is what training minimises."""

    def __init__(self, model: SegmentationNetwork, settings: TrainingSettings) -> None:
        super().__init__()
        self.model, self.settings = model, settings
        self.weights = LossWeights(settings.mask_weight, settings.guide_weight)
        model.freeze_unused(self.weights)
        if not settings.backbone_lr_scale:
            model.backbone_part.requires_grad_(False)
        if settings.gradient_checkpointing:
            model.checkpoint_gradients(checkpoint)

    def train(self, mode: bool = True) -> "SegmentationObjective":
        """Training mode, but for a backbone that is frozen."""
        super().train(mode)
        if not self.settings.backbone_lr_scale:
            self.model.backbone_part.eval()
        return self

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of one step."""
        return self.model.losses(batch, self.weights)
