"""Training cases as placement sees them, decoded once and kept within a fixed amount of memory."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from syndiff.data.dataset import Case, Dataset
from syndiff.data.readers import IMAGE_EXTENSIONS, read_image, read_mask
from syndiff.errors import SyndiffError
from syndiff.synthesis.placement.field import FieldOfView, judge_view
from syndiff.synthesis.placement.lesions import Lesion, cut_out, relative_sizes

FOREIGN = "backgrounds/"
"""Ids of frames from a folder of lesion-free frames start with it. No case's id holds a slash."""

_FRAME_BYTES = _LESION_BYTES = 32 * 2**20
_MEASURED = 100  # cases whose lesions bound the sizes
_QUANTILES = (0.05, 0.95)


@dataclass(frozen=True)
class LoadedCase:
    """A decoded case: image HxWx3, the mask of its own lesions HxW."""

    case: Case
    image: NDArray[np.uint8] | NDArray[np.uint16]
    own: NDArray[np.bool_]

    @cached_property
    def view(self) -> FieldOfView:
        """Field of view and wall."""
        return judge_view(self.image)

    @property
    def nbytes(self) -> int:
        """What it holds in memory."""
        return self.image.nbytes + self.own.nbytes


class _Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


Item = TypeVar("Item", bound=_Sized)


class _Cache(Generic[Item]):
    """Keeps the items used last, up to a number of bytes."""

    def __init__(self, budget: int, make: Callable[[Case], tuple[Item, ...]]) -> None:
        self.budget, self.make = budget, make
        self.items: OrderedDict[str, tuple[Item, ...]] = OrderedDict()
        self.held = 0

    def get(self, case: Case) -> tuple[Item, ...]:
        if case.id not in self.items:
            made = self.items[case.id] = self.make(case)
            self.held += sum(item.nbytes for item in made)
            while self.held > self.budget and len(self.items) > 1:
                _, oldest = self.items.popitem(last=False)
                self.held -= sum(item.nbytes for item in oldest)
        self.items.move_to_end(case.id)
        return self.items[case.id]


class Album:
    """The frames to paint into and the cases that lend lesions.

    `cases` lend lesions, and are painted into unless `backgrounds` are given: frames without any lesion from
    another folder (see `lesion_free`).
    """

    def __init__(self, dataset: Dataset, cases: Sequence[Case], backgrounds: Sequence[Case] = ()) -> None:
        self.dataset, self.cases = dataset, tuple(cases)
        self.backgrounds = tuple(backgrounds) or self.cases
        self._frames = _Cache(_FRAME_BYTES, lambda case: (self._load(case),))
        self._lesions = _Cache(_LESION_BYTES, self._cut_out)

    def __getitem__(self, case_id: str) -> Case:
        """Find the frame that a manifest names as its source."""
        if case_id.startswith(FOREIGN):
            return next(case for case in self.backgrounds if case.id == case_id)
        return self.dataset[case_id]

    def frame(self, case: Case) -> LoadedCase:
        """Decode a case; a lesion-free one that has a lesion is a SyndiffError."""
        return self._frames.get(case)[0]

    def lesions(self, case: Case) -> tuple[Lesion, ...]:
        """Return the whole lesions of a training case."""
        return self._lesions.get(case)

    @cached_property
    def sizes(self) -> tuple[float, float]:
        """The 5 % and 95 % quantiles of the training lesions' `relative_sizes`, from up to 100 cases.

        The cases lie at even distances through all of them, so every run and every shard measures the same.
        """
        chosen = sorted({round(i) for i in np.linspace(0, len(self.cases) - 1, min(_MEASURED, len(self.cases)))})
        threshold = self.dataset.mask_threshold
        sizes = np.concatenate([relative_sizes(read_mask(self.cases[i].mask, threshold)) for i in chosen])
        if not len(sizes):
            return 0.0, np.inf
        low, high = np.quantile(sizes, _QUANTILES)
        return float(low), float(high)

    def check_backgrounds(self) -> None:
        """Raise SyndiffError for a frame of the backgrounds whose mask marks a lesion."""
        for case in self.backgrounds:
            if case.id.startswith(FOREIGN):
                self._check_free(case)

    def _load(self, case: Case) -> LoadedCase:
        if not case.id.startswith(FOREIGN):
            return LoadedCase(case, *self.dataset.load(case))
        self._check_free(case)
        image = read_image(case.image)
        return LoadedCase(case, image, np.zeros(image.shape[:2], bool))

    def _check_free(self, case: Case) -> None:
        if case.mask != case.image and read_mask(case.mask, self.dataset.mask_threshold).any():
            raise SyndiffError(
                f"{case.mask} marks a lesion, but synthesis.backgrounds is for frames without any: remove the "
                "case there, or the mask when it is wrong. Frames with lesions belong into the dataset."
            )

    def _cut_out(self, case: Case) -> tuple[Lesion, ...]:
        frame = self.frame(case)
        return cut_out(case, frame.image, frame.own, frame.view)


def lesion_free(folder: Path) -> list[Case]:
    """List a user's frames without lesions: a folder of images, or a dataset folder whose masks are empty.

    Each frame is a group of its own. Raises SyndiffError for a folder that does not exist or holds no image.
    """
    if (folder / "images").is_dir() and (folder / "masks").is_dir():
        return [
            Case(FOREIGN + case.id, case.image, case.mask, FOREIGN + case.id) for case in Dataset.open(folder).cases
        ]
    images = folder / "images" if (folder / "images").is_dir() else folder
    found = sorted(p for p in images.glob("*") if p.suffix.lower() in IMAGE_EXTENSIONS and p.name[0] != ".")
    if not found:
        raise SyndiffError(
            f"synthesis.backgrounds is {folder}, which holds no images; expected files that end in "
            f"{', '.join(sorted(IMAGE_EXTENSIONS))}, or a dataset folder with empty masks."
        )
    if twice := sorted({p.stem for p in found if sum(q.stem == p.stem for q in found) > 1}):
        raise SyndiffError(f"{images} holds two files named {twice[0]}; rename one.")
    # without a mask of its own a frame names its image there
    return [Case(FOREIGN + path.stem, path, path, FOREIGN + path.stem) for path in found]
