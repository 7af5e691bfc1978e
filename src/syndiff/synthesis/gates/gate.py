"""One gate: a score, bounds that real lesions set, and words for either side of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from syndiff.synthesis.gates.region import Region

REAL = "real lesions"
REVIEWED = "real lesions and reviews"
"""What bounds come from, in words: reviews may have drawn them closer."""


@dataclass(frozen=True)
class Bounds:
    """The range of scores that passes, and the number of real scores it was taken from; None: no bound."""

    low: float | None
    high: float | None
    cases: int

    @property
    def calibrated(self) -> bool:
        """Whether there is any bound."""
        return self.low is not None or self.high is not None

    def hold(self, score: float) -> bool:
        """Whether the score lies between the bounds, both included."""
        return (self.low is None or score >= self.low) and (self.high is None or score <= self.high)

    def __str__(self) -> str:
        """The range in words."""
        if self.low is not None and self.high is not None:
            return f"from {self.low:.3g} to {self.high:.3g}"
        if self.low is not None:
            return f"at least {self.low:.3g}"
        return "anything" if self.high is None else f"at most {self.high:.3g}"


@dataclass(frozen=True)
class Verdict:
    """What a gate says of a sample: score (None: not applicable), bounds, and a sentence with the numbers."""

    gate: str
    score: float | None
    low: float | None
    high: float | None
    passed: bool
    reason: str


@dataclass(frozen=True)
class Gate:
    """A score with a name. `too_low` and `too_high` say what a score beyond that bound means; None: no such bound."""

    name: str
    score: Callable[[Region], float | None]
    too_low: str | None = None
    too_high: str | None = None

    def bounds(self, real_scores: Sequence[float | None], quantile: float) -> Bounds:
        """The bounds outside of which at most the share `quantile` of the real scores lies.

        A gate with two bounds gives half of the share to each. A bound is a score that occurred, taken on the
        generous side. Where the real scores are too few for the quantile to lie among them, their range would
        refuse far more than the share; the bound is then the one-sided prediction bound of a normal
        distribution, mean ± t s √(1 + 1/n), or the range if that is wider. Below three scores there is none.
        """
        scores = np.array([score for score in real_scores if score is not None])
        count = len(scores)
        if count < 3:
            return Bounds(None, None, count)
        share = quantile / 2 if self.too_low and self.too_high else quantile
        low = float(np.quantile(scores, share, method="lower"))
        high = float(np.quantile(scores, 1 - share, method="higher"))
        if count * share < 1:
            reach = stdtrit(count - 1, 1 - share) * scores.std(ddof=1) * np.sqrt(1 + 1 / count)
            low, high = min(low, float(scores.mean() - reach)), max(high, float(scores.mean() + reach))
        return Bounds(low if self.too_low else None, high if self.too_high else None, count)

    def judge(self, score: float | None, bounds: Bounds, drawn_from: str = REAL) -> Verdict:
        """Hold a score against bounds, which come from `drawn_from`, in words."""
        if score is None:
            return Verdict(self.name, None, bounds.low, bounds.high, True, f"{self.name}: not applicable here")
        passed = bounds.hold(score)
        meaning = f"like {drawn_from}" if bounds.calibrated else "not calibrated, scored only"
        if not passed:
            meaning = (self.too_low if bounds.low is not None and score < bounds.low else self.too_high) or ""
        reason = f"{self.name}: {meaning} ({score:.3g}; {drawn_from}: {bounds})"
        return Verdict(self.name, score, bounds.low, bounds.high, passed, reason)
