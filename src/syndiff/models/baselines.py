"""What people would pick instead: MONAI's networks, as its tutorials and papers set them up, from random weights."""

from collections.abc import Callable

from torch import Tensor, nn

from syndiff.data.targets import Targets
from syndiff.models.control import PlainNetwork
from syndiff.models.network import WeightSource
from syndiff.models.settings import BaselineKind, SegmenterSettings

_MEAN, _SPREAD = 0.5, 0.25
"""What brings images in [0, 1] to about zero mean and unit variance, which these networks are made for."""


class MonaiNetwork(PlainNetwork):
    """A network of MONAI, `kind` being a key of BASELINES. MONAI is the extra `baselines`."""

    def __init__(self, kind: BaselineKind, targets: Targets | None = None) -> None:
        super().__init__()
        self.kind, self.targets = kind, targets or Targets()
        self.backbone, self.dropout = nn.Identity(), nn.Dropout(0.0)
        self.network = BASELINES[kind](self.targets.count)

    def logits(self, image_bchw: Tensor) -> Tensor:
        """Mask logits at the size of the input."""
        logits: Tensor = self.network((image_bchw - _MEAN) / _SPREAD)
        return logits

    def weight_sources(self, settings: SegmenterSettings, *, autoencoder_here: bool) -> list[WeightSource]:
        """Nobody's."""
        return [WeightSource(self.kind, "random")]


def _unet(classes: int) -> nn.Module:
    """Residual units, as in MONAI's own spleen tutorial (Kerfoot et al., STACOM 2018)."""
    from monai.networks.nets.unet import UNet

    return UNet(2, 3, classes, channels=(16, 32, 64, 128, 256), strides=(2, 2, 2, 2), num_res_units=2, norm="batch")


def _attention_unet(classes: int) -> nn.Module:
    """Oktay et al., arXiv 1804.03999."""
    from monai.networks.nets.attentionunet import AttentionUnet

    return AttentionUnet(2, 3, classes, channels=(16, 32, 64, 128, 256), strides=(2, 2, 2, 2))


def _segresnet(classes: int) -> nn.Module:
    """Myronenko, arXiv 1810.11654, with the blocks of its paper and without the variational branch."""
    from monai.networks.nets.segresnet import SegResNet

    return SegResNet(2, 16, 3, classes, blocks_down=(1, 2, 2, 4), blocks_up=(1, 1, 1))


BASELINES: dict[BaselineKind, Callable[[int], nn.Module]] = {
    "unet": _unet,
    "attention-unet": _attention_unet,
    "segresnet": _segresnet,
}
