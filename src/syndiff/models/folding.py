"""Batch normalisations folded into the convolutions before them: the same answers, to rounding, in less time."""

import copy
from collections.abc import Iterator
from itertools import pairwise
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from syndiff.models.efficientnet import EfficientNetLite, InvertedResidual, SameConv

M = TypeVar("M", bound=nn.Module)


def fold_batch_norms(model: M) -> M:
    """A copy of `model`, in evaluation mode, without the batch normalisations that follow a convolution directly.

    In evaluation mode y = gamma (x - mean) / sqrt(variance + eps) + beta is a scaling and a shift for each channel,
    which the convolution does as well: w' = gamma w / sqrt(variance + eps). Folded are those in sequences and in
    EfficientNet's blocks, not those in MONAI's own containers. `model` itself keeps its weights and is in evaluation
    mode afterwards. One without any is returned as it is, not copied.
    """
    model.eval()
    if not any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        return model
    folded = copy.deepcopy(model)
    for module in list(folded.modules()):
        for convolution, norm in _pairs(module):
            first, second = getattr(module, convolution), getattr(module, norm)
            setattr(module, convolution, fuse_conv_bn_eval(first, second))
            setattr(module, norm, nn.Identity())
    return folded


def _pairs(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of a module's convolutions, each with the batch normalisation that comes next."""
    if isinstance(module, EfficientNetLite | InvertedResidual):
        names = module.normalised
    elif type(module) is nn.Sequential:  # a class derived from it may do more than call one after another
        names = dict(pairwise(name for name, _ in module.named_children()))
    else:
        return
    for convolution, norm in names.items():
        first, second = getattr(module, convolution, None), getattr(module, norm, None)
        # timm's own kinds standardise their weights as they compute, or have the activation within the normalisation
        if type(first) in (nn.Conv2d, SameConv) and type(second) is nn.BatchNorm2d:
            yield convolution, norm
