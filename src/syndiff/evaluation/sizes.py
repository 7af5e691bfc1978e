"""Scores by the size of the lesion: a mean over all cases hides that small ones are missed and large ones are easy."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from syndiff.evaluation.metrics import CaseMetrics

BOUNDS = (0.01, 0.05, 0.15)
"""Shares of the frame at which a size ends and the next begins."""


class Sized(NamedTuple):
    """The metrics of a case, and which share of the frame is lesion, in [0, 1]."""

    metrics: CaseMetrics
    share: float


def size_of(share: float) -> str | None:
    """What the size of a lesion with this share of the frame is called, such as "1 to 5 %"; None without a lesion."""
    return size_names()[sum(share >= bound for bound in BOUNDS)] if share else None


def size_names() -> list[str]:
    """What all sizes are called, the smallest first."""
    percent = [f"{100 * bound:g}" for bound in BOUNDS]
    between = [f"{low} to {high} %" for low, high in pairwise(percent)]
    return [f"below {percent[0]} %", *between, f"{percent[-1]} % or more"]


@dataclass(frozen=True)
class SizeScores:
    """Of the cases of one size: how many, means of three scores, and how many of their lesions are missed."""

    cases: int
    dice: float
    nsd: float
    hd95: float
    lesions: int
    missed_lesions: int

    def __str__(self) -> str:
        return (
            f"{self.cases:5} cases  Dice {self.dice:.3f}  NSD {self.nsd:.3f}  HD95 {self.hd95:.1f}  "
            f"{self.missed_lesions} of {self.lesions} lesions missed"
        )


def by_size(cases: Sequence[Sized]) -> dict[str, SizeScores]:
    """The scores of each size that occurs. A case counts by all of its lesions together; without one it has no size."""
    table = {}
    for name in size_names():
        if found := [case.metrics for case in cases if size_of(case.share) == name]:
            table[name] = SizeScores(
                cases=len(found),
                dice=_mean([metrics.dice for metrics in found]),
                nsd=_mean([metrics.nsd for metrics in found]),
                hd95=_mean([metrics.hd95 for metrics in found]),
                lesions=sum(metrics.lesions for metrics in found),
                missed_lesions=sum(metrics.missed_lesions for metrics in found),
            )
    return table


def _mean(values: Sequence[float | None]) -> float:
    """Of scores that apply to every case with a lesion."""
    known = [value for value in values if value is not None]
    assert len(known) == len(values)
    return sum(known) / len(known)
