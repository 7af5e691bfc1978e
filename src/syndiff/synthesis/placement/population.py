"""How large, where and how far cut off the real lesions are, and which of them a new lesion is to be like."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syndiff.data.dataset import Case
from syndiff.errors import SyndiffError
from syndiff.synthesis.placement.measures import LesionShape

QUARTERS = 4
_STRATA = 16  # so many attempts in a row take sizes from every sixteenth of the real ones


@dataclass(frozen=True)
class KnownLesion:
    """A lesion of a case, without its pixels. `number` counts the whole lesions of the case; None: the edge cuts it."""

    case: Case
    number: int | None
    shape: LesionShape


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a new lesion is to be like: one of the real lesions, by its size.

    `area` is a share of the view, `edge` the share of its contour on the edge of the view, `distance` how far its
    centre lies from the view's (see `measures.LesionShape`). `quarter` counts from 1, the smallest quarter of the real
    lesions.
    """

    area: float
    edge: float
    distance: float
    quarter: int

    def describe(self) -> dict[str, Any]:
        """For the manifest."""
        return {name: round(value, 5) for name, value in asdict(self).items()}


class Population:
    """The real lesions, from the smallest to the largest. Raises SyndiffError for none."""

    def __init__(self, lesions: Sequence[KnownLesion], root: object, cases: int) -> None:
        if not lesions:
            raise SyndiffError(
                f"{root}: none of the {cases} training cases has a lesion (their masks are empty); synthesis needs "
                "lesions to take size and shape of."
            )
        self.lesions = sorted(lesions, key=lambda lesion: (lesion.shape.area, lesion.case.id))
        self.areas = np.array([lesion.shape.area for lesion in self.lesions])

    def target(self, index: int, seed: int) -> Target:
        """The target of attempt `index`, by it and the seed alone.

        Of sixteen attempts in a row each takes its size from another sixteenth of the real sizes, in random order. Edge
        and distance are those of the real lesion next in size.
        """
        turn, place = divmod(index, _STRATA)
        within = float(np.random.default_rng((seed, index, 4)).uniform())
        rank = (int(_order(seed, turn)[place]) + within) / _STRATA
        nearest = self.lesions[min(int(rank * len(self.lesions)), len(self.lesions) - 1)].shape
        return Target(
            area=float(np.quantile(self.areas, rank)),
            edge=nearest.edge,
            distance=nearest.distance,
            quarter=1 + int(rank * QUARTERS),
        )

    @property
    def bounds(self) -> list[float]:
        """Areas at the ends of the four quarters: five values."""
        return [float(area) for area in np.quantile(self.areas, np.linspace(0, 1, QUARTERS + 1))]


@lru_cache(maxsize=8)
def _order(seed: int, turn: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, turn, 3)).permutation(_STRATA)


@lru_cache(maxsize=1)
def _disc() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares of a disc's area and of the rest's contour that a chord cuts off, for chords all over the disc."""
    half = np.linspace(0, np.pi / 2, 100)
    area = (half - np.sin(half) * np.cos(half)) / np.pi
    return area, np.sin(half) / (np.sin(half) + np.pi - half)


def hidden_share(edge: float) -> float:
    """How much of a disc lies beyond the edge when `edge` of the rest's contour lies on it: from 0 to a half."""
    area, contour = _disc()
    return float(np.interp(edge, contour, area))
