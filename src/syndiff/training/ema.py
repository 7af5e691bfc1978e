"""Exponential moving average of everything trained."""

from collections.abc import Collection

import torch
from torch import Tensor, nn


class MovingAverage:
    """Average of a model's trained parameters; its buffers (batch statistics) and `but` are taken as they are.

    The decay grows as (1 + step) / (10 + step) up to `decay`, so that early averages forget the initial weights. With a
    `decay` of 0 there is no average: nothing is kept, and the live weights are used.
    """

    def __init__(self, model: nn.Module, decay: float, *, but: Collection[nn.Parameter] = ()) -> None:
        self.decay = decay
        left_out = set(but)
        self._live = (
            {name: p for name, p in model.named_parameters() if p.requires_grad and p not in left_out} if decay else {}
        )
        self.average = {name: p.detach().clone() for name, p in self._live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average toward the live weights after optimiser step number `step` (from 1)."""
        if not self.decay:
            return
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        live = [p.detach() for p in self._live.values()]
        torch._foreach_lerp_(list(self.average.values()), live, weight)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the live weights and the average; call it twice around a validation."""
        for name, parameter in self._live.items():
            held = parameter.detach().clone()
            parameter.copy_(self.average[name])
            self.average[name] = held

    @torch.no_grad()
    def load(self, average: dict[str, Tensor]) -> None:
        """Continue from a stored average."""
        for name, value in self.average.items():
            value.copy_(average[name])
