"""Where each attempt of a synthesis puts its lesion: drawn from the seed and the attempt's index alone."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syndiff.data.class_view import ClassView
from syndiff.data.dataset import Case, Dataset
from syndiff.errors import SyndiffError
from syndiff.synthesis.placement.album import Album
from syndiff.synthesis.placement.elsewhere import lesion_free, open_lender
from syndiff.synthesis.placement.placing import Placement, place, restyle
from syndiff.synthesis.placement.population import Target
from syndiff.synthesis.placement.search import PlacementRules
from syndiff.synthesis.settings import SynthesisSettings
from syndiff.synthesis.shards import most_attempts

_ROUND = 64  # attempts that lend each other their frames' lesions


class Places:
    """The places of a synthesis from the cases `case_ids`, in their frames or those of `settings.backgrounds`.

    `margin` and `at_once` are what the inpainter paints around a lesion and whether it reads its contour.

    Raises SyndiffError for fewer than two cases, and for a folder of backgrounds without images.
    """

    def __init__(
        self,
        dataset: Dataset,
        case_ids: Iterable[str],
        settings: SynthesisSettings,
        *,
        seed: int,
        margin: float,
        at_once: bool,
        rules: PlacementRules,
    ) -> None:
        cases = [dataset[case_id] for case_id in sorted(set(case_ids))]
        if len(cases) < 2:
            raise SyndiffError(
                f"Synthesis moves lesions between training cases and needs at least two; found {len(cases)}."
            )
        self.album = Album(
            dataset,
            cases,
            lesion_free(Path(settings.backgrounds)) if settings.backgrounds else (),
            _of_same_class(open_lender(Path(settings.lesions)), dataset) if settings.lesions else None,
        )
        self.seed, self.margin, self.at_once, self.rules = seed, margin, at_once, rules
        self.background_lesion = settings.background_lesion

    def of(self, index: int) -> Placement | None:
        """The place of attempt `index`; None when none is found."""
        placing = np.random.default_rng(np.random.SeedSequence((self.seed, index)).spawn(2)[0])
        first = self._deal(self.album.backgrounds, index)
        if self.background_lesion == "restyle":
            return restyle(self.album, first, placing, margin=self.margin, rules=self.rules)
        return place(
            self.album,
            first,
            placing,
            target=self.target(index),
            margin=self.margin,
            rules=self.rules,
            lenders=self._lenders(index),
            own=self.background_lesion,
            at_once=self.at_once,
        )

    def target(self, index: int) -> Target:
        """What the lesion of attempt `index` is to be like."""
        return self.album.population.target(index, self.seed)

    def describe(self, index: int) -> dict[str, Any] | None:
        """What is kept of attempt `index` when it found no place: the target, where it had one."""
        return None if self.background_lesion == "restyle" else {"target": self.target(index).describe()}

    def check(self) -> None:
        """Raise SyndiffError for a background with a lesion, and where no attempt of a first sample has a place."""
        self.album.check_backgrounds()
        tries = most_attempts(1)
        if not any(self.of(index) for index in range(tries)):
            raise SyndiffError(
                f"{self.album.dataset.root}: in {tries} attempts no place was found for a lesion of the "
                f"{len(self.album.cases)} training cases, so nothing can be painted. Lesions must lie whole in their "
                "frames, and frames need room beside their own; look at them with `syndiff data inspect --out FILE`."
            )

    def _lenders(self, index: int) -> list[Case]:
        """Cases whose lesions attempt `index` may borrow: those whose frames its round paints into.

        So most cases are read once for all attempts of a round, however many cases there are, and an attempt still
        knows its lesions from its index alone.
        """
        start, cases = index // _ROUND * _ROUND, self.album.lenders
        return [self._deal(cases, start + i) for i in range(min(_ROUND, len(cases)))]

    def _deal(self, cases: Sequence[Case], index: int) -> Case:
        """Case number `index` of an endless sequence in which each one comes once before one comes again."""
        turn, place = divmod(index, len(cases))
        return cases[_shuffled(len(cases), self.seed, turn)[place]]


def _of_same_class(lender: Dataset, dataset: Dataset) -> Dataset:
    """The dataset that lends lesions, of several classes only with the one that is painted."""
    return ClassView.of(lender, dataset.targets[0]) if lender.told_apart.several else lender


@lru_cache(maxsize=8)
def _shuffled(count: int, seed: int, turn: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, turn, 1)).permutation(count)
