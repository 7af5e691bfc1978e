"""The crops of a step of LoRA training; each sample's randomness comes from (seed, step, its place in the batch)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from syndiff.data.boxes import crop_box
from syndiff.data.crops import cut
from syndiff.data.dataset import Dataset
from syndiff.data.masks import components
from syndiff.data.readers import to_unit
from syndiff.errors import SyndiffError
from syndiff.training.batches import case_indices
from syndiff.training.settings import LoraSettings


class LoraBatch(NamedTuple):
    """Crops (b, 3, r, r) in [0, 1], where to paint (b, 1, r, r) in {0, 1}, captions, and the samples' randomness."""

    image: Tensor
    mask: Tensor
    captions: tuple[str, ...]
    timestep: Tensor
    """(b,) whole numbers below the number of training timesteps."""
    noise: Tensor
    """(b, 3, 4, r/8, r/8): for the latent, and for drawing the latents of the crop and of the masked crop."""


class LoraCases:
    """The cases that are taught, read when they are needed.

    `captions` maps each of `case_ids` to its caption. Raises SyndiffError for an unknown case, a case without
    caption, and when no case has a lesion.
    """

    def __init__(
        self, dataset: Dataset, case_ids: Sequence[str], captions: Mapping[str, str], settings: LoraSettings
    ) -> None:
        self.dataset, self.captions, self.settings = dataset, captions, settings
        self.cases = [dataset[case_id] for case_id in sorted(set(case_ids))]
        without = [case.id for case in self.cases if not captions.get(case.id)]
        if without:
            raise SyndiffError(
                f"{len(without)} of {len(self.cases)} cases have no caption (first {without[0]}); write them to "
                f"{dataset.root / 'captions.csv'}, or let `syndiff data caption` do it."
            )
        self.cases = [case for case in self.cases if dataset.load(case)[1].any()]
        if not self.cases:
            raise SyndiffError(
                f"None of the {len(set(case_ids))} cases of {dataset.root} has a lesion; an inpainter is taught with "
                "images whose masks mark some."
            )

    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) over everything that is read of the cases."""
        return self.dataset.fingerprint_of(self.cases, self.captions)

    def batch(self, seed: int, step: int, timesteps: int, *, process: int = 0, processes: int = 1) -> LoraBatch:
        """This process's share of the batch of `step`, on the CPU."""
        indices = case_indices(len(self.cases), self.settings.batch_size, seed, step)
        places = range(process, self.settings.batch_size, processes)
        return self._stack([self._sample(indices[place], (seed, 1, step, place), timesteps) for place in places])

    def probe(self, seed: int, timesteps: int) -> LoraBatch:
        """The fixed crops of validations: lesions with their captions, at timesteps spread over the whole range."""
        count = min(self.settings.pictures, len(self.cases))
        order = np.random.default_rng([seed, 2]).permutation(len(self.cases))[:count]
        samples = [
            self._sample(int(index), (seed, 3, place), timesteps, fixed=True) for place, index in enumerate(order)
        ]
        batch = self._stack(samples)
        spread = (torch.arange(count) + 0.5) / count * timesteps
        return batch._replace(timestep=spread.long())

    def _stack(self, samples: Sequence[tuple[Tensor, Tensor, str, int, Tensor]]) -> LoraBatch:
        image, mask, captions, timestep, noise = zip(*samples, strict=True)
        return LoraBatch(torch.stack(image), torch.stack(mask), captions, torch.tensor(timestep), torch.stack(noise))

    def _sample(
        self, index: int, entropy: tuple[int, ...], timesteps: int, *, fixed: bool = False
    ) -> tuple[Tensor, Tensor, str, int, Tensor]:
        settings, rng = self.settings, np.random.default_rng(entropy)
        case = self.cases[index]
        frame, lesions = self.dataset.load(case)
        mask, caption = one_lesion(lesions, rng), self.captions[case.id]
        if rng.random() < settings.random_masks and not fixed:
            ellipse = random_ellipse(mask, rng)
            if ellipse.any() and not (ellipse & lesions).any():
                mask, caption = ellipse, settings.background_caption
        if rng.random() < settings.caption_dropout and not fixed:
            caption = ""
        box = crop_box(mask, rng.uniform(settings.min_context, settings.max_context), settings.min_crop)
        image = cut(to_unit(frame), box, settings.resolution)
        where = (cut(mask, box, settings.resolution) >= 0.5).float()
        if settings.flips and not fixed:
            turns, mirror = int(rng.integers(4)), bool(rng.integers(2))
            image, where = (torch.rot90(x.flip(2) if mirror else x, turns, (1, 2)) for x in (image, where))
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        timestep = int(torch.randint(timesteps, (1,), generator=generator))
        side = settings.resolution // 8
        return image, where, caption, timestep, torch.randn(3, 4, side, side, generator=generator)


def one_lesion(lesions: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """One connected lesion of a mask (HxW) that has some."""
    labels, areas = components(lesions)
    return labels == 1 + rng.integers(len(areas))


def random_ellipse(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """An ellipse anywhere in the frame (HxW), its half-axes 0.3 to 0.8 times the longer side of `mask`."""
    rows, columns = np.nonzero(mask)
    extent = max(np.ptp(rows), np.ptp(columns)) + 1
    axes, centre = rng.uniform(0.3, 0.8, 2) * extent, rng.uniform(0, mask.shape)
    angle = rng.uniform(0, np.pi)
    y, x = (grid - middle for grid, middle in zip(np.indices(mask.shape), centre, strict=True))
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return (along / axes[0]) ** 2 + (across / axes[1]) ** 2 < 1
