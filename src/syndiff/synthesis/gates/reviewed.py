"""Bounds drawn closer by what reviewers said of earlier samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from syndiff.synthesis.gates.gate import Bounds, Gate
from syndiff.synthesis.gates.settings import PIXEL_GATES

Scores = Mapping[str, float | None]
_WORTH = 2.0
"""A cut must put at least so many times the share of the rejected outside as of the accepted."""


@dataclass(frozen=True)
class Reviewed:
    """Gate scores of the samples that reviewers accepted and rejected, as their manifests have them.

    `identity` is a hash over the samples and what was said of them.
    """

    accepted: Sequence[Scores]
    rejected: Sequence[Scores]
    identity: str

    def account(self, bounds: Mapping[str, Bounds]) -> dict[str, Any]:
        """How many of either lie outside `bounds`: of the accepted these are lost, the other rejected pass."""
        return {
            "hash": self.identity,
            "rejected": len(self.rejected),
            "rejected_outside": sum(not _inside(each, bounds) for each in self.rejected),
            "accepted": len(self.accepted),
            "accepted_lost": sum(not _inside(each, bounds) for each in self.accepted),
        }


def tightened(gates: Sequence[Gate], bounds: Mapping[str, Bounds], reviewed: Reviewed) -> dict[str, Bounds]:
    """`bounds`, cut until no cut tells the rejected samples from the accepted ones any more; never wider than before.

    Cut by cut the bound is taken, among all gates that look at pixels and the sides that each of them has, that puts
    the most rejected samples outside for the accepted ones it loses: the largest gain in the share of the rejected
    outside minus the share of the accepted outside (Youden's J). A bound lies halfway between two scores that occurred.
    A cut that does not put twice the share of rejected samples outside as of accepted ones is none.
    """
    now = dict(bounds)
    while True:
        accepted = [each for each in reviewed.accepted if _inside(each, now)]
        rejected = [each for each in reviewed.rejected if _inside(each, now)]
        cuts = [
            cut
            for gate in gates
            if gate.name in PIXEL_GATES
            for cut in _cuts(gate, now[gate.name], accepted, rejected, len(reviewed.accepted), len(reviewed.rejected))
        ]
        if not cuts:
            return now
        _, name, closer = max(cuts, key=lambda cut: cut[0])
        now[name] = closer


def told(account: Mapping[str, Any]) -> str:
    """An account in a sentence."""
    return (
        f"reviews: {account['rejected_outside']} of {account['rejected']} rejected samples lie outside the gates' "
        f"bounds now; {account['accepted_lost']} of {account['accepted']} accepted ones would be lost with them"
    )


def _inside(scores: Scores, bounds: Mapping[str, Bounds]) -> bool:
    """Whether none of the gates that look at pixels would refuse a sample of these scores."""
    found = ((bounds[name], scores.get(name)) for name in PIXEL_GATES if name in bounds)
    return all(score is None or each.hold(score) for each, score in found)


def _cuts(
    gate: Gate,
    bounds: Bounds,
    accepted: Sequence[Scores],
    rejected: Sequence[Scores],
    all_accepted: int,
    all_rejected: int,
) -> list[tuple[float, str, Bounds]]:
    """The best cut on each side of a gate that is worth it: its gain, the gate, the bounds."""
    good, bad = (
        np.sort([score for each in some if (score := each.get(gate.name)) is not None]) for some in (accepted, rejected)
    )
    occurring = np.unique(np.concatenate([good, bad]))
    if len(occurring) < 2:
        return []
    between = (occurring[1:] + occurring[:-1]) / 2
    found = []
    for side, there in (("low", gate.too_low), ("high", gate.too_high)):
        if not there:
            continue
        lost, out = (np.searchsorted(each, between) for each in (good, bad))
        if side == "high":
            lost, out = len(good) - lost, len(bad) - out
        lost, out = lost / all_accepted, out / all_rejected
        gain = np.where(out >= _WORTH * lost, out - lost, 0)
        best = int(np.argmax(gain))
        if gain[best] > 0:
            cut = float(between[best])
            closer = replace(bounds, low=cut) if side == "low" else replace(bounds, high=cut)
            found.append((float(gain[best]), gate.name, closer))
    return found
