"""A GPU that computes nothing, for machines without one: shapes and devices are followed, mixing them is an error."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

GPU = torch.device("cuda", 0)
"""Without the index torch would ask the driver which GPU is meant."""


@contextmanager
def fake_gpu() -> Iterator[None]:
    """Within it tensors may lie on `GPU`; one operation on tensors of two devices raises.

    Forward passes only, without autograd and in evaluation mode: a CPU build of torch has no backward pass there.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # attention in one kernel, which asks the driver
    try:
        with (
            FakeTensorMode(allow_non_fake_inputs=True),
            torch.no_grad(),
            mock.patch.object(Tensor, "contiguous", _contiguous),
            mock.patch.object(functional, "_in_projection_packed", _in_projection),
            _Operators(),
        ):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


class _Operators(TorchFunctionMode):
    """Square brackets and ~, which ask the driver even here; the shape of what brackets give is found on the CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__invert__:
            return torch.bitwise_not(*args)
        if func is not Tensor.__getitem__ or args[0].device.type != "cuda":
            return func(*args, **(kwargs or {}))
        tensor, index = args
        index = tree_map(lambda part: part.cpu() if isinstance(part, Tensor) else part, index)
        found = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)[index]
        return torch.empty_strided(found.shape, found.stride(), dtype=found.dtype, device=tensor.device)


def _contiguous(tensor: Tensor, *, memory_format: torch.memory_format = torch.contiguous_format) -> Tensor:
    """`Tensor.contiguous`, which asks the driver too."""
    return torch.clone(tensor, memory_format=memory_format)


def _in_projection(query: Tensor, key: Tensor, value: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    """Query, key and value of self-attention without square brackets, where `_Operators` is not asked."""
    return tuple(_contiguous(part) for part in functional.linear(query, weight, bias).chunk(3, -1))


def to_fake_gpu(module: nn.Module) -> nn.Module:
    """Put parameters and buffers of `module` on the GPU, without values. Other tensors it holds stay where they are."""

    def moved(tensor: Tensor) -> Tensor:
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=GPU)

    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(moved(parameter), requires_grad=parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = moved(buffer)
    return module
