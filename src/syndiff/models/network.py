"""What every segmentation network answers, with diffusion or without: nobody else asks which class it is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from syndiff.data.targets import Targets
from syndiff.models.settings import SegmenterSettings

Stage = Callable[[str], AbstractContextManager[None]]
"""Opens a named stage of a prediction, whose time somebody may want to know."""


class Batch(NamedTuple):
    """What one step sees: images (b, 3, h, w) in [0, 1], masks (b, K, h, w) in {0, 1}, and the step's randomness."""

    image: Tensor
    mask: Tensor
    noise: Tensor
    timestep: Tensor


class LossWeights(NamedTuple):
    """Weights of the losses on the decoded mask and on the read-out of z_c, for a network that has them; 0: without."""

    mask: float
    guide: float


@dataclass(frozen=True)
class WeightSource:
    """Where the weights of a `part` come from, in words; `fetched` if the model hub has to give them first."""

    part: str
    source: str
    fetched: bool = False


def untimed(stage: str) -> AbstractContextManager[None]:
    """A `Stage` of a prediction whose time nobody wants to know."""
    return nullcontext()


def probabilities(logits_bkhw: Tensor, targets: Targets) -> Tensor:
    """Probabilities (b, K, h, w) of logits: the softmax over background (logit 0) and classes that exclude each other.

    The sigmoid of each where classes may overlap, and of a single one, which is the same as that softmax.
    """
    if not targets.exclusive:
        return logits_bkhw.sigmoid()
    return _with_background(logits_bkhw).softmax(1)[:, 1:]


def mask_loss(logits: Tensor, mask: Tensor, targets: Targets | None = None) -> Tensor:
    """Cross-entropy plus soft Dice loss (1 - Dice, averaged over cases and classes); both (b, K, h, w).

    The cross-entropy is binary, averaged over classes; of background and classes where these exclude each other. By
    default there is one class.
    """
    targets, logits = targets or Targets(), logits.float()
    probability = probabilities(logits, targets)
    shared = (probability * mask).sum((2, 3))
    total = (probability + mask).sum((2, 3))
    dice = (2 * shared + 1) / (total + 1)  # one pixel of smoothing: two empty masks agree
    if targets.exclusive:
        index = (mask * torch.arange(1, targets.count + 1, device=mask.device)[:, None, None]).sum(1).long()
        return F.cross_entropy(_with_background(logits), index) + 1 - dice.mean()
    return F.binary_cross_entropy_with_logits(logits, mask) + 1 - dice.mean()


def decided(logits_bkhw: Tensor, targets: Targets) -> Tensor:
    """Masks (b, K, h, w), `Targets.decide` on logits: above 0, and the highest where classes exclude each other."""
    chosen = logits_bkhw > 0
    if targets.exclusive:
        highest = F.one_hot(logits_bkhw.argmax(1), targets.count).movedim(-1, 1)
        chosen = chosen & highest.bool()
    return chosen


def _with_background(logits_bkhw: Tensor) -> Tensor:
    """Logits (b, 1 + K, h, w), the background's being 0."""
    return torch.cat([torch.zeros_like(logits_bkhw[:, :1]), logits_bkhw], 1)


class SegmentationNetwork(nn.Module, ABC):
    """Images (b, 3, h, w) in [0, 1], sides multiples of 32, and noise -> mask logits (b, K, h, w).

    Attributes:
        targets: the K classes that it tells apart.
    """

    targets: Targets = Targets()

    # How it answers

    @abstractmethod
    def noise_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Shape (c, h', w') of the Gaussian noise for an image of this size; without any value where it needs none."""

    @abstractmethod
    def answer(
        self, image_bchw: Tensor, latent_bchw: Tensor, stage: Stage = untimed, timestep_b: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mask logits and the clean latents (b, c, h', w') behind them; each part of the work runs within a `stage`.

        `latent_bchw` is the noise; with `timestep_b` (b,), all the same, it is z_t there and is denoised in one step.
        A network without noise has latents without any value. Raises SyndiffError for a timestep that it has not.
        """

    def predict(self, image_bchw: Tensor, noise_bchw: Tensor, stage: Stage = untimed) -> Tensor:
        """The mask logits of `answer`."""
        return self.answer(image_bchw, noise_bchw, stage)[0]

    def forward(self, image_bchw: Tensor, noise_bchw: Tensor) -> Tensor:
        """`predict`, untimed."""
        return self.predict(image_bchw, noise_bchw)

    @property
    @abstractmethod
    def draws(self) -> Literal["noise", "dropout"] | None:
        """What makes several answers to one image differ; None where there is but one answer."""

    @abstractmethod
    def members(self, image_bchw: Tensor, noises: Sequence[Tensor], *, seed: int) -> list[Tensor]:
        """Mask logits of the same images for each of `noises` (b, c, h', w'), or of as many dropout masks of `seed`.

        A single answer is without dropout.
        """

    # How it learns

    @property
    @abstractmethod
    def backbone_part(self) -> nn.Module:
        """The pretrained part, which has a learning rate of its own; may be empty."""

    @property
    @abstractmethod
    def vision_encoder(self) -> nn.Module | None:
        """The part that may be left out of the moving average; None where it cannot be told from the rest."""

    @abstractmethod
    def draw_timesteps(self, count: int, *, at_inference: float, generator: torch.Generator) -> Tensor:
        """Timesteps (count,) of a training step, about the share `at_inference` of them where sampling starts."""

    @abstractmethod
    def losses(self, batch: Batch, weights: LossWeights) -> dict[str, Tensor]:
        """Named, weighted, scalar losses; their sum is what training minimises."""

    def freeze_unused(self, weights: LossWeights) -> None:
        """Freeze what takes no part in the losses: several processes would wait for its gradient."""

    def checkpoint_gradients(self, function: Callable[..., Any]) -> None:
        """Let `function` (block, *inputs) call the blocks that can do without what it does not keep.

        Raises SyndiffError for a network that should have such blocks but has none.
        """

    def measure_latents(self, masks_nkhw: Tensor) -> None:
        """Scale the latents by those of the training masks in {0, 1} (any dtype), where its settings ask for it."""

    # What it tells of itself

    @abstractmethod
    def parts(self) -> dict[str, nn.Module]:
        """Its parts by name, to count parameters; together they are all of it that is used."""

    @abstractmethod
    def weight_sources(self, settings: SegmenterSettings, *, autoencoder_here: bool) -> list[WeightSource]:
        """Where the weights come from that `settings` start it from; nothing is fetched.

        Raises SyndiffError for weights on this machine that do not fit.
        """

    def description(self) -> dict[str, Any]:
        """What model.json keeps of it beside its settings, as JSON."""
        return {}

    def take_description(self, checkpoint: Path, described: Mapping[str, Any]) -> None:
        """Take what `description` gave from a checkpoint's model.json.

        Raises SyndiffError where it is not that of this network.
        """
