"""Training cases as placement sees them, decoded once and kept within a fixed amount of memory."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from syndiff.data.class_view import ClassView
from syndiff.data.dataset import Case, Dataset
from syndiff.data.masks import components, without_specks
from syndiff.data.readers import read_image, read_mask
from syndiff.errors import SyndiffError
from syndiff.synthesis.placement.elsewhere import FOREIGN, LENT, lent_cases
from syndiff.synthesis.placement.field import FieldOfView, judge_view, to_pixels, view_box
from syndiff.synthesis.placement.lesions import Lesion, cut_out
from syndiff.synthesis.placement.measures import LesionMeasures, measure, measure_shape
from syndiff.synthesis.placement.population import KnownLesion, Population

_FRAME_BYTES = _LESION_BYTES = 32 * 2**20
_MEASURED = 200  # cases whose lesions say how large, where and how far cut off new ones shall be


@dataclass(frozen=True)
class LoadedCase:
    """A decoded case: image HxWx3, the mask of its own lesions HxW.

    `crop` says which part of the file it is (top, left, height, width), where it is not all of it. `others` (HxW) are
    the pixels of other classes, which stay as they are; None where there are none.
    """

    case: Case
    image: NDArray[np.uint8] | NDArray[np.uint16]
    own: NDArray[np.bool_]
    crop: tuple[int, int, int, int] | None = None
    others: NDArray[np.bool_] | None = None

    def without_others(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """`mask` (HxW) where no other class is."""
        return mask if self.others is None else mask & ~self.others

    @cached_property
    def view(self) -> FieldOfView:
        """Field of view and wall."""
        return judge_view(self.image)

    @property
    def nbytes(self) -> int:
        """What it holds in memory."""
        return self.image.nbytes + self.own.nbytes + (0 if self.others is None else self.others.nbytes)


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

    `cases` are the training cases: their lesions say what new ones shall be like. They are painted into unless
    `backgrounds` are given, frames without any lesion from another folder (see `elsewhere.lesion_free`), and lend their
    lesions unless another dataset, the `lender`, does.
    """

    def __init__(
        self,
        dataset: Dataset,
        cases: Sequence[Case],
        backgrounds: Sequence[Case] = (),
        lender: Dataset | None = None,
    ) -> None:
        self.dataset, self.cases, self.lender = dataset, tuple(cases), lender
        self.backgrounds = tuple(backgrounds) or self.cases
        self.lenders = tuple(lent_cases(lender)) if lender else self.cases
        self._frames = _Cache(_FRAME_BYTES, lambda case: (self._load(case),))
        self._lesions = _Cache(_LESION_BYTES, self._cut_out)
        self._known: dict[str, tuple[KnownLesion, ...]] = {}

    def __getitem__(self, case_id: str) -> Case:
        """Find the frame that a manifest names as its source."""
        if case_id.startswith(FOREIGN):
            return next(case for case in self.backgrounds if case.id == case_id)
        return self.dataset[case_id]

    def frame(self, case: Case) -> LoadedCase:
        """Decode a case; a lesion-free frame is cut to its view, and is a SyndiffError when it has a lesion."""
        return self._frames.get(case)[0]

    def lesions(self, case: Case) -> tuple[Lesion, ...]:
        """Return the whole lesions of a case."""
        return self._lesions.get(case)

    def known(self, case: Case) -> tuple[KnownLesion, ...]:
        """All lesions of a case without their pixels, specks left out; what is known of a case is kept for good."""
        if case.id not in self._known:
            frame, number, found = self.frame(case), 0, []
            labels, areas = components(frame.own)
            inner = to_pixels(frame.view.inner, frame.view.step, frame.own.shape)
            for label in without_specks(areas):
                lesion = labels == label
                whole = bool(inner[lesion].all())
                found.append(KnownLesion(case, number if whole else None, measure_shape(lesion, frame.view)))
                number += whole
            self._known[case.id] = tuple(found)
        return self._known[case.id]

    @cached_property
    def population(self) -> Population:
        """The lesions of up to 200 training cases. Raises SyndiffError where they have none."""
        lesions = [lesion for case in self._measured(self.cases) for lesion in self.known(case)]
        return Population(lesions, self.dataset.root, len(self.cases))

    @cached_property
    def lent(self) -> tuple[KnownLesion, ...]:
        """The whole lesions of up to 200 cases that lend theirs. Raises SyndiffError where they have none."""
        cases = self._measured(self.lenders)
        found = tuple(lesion for case in cases for lesion in self.known(case) if lesion.number is not None)
        if not found:
            root, whose = (self.lender.root, "its") if self.lender else (self.dataset.root, "the training")
            raise SyndiffError(
                f"{root}: of {whose} {len(self.lenders)} cases none has a whole lesion (their masks are empty, or cut "
                "off by the edge of the frame); synthesis needs lesions to take the shape of."
            )
        return found

    def measures(self) -> Iterator[tuple[Case, LesionMeasures]]:
        """What new lesions are held against: the lesions of the same cases, with their contrast."""
        for case in self._measured(self.cases):
            frame = self.frame(case)
            for lesion in measure(frame.image, frame.own, frame.own, frame.view):
                yield case, lesion

    @staticmethod
    def _measured(cases: Sequence[Case]) -> list[Case]:
        """Up to 200 of the cases at even distances, so that every run and every shard measures the same."""
        chosen = sorted({round(i) for i in np.linspace(0, len(cases) - 1, min(_MEASURED, len(cases)))})
        return [cases[i] for i in chosen]

    def check_backgrounds(self) -> None:
        """Raise SyndiffError for a frame of the backgrounds whose mask marks a lesion."""
        for case in self.backgrounds:
            if case.id.startswith(FOREIGN):
                self._check_free(case)

    def _load(self, case: Case) -> LoadedCase:
        if case.id.startswith(LENT):
            assert self.lender is not None
            return _loaded(self.lender, case)
        if not case.id.startswith(FOREIGN):
            return _loaded(self.dataset, case)
        self._check_free(case)
        whole = read_image(case.image)
        rows, columns = view_box(whole)
        image = whole[rows, columns].copy()
        crop = rows.start, columns.start, *image.shape[:2]
        return LoadedCase(case, image, np.zeros(image.shape[:2], bool), crop)

    def _check_free(self, case: Case) -> None:
        if case.mask != case.image and read_mask(case.mask, self.dataset.mask_threshold).any():
            raise SyndiffError(
                f"{case.mask} marks a lesion, but synthesis.backgrounds is for frames without any: remove the "
                "case there, or the mask when it is wrong. Frames with lesions belong into the dataset."
            )

    def _cut_out(self, case: Case) -> tuple[Lesion, ...]:
        frame = self.frame(case)
        return cut_out(case, frame.image, frame.own, frame.view, frame.others)


def _loaded(dataset: Dataset, case: Case) -> LoadedCase:
    others = dataset.others(case) if isinstance(dataset, ClassView) else None
    return LoadedCase(case, *dataset.load(case), others=others)
