"""Zooming into training cases: a crop, around a lesion mostly, with the detail of the finer copy of the case."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from syndiff.data.boxes import Box, crop_box
from syndiff.data.loading import CaseArrays
from syndiff.data.masks import components
from syndiff.data.settings import AugmentationSettings

_ANYWHERE = 0.25
"""Share of the crops that lie anywhere: the network must know mucosa close by, and lesions that a crop cuts."""
_CONTEXT = (1.3, 3.2)
"""Side of a crop around a lesion, in sides of its box; a second look takes 2.6."""


def draw_cases(
    cases: CaseArrays,
    indices: Tensor,
    settings: AugmentationSettings,
    *,
    seed: int,
    process: int = 0,
    processes: int = 1,
) -> tuple[Tensor, Tensor]:
    """Images (b, 3, s, s) in [0, 1] and masks (b, K, s, s) in {0, 1} of some cases, the share `zoom_share` as crops.

    Without zoom, the whole images of all. A crop has the proportions of the whole. The same seed makes the same crops,
    whatever torch's global random state is, and however many processes share the batch: these cases are every
    `processes`-th of it from `process` on.
    """
    images, masks = cases.images[indices].float() / 255, cases.masks[indices].float()
    if settings.zoom == 1:
        return images, masks
    assert cases.fine is not None, "zoom needs cases that were loaded with detail"
    size = images.shape[-1]
    detail = cases.fine.images.shape[-1] // size
    for place, index in enumerate(indices.tolist()):
        rng = np.random.default_rng([seed, process + place * processes])
        if rng.random() >= settings.zoom_share:
            continue
        box = _draw_box(cases.masks[index].amax(0).numpy() > 0, settings.zoom, rng)
        rows, columns = Box(*(detail * value for value in box)).slices
        part = torch.cat([cases.fine.images[index][:, rows, columns] / 255, cases.fine.masks[index][:, rows, columns]])
        crop = F.interpolate(part[None], size=(size, size), mode="bilinear", antialias=True)[0]
        images[place], masks[place] = crop[:3].clamp(0, 1), (crop[3:] > 0.5).float()
    return images, masks


def _draw_box(mask: np.ndarray, zoom: float, rng: np.random.Generator) -> Box:
    """A square part of a case with this mask (s, s), 1 to `zoom` times smaller than the whole."""
    side = len(mask)
    labels, areas = components(mask)
    if not len(areas) or rng.random() < _ANYWHERE:
        length = round(side / math.exp(rng.uniform(0, math.log(zoom))))
        top, left = rng.integers(0, side - length, 2, endpoint=True).tolist()
        return Box(top, left, length, length)
    lesion = labels == rng.integers(1, len(areas), endpoint=True)
    box = crop_box(lesion, rng.uniform(*_CONTEXT), round(side / zoom))
    # Off the lesion's centre by up to a quarter of the room beside it: where the first look puts it is not exact.
    room = (box.height - crop_box(lesion, 1.0, 1).height) / 4
    down, right = rng.uniform(-room, room, 2).round().astype(int).tolist()
    last = side - box.height
    return Box(min(max(box.top + down, 0), last), min(max(box.left + right, 0), last), box.height, box.width)
