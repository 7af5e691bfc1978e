"""Crops that an inpainter learns from: a lesion hidden with a margin, or a piece of mucosa where no lesion is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from tqdm import tqdm

from syndiff.data.boxes import Box, crop_box
from syndiff.data.crops import cut
from syndiff.data.dataset import Dataset
from syndiff.data.masks import MIN_PIXELS
from syndiff.data.resize import resize_to
from syndiff.errors import SyndiffError
from syndiff.training.settings import AdaptSettings

LARGEST_FRAME = 448
"""Pixels of a frame's longer side that are kept in memory: crops are hardly ever sharper than that."""


def has_lesion(image: NDArray[np.uint8] | NDArray[np.uint16], lesion: NDArray[np.bool_]) -> bool:
    """Whether a lesion (HxW) of an image is large enough to be learned from."""
    return _kept(image, lesion) is not None


def _kept(image: NDArray[np.uint8] | NDArray[np.uint16], lesion: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """A lesion at the size at which frames are kept; None where hardly anything is left of it."""
    _, part = resize_to(image, lesion, LARGEST_FRAME)
    return part if part.sum() >= MIN_PIXELS else None


@dataclass(frozen=True)
class Lesion:
    """One connected lesion of frame number `frame`; `mask` is its part of the frame, at `box`."""

    frame: int
    box: Box
    mask: NDArray[np.bool_]
    caption: str


class LesionCrops:
    """Lesions of some cases with their frames, in memory (0.6 MB a frame at most), and random crops around them."""

    def __init__(
        self,
        dataset: Dataset,
        captions: Mapping[str, Sequence[tuple[NDArray[np.bool_], str]]],
        *,
        background: str,
        progress: bool = False,
    ) -> None:
        """Read the cases that `captions` names; it maps each to its lesions, HxW masks with their captions."""
        self.frames: list[NDArray[np.uint8]] = []
        self.free: list[NDArray[np.bool_]] = []
        self.lesions: list[Lesion] = []
        self.weights: list[float] = []
        self.background = background
        self.add(dataset, captions, progress=progress)
        if not self.lesions:
            raise SyndiffError(
                f"None of the {len(captions)} cases of {dataset.root} has a lesion; an inpainter learns from images "
                "whose masks mark some."
            )

    def add(
        self,
        dataset: Dataset,
        captions: Mapping[str, Sequence[tuple[NDArray[np.bool_], str]]],
        weights: Mapping[str, float] | None = None,
        *,
        progress: bool = False,
    ) -> None:
        """Read more cases. `weights` says, by case, how often its lesions are drawn, as against 1 of all others."""
        for case_id in tqdm(sorted(captions), desc="crops", unit="case", disable=not progress):
            image, every = dataset.load(dataset[case_id])
            frame, mask = resize_to(image, every, LARGEST_FRAME)
            for lesion, caption in captions[case_id]:
                part = _kept(image, lesion)
                if part is None:
                    continue
                box = crop_box(part, 1.0, 1)
                self.lesions.append(Lesion(len(self.frames), box, part[box.slices], caption))
                self.weights.append(1.0 if weights is None else weights[case_id])
            self.frames.append(frame)
            self.free.append(~mask)

    def __len__(self) -> int:
        return len(self.lesions)

    def order(self, count: int, entropy: tuple[int, ...]) -> list[int]:
        """Which lesion each of `count` crops is of: all in turns, or as often as their weights say, in random order."""
        if len(set(self.weights)) == 1:
            return [i % len(self) for i in range(count)]
        shares = np.cumsum(self.weights) / sum(self.weights)
        drawn = np.searchsorted(shares, (np.arange(count) + 0.5) / count)
        return [int(i) for i in np.random.default_rng(entropy).permutation(drawn)]

    def draw(
        self, indices: Sequence[int], entropy: tuple[int, ...], *, size: int, settings: AdaptSettings
    ) -> tuple[Tensor, Tensor, Tensor, list[str]]:
        """Crops (b, 3, s, s) in [0, 1], outlines and hidden regions (b, 1, s, s) in {0, 1}, and captions.

        What happens to a crop depends on `entropy` and on its place in `indices` alone.
        """
        drawn = [
            self._crop(self.lesions[index], np.random.default_rng((*entropy, place)), size, settings)
            for place, index in enumerate(indices)
        ]
        images, lesions, hidden, captions = zip(*drawn, strict=True)
        return torch.stack(images), torch.stack(lesions), torch.stack(hidden), list(captions)

    def _crop(
        self, lesion: Lesion, rng: np.random.Generator, size: int, settings: AdaptSettings
    ) -> tuple[Tensor, Tensor, Tensor, str]:
        frame, free = self.frames[lesion.frame], self.free[lesion.frame]
        lesion_mask, box, caption = np.zeros_like(free), lesion.box, lesion.caption
        elsewhere = self._elsewhere(lesion, free, rng) if rng.random() < settings.background_share else None
        if elsewhere is not None:
            box, caption = elsewhere, self.background
        lesion_mask[box.slices] = lesion.mask
        margin = rng.uniform(settings.min_margin, settings.max_margin) * np.sqrt(lesion.mask.sum() / np.pi)
        context = rng.uniform(settings.min_context, settings.max_context)
        window = shifted(crop_box(lesion_mask, context, 24), lesion_mask, rng)
        hidden = hide(lesion_mask, max(2.0, margin), window)
        if elsewhere is not None:
            hidden &= free
            lesion_mask[:] = False
        else:
            hidden &= free | lesion_mask  # other lesions stay in sight
        parts = [cut(frame / np.float32(255), window, size)]
        parts += [(cut(mask, window, size) >= 0.5).float() for mask in (lesion_mask, hidden)]
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        image, where, concealed = (torch.rot90(x.flip(2) if mirrored else x, turns, (1, 2)) for x in parts)
        return image, where, concealed, caption

    def _elsewhere(self, lesion: Lesion, free: NDArray[np.bool_], rng: np.random.Generator) -> Box | None:
        """Where the lesion's mask lies on no lesion of its frame; None when eight tries find nothing."""
        height, width = lesion.mask.shape
        for _ in range(8):
            top = int(rng.integers(0, free.shape[0] - height + 1))
            left = int(rng.integers(0, free.shape[1] - width + 1))
            box = Box(top, left, height, width)
            if free[box.slices][lesion.mask].all():
                return box
        return None


def hide(lesion_mask: NDArray[np.bool_], margin: float, window: Box) -> NDArray[np.bool_]:
    """The lesion (HxW) widened by `margin` pixels, as far as `window` shows it."""
    hidden = np.zeros_like(lesion_mask)
    hidden[window.slices] = ndimage.distance_transform_edt(~lesion_mask[window.slices]) <= margin
    return hidden


def shifted(window: Box, mask: NDArray[np.bool_], rng: np.random.Generator) -> Box:
    """The window moved at random, within the frame, so that it still holds the mask (HxW)."""
    starts = []
    for axis, (start, length) in enumerate(((window.top, window.height), (window.left, window.width))):
        found = np.flatnonzero(mask.any(axis=1 - axis))
        low = max(0, int(found[-1]) + 1 - length)
        high = min(mask.shape[axis] - length, int(found[0]))
        # half-way at most: the model is to see some surroundings on every side
        drawn = int(rng.integers(low, high + 1))
        starts.append((start + drawn) // 2)
    return Box(starts[0], starts[1], window.height, window.width)
