"""A dataset as its reviewers want it: corrected masks in the place of those in the folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from syndiff.data.dataset import Case, Dataset
from syndiff.data.readers import read_image, read_mask_values
from syndiff.errors import SyndiffError


@dataclass(frozen=True)
class Corrected(Dataset):
    """A dataset some of whose masks are read from elsewhere: `corrections` has the files, by case.

    Its files, and so its fingerprint, are those of the folder: what is drawn from it by name stays the same.
    """

    corrections: Mapping[str, Path] = field(default_factory=dict)

    @classmethod
    def of(cls, dataset: Dataset, corrections: Mapping[str, Path]) -> "Corrected":
        """`dataset` with these masks: PNG files in which everything above 0 is foreground.

        Raises SyndiffError for a dataset of several classes.
        """
        if corrections:
            dataset.told_apart.refuse_several(
                "A corrected mask", f"Leave out the reviews of {dataset.root}: corrections do not say which class."
            )
        known = {item.name: getattr(dataset, item.name) for item in fields(Dataset)}
        return cls(**known, corrections=corrections)

    def load_classes(self, case: Case) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], NDArray[np.bool_]]:
        """Image and masks as `Dataset.load_classes` has them, the mask corrected where it was.

        Raises SyndiffError as that does, and for a corrected mask of another size than the picture's.
        """
        path = self.corrections.get(case.id)
        if path is None:
            return super().load_classes(case)
        image, mask = read_image(case.image), read_mask_values(path) > 0
        if mask.shape != image.shape[:2]:
            raise SyndiffError(
                f"{path}, the corrected mask of {case.id}, is {mask.shape[1]}x{mask.shape[0]} (width x height), but "
                f"{case.image} is {image.shape[1]}x{image.shape[0]}; correct it again."
            )
        return image, mask[None]
