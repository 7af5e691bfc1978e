"""All cases of a training run, read once, resized and kept in memory as bytes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from syndiff.data.dataset import Dataset
from syndiff.data.parallel import in_threads
from syndiff.data.readers import image_content
from syndiff.data.resize import resize_image, resize_masks
from syndiff.data.targets import Targets


@dataclass(frozen=True)
class CaseArrays:
    """Resized cases in the order in which they were asked for."""

    ids: tuple[str, ...]
    images: torch.Tensor
    """uint8, (n, 3, size, size), 0 to 255."""
    masks: torch.Tensor
    """uint8, (n, K, size, size), 0 or 1: a mask for each class of `targets`."""
    source: torch.Tensor
    """int64, (n,): which of the sources each case is from, counted from 0."""
    contents: tuple[str, ...] = ()
    """What identifies each picture (`image_content`); empty for arrays that were never files."""
    targets: Targets = field(default_factory=Targets)
    """What the masks are of."""
    fine: "CaseArrays | None" = None
    """The same cases at a multiple of the size, where crops of them are wanted."""

    def __len__(self) -> int:
        return len(self.ids)


def load_cases(
    sources: Sequence[tuple[Dataset, Sequence[str]]], size: int, *, detail: int = 1, progress: bool = False
) -> CaseArrays:
    """Read the named cases of one or several datasets (real, synthetic) and resize them to `size` x `size`.

    The order is that of `sources` and of the ids within each, however many threads read. Takes (3 + K) * size^2
    bytes a case (612 cases of one class: 40 MB at 128 pixels, 160 MB at 256) plus one full-size image for each of at
    most four threads. With a `detail` above 1 they are kept at so many times the size as well (`CaseArrays.fine`).
    `progress` shows a bar on standard error. Raises SyndiffError for an unreadable file, an unknown id, and datasets
    whose classes differ.
    """
    datasets = [dataset for dataset, _ in sources]
    targets = datasets[0].told_apart
    for other in datasets[1:]:
        targets.check_same(other.told_apart, str(datasets[0].root), str(other.root))
    jobs = [(dataset, dataset[case_id]) for dataset, ids in sources for case_id in ids]
    source = torch.repeat_interleave(torch.arange(len(sources)), torch.tensor([len(ids) for _, ids in sources]))
    sizes = [size] if detail == 1 else [size, detail * size]
    images = [np.empty((len(jobs), 3, side, side), np.uint8) for side in sizes]
    masks = [np.empty((len(jobs), targets.count, side, side), np.uint8) for side in sizes]
    contents = [""] * len(jobs)

    def read(index: int) -> None:
        dataset, case = jobs[index]
        image, classes = dataset.load_classes(case)
        contents[index] = image_content(image)
        for side, pictures, labels in zip(sizes, images, masks, strict=True):
            pictures[index] = resize_image(image, side).transpose(2, 0, 1)
            labels[index] = resize_masks(classes, side, exclusive=targets.exclusive)

    for _ in in_threads(read, range(len(jobs)), name="reading", progress=progress):
        pass
    ids = tuple(case.id for _, case in jobs)
    whole, *finer = (
        CaseArrays(ids, torch.from_numpy(pictures), torch.from_numpy(labels), source, tuple(contents), targets)
        for pictures, labels in zip(images, masks, strict=True)
    )
    return replace(whole, fine=finer[0]) if finer else whole
