"""A GPU that computes nothing, for machines without one: shapes and devices are followed, mixing them is an error."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
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
            mock.patch.multiple(Tensor, **_SAID_OTHERWISE),
        ):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def _item(tensor: Tensor, index: Any) -> Tensor:
    """`tensor[index]`, whose shape is found on the CPU."""
    if tensor.device.type != "cuda":
        return _ITEM(tensor, index)
    index = tree_map(lambda part: part.cpu() if isinstance(part, Tensor) else part, index)
    found = _ITEM(torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype), index)
    return torch.empty_strided(found.shape, found.stride(), dtype=found.dtype, device=tensor.device)


def _contiguous(tensor: Tensor, *, memory_format: torch.memory_format = torch.contiguous_format) -> Tensor:
    return torch.clone(tensor, memory_format=memory_format)


def _invert(tensor: Tensor) -> Tensor:
    return torch.bitwise_not(tensor)


_ITEM = Tensor.__getitem__
_SAID_OTHERWISE = {"__getitem__": _item, "__invert__": _invert, "contiguous": _contiguous}
"""What asks the driver even here."""


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
