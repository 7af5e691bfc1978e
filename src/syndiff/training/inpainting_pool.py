"""Crops encoded once, before the training: the frozen autoencoder would give the same latents at every step."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from syndiff.data.augmentation import Augmentation
from syndiff.data.settings import AugmentationSettings
from syndiff.models.autoencoder import Autoencoder
from syndiff.models.inpainter import conceal
from syndiff.models.settings import DOWNSAMPLING
from syndiff.training.inpainting_crops import LesionCrops
from syndiff.training.settings import AdaptSettings

_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class EncodedCrops:
    """n crops of side s; with the shipped autoencoder and s = 128 some 50 kB each.

    Attributes:
        clean: latents (n, c, s/8, s/8) of the crops, as the autoencoder gives them.
        visible: those of the crops with what is to be painted concealed.
        lesion_mask: the lesions' masks (n, 64, s/8, s/8), blocks of 8x8 pixels folded into channels, boolean.
        hidden: how much of each latent pixel is concealed (n, 1, s/8, s/8), in [0, 1].
        captions: n captions.
    """

    clean: Tensor
    visible: Tensor
    lesion_mask: Tensor
    hidden: Tensor
    captions: Sequence[str]

    def __len__(self) -> int:
        return len(self.clean)


@torch.no_grad()
def encode_crops(
    crops: LesionCrops,
    autoencoder: Autoencoder,
    *,
    count: int,
    size: int,
    settings: AdaptSettings,
    entropy: tuple[int, ...],
    augment: bool,
    progress: bool = False,
) -> EncodedCrops:
    """`count` crops of side `size`, every lesion as often as its weight says, each time another crop of it.

    With `augment` their colours are changed at random. The same `entropy` gives the same crops.
    """
    recolour = Augmentation(
        AugmentationSettings(
            flips=False, rotation=0, scale=(1, 1), translate=0, colour=settings.colour, hue=settings.hue
        )
    )
    device = next(autoencoder.parameters()).device
    parts: list[tuple[Tensor, ...]] = []
    captions: list[str] = []
    order = crops.order(count, entropy)
    for start in tqdm(range(0, count, _AT_ONCE), desc="encoding crops", unit="batch", disable=not progress):
        indices = order[start : start + _AT_ONCE]
        image, lesion, hidden, said = crops.draw(indices, (*entropy, start), size=size, settings=settings)
        if augment:
            image, _ = recolour(image, lesion, seed=int(np.random.SeedSequence((*entropy, start)).generate_state(1)[0]))
        image = image.contiguous(memory_format=torch.channels_last)
        clean, visible = (
            autoencoder.encode(picture.to(device) * 2 - 1).float().cpu() for picture in (image, conceal(image, hidden))
        )
        lesion_mask = F.pixel_unshuffle(lesion, DOWNSAMPLING).bool()
        parts.append((clean, visible, lesion_mask, F.avg_pool2d(hidden, DOWNSAMPLING)))
        captions += said
    whole = [torch.cat(values) for values in zip(*parts, strict=True)]
    return EncodedCrops(clean=whole[0], visible=whole[1], lesion_mask=whole[2], hidden=whole[3], captions=captions)
