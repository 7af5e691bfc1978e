"""How much memory a segmenter's training takes, counted on shapes alone: nothing is computed, nothing allocated."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from syndiff.data.targets import Targets
from syndiff.models.autoencoder import Autoencoder
from syndiff.models.network import Batch
from syndiff.models.segmenter import build_segmenter, without_initial_weights
from syndiff.models.settings import SegmenterSettings
from syndiff.training.objective import SegmentationObjective
from syndiff.training.settings import TrainingSettings

FP32 = 4


@dataclass(frozen=True)
class Part:
    """One part of a segmenter and how many of its parameters there are, and are trained."""

    name: str
    parameters: int
    trained: int


@dataclass(frozen=True)
class Memory:
    """Bytes of one process while it trains.

    weights: of all parts, in fp32. gradients, moments (AdamW's two) and average (EMA): of what they exist for.
    kept: what the forward pass keeps of one part of a batch (`accumulation`) for the backward pass, bf16 copies of the
    weights included; with gradient checkpointing the blocks' inputs, and of what is computed again the largest block.
    update: AdamW's passing copy of what is trained, when `kept` is gone.
    """

    weights: int
    gradients: int
    moments: int
    average: int
    kept: int
    update: int

    @property
    def total(self) -> int:
        """The largest sum at any moment; gradients of the step before live until the backward pass begins."""
        return self.weights + self.gradients + self.moments + self.average + max(self.kept, self.update)

    @property
    def checkpoint(self) -> int:
        """A checkpoint on disk: the model in use, and the live weights, average and moments to go on from."""
        return 2 * self.gradients + self.average + self.moments


def training_shapes(
    settings: SegmenterSettings, training: TrainingSettings, autoencoder: Autoencoder, targets: Targets | None = None
) -> tuple[SegmentationObjective, list[Part]]:
    """The network and its losses on the meta device, as training has them, and its parts.

    `autoencoder` may be one of shapes alone (`autoencoder_shapes`).
    """
    with torch.device("meta"):
        model = build_segmenter(without_initial_weights(settings), autoencoder, targets).to("meta")
    objective = SegmentationObjective(model, training)
    return objective, [_part(name, part) for name, part in model.parts().items()]


def count_memory(
    settings: SegmenterSettings, training: TrainingSettings, objective: SegmentationObjective, *, bf16: bool
) -> Memory:
    """The memory of one step of an `objective` on the meta device, which it turns into one of fake tensors."""
    model = objective.model
    trained = FP32 * _trained(model)
    averaged = trained
    if model.vision_encoder is not None and not training.ema_encoder:
        averaged -= FP32 * _trained(model.vision_encoder)
    return Memory(
        weights=FP32 * sum(parameter.numel() for parameter in model.parameters()),
        gradients=trained,
        moments=2 * trained,
        average=averaged if training.ema_decay else 0,
        kept=_kept(settings, training, objective, bf16=bf16),
        update=trained,
    )


def _kept(
    settings: SegmenterSettings, training: TrainingSettings, objective: SegmentationObjective, *, bf16: bool
) -> int:
    """Bytes that autograd holds of one part of a batch between the passes."""
    model, size = objective.model, settings.image_size
    ledger = _Ledger()
    # Fake tensors believe that they are on the CPU, whose attention keeps no matrices, like a GPU's.
    with FakeTensorMode(allow_non_fake_inputs=True):
        objective.to_empty(device="cpu").train()
        if training.gradient_checkpointing:
            model.checkpoint_gradients(ledger.block)
        count = training.batch_size // training.accumulation
        batch = Batch(
            torch.empty(count, 3, size, size),
            torch.empty(count, model.targets.count, size, size),
            torch.empty(count, *model.noise_shape(size, size)),
            torch.zeros(count, dtype=torch.long),
        )
        ledger.own(model.parameters())
        with ledger.outside(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            objective(batch)
    return ledger.total


class _Ledger:
    """Storages that are kept: all outside of checkpointed blocks, of the blocks their inputs and the largest."""

    def __init__(self) -> None:
        self._owned: set[int] = set()
        self._held: dict[int, Tensor] = {}  # held, so that an address is not used again
        self._largest = 0

    @property
    def total(self) -> int:
        return _bytes(self._held) + self._largest

    def own(self, parameters: Iterable[nn.Parameter]) -> None:
        """Leave these out."""
        self._owned = {_key(parameter) for parameter in parameters}

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Count what is saved here as kept."""
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: self._add(tensor, self._held), _same):
            yield

    def block(self, block: Callable[..., Any], *inputs: Any) -> Any:
        """Run a block as gradient checkpointing does."""
        for tensor in inputs:
            if isinstance(tensor, Tensor):
                self._add(tensor, self._held)
        inner: dict[int, Tensor] = {}
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: self._add(tensor, inner), _same):
            output = block(*inputs)
        self._largest = max(
            self._largest, _bytes({key: value for key, value in inner.items() if key not in self._held})
        )
        return output

    def _add(self, tensor: Tensor, where: dict[int, Tensor]) -> Tensor:
        if _key(tensor) not in self._owned:
            where[_key(tensor)] = tensor
        return tensor


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _bytes(tensors: dict[int, Tensor]) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors.values())


def _trained(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _part(name: str, module: nn.Module) -> Part:
    return Part(name, sum(parameter.numel() for parameter in module.parameters()), _trained(module))
