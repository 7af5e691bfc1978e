"""One class of a dataset of several, as a dataset of one class whose other classes are in the way."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from syndiff.data.dataset import Case, Dataset, any_class
from syndiff.data.targets import Targets
from syndiff.errors import SyndiffError, did_you_mean


@dataclass(frozen=True)
class ClassView(Dataset):
    """`whole`, a dataset of several classes, with the masks of one of them alone.

    Its files, and so its fingerprint, are those of the folder.
    """

    whole: Dataset | None = None

    @classmethod
    def of(cls, whole: Dataset, name: str) -> "ClassView":
        """The view of the class `name`. Raises SyndiffError where there is none of this name."""
        if name not in whole.targets:
            raise SyndiffError(
                f"{whole.root} has no class {name!r}{did_you_mean(name, whole.targets)}; its classes are "
                f"{', '.join(whole.targets)}."
            )
        known = {item.name: getattr(whole, item.name) for item in fields(Dataset)}
        classes = {number: its for number, its in whole.classes.items() if its == name}
        return cls(**{**known, "classes": classes, "overlap": False}, whole=whole)

    @property
    def every(self) -> Dataset:
        """The dataset of all classes."""
        assert self.whole is not None
        return self.whole

    @property
    def index(self) -> int:
        """Which of the classes it is, from 0."""
        return self.every.targets.index(self.targets[0])

    def fingerprint(self) -> str:
        """That of the whole dataset."""
        return self.every.fingerprint()

    def load_classes(self, case: Case) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], NDArray[np.bool_]]:
        """Image and mask (1xHxW) of the class."""
        image, masks = self.every.load_classes(case)
        return image, masks[self.index][None]

    def masks_alone(self, case: Case) -> NDArray[np.bool_]:
        """The mask (1xHxW) of the class."""
        return self.every.masks_alone(case)[self.index][None]

    def others(self, case: Case) -> NDArray[np.bool_]:
        """Pixels (HxW) of all other classes."""
        masks = self.every.masks_alone(case)
        return any_class(np.delete(masks, self.index, axis=0))

    def merged(self, case: Case | None, label: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """All masks (KxHxW) where `label` (HxW) is that of the class, and the others are those of `case`.

        A pixel of the label is no other class's. Without a case, there are no others.
        """
        masks = (
            np.zeros((len(self.every.targets), *label.shape), bool) if case is None else self.every.masks_alone(case)
        )
        masks = masks & ~label
        masks[self.index] = label
        return masks


def class_of(dataset: Dataset, case_ids: Iterable[str], name: str = "") -> Dataset:
    """`dataset` with the class `name` alone, by default the one that most of these cases have; as it is with one class.

    Raises SyndiffError for a class that it has not, and a name where there is nothing to choose from.
    """
    targets: Targets = dataset.told_apart
    if not targets.several:
        if name and name != targets.names[0]:
            raise SyndiffError(
                f"synthesis.paints is {name!r}, but {dataset.root} has one class, {targets.names[0]}; leave it out."
            )
        return dataset
    if not name:
        found: Counter[str] = Counter(dict.fromkeys(targets.names, 0))
        for case_id in case_ids:
            masks = dataset.masks_alone(dataset[case_id])
            found.update(its for its, mask in zip(targets.names, masks, strict=True) if mask.any())
        name = max(targets.names, key=lambda its: found[its])  # the first of equals
    return ClassView.of(dataset, name)


def seen_as(other: Dataset, dataset: Dataset) -> Dataset:
    """`other`, which has the same classes, as `dataset` is seen: where that is a view of one class, in this class.

    >>> seen_as(other, other) is other
    True
    """
    return ClassView.of(other, dataset.targets[0]) if isinstance(dataset, ClassView) else other


def written_with(dataset: Dataset) -> Targets:
    """The classes of masks that are written for `dataset`: all, where it is a view of one of several."""
    return dataset.every.told_apart if isinstance(dataset, ClassView) else Targets()
