"""Chance over trainings and over groups at once, where all levels had the same seeds and were scored on the same cases.

The pigeonhole bootstrap (Owen, Annals of Applied Statistics 1, 2007) draws trainings and groups with replacement, each
on its own, the same ones for all levels. It holds the luck of training too, and errs on the wide side.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syndiff.evaluation.evaluate import CaseRow

RESAMPLES = 4000


@dataclass(frozen=True)
class Crossed:
    """Mean Dice of each level in every resample: `draws`, (resamples, levels); `means` are those of all there is."""

    levels: tuple[str, ...]
    means: NDArray[np.float64]
    draws: NDArray[np.float64]

    @classmethod
    def of(cls, tables: Mapping[str, Sequence[Sequence[CaseRow]]], *, seed: int = 0) -> "Crossed":
        """From the rows of every level in each of its repeats, the same cases and repeats in each."""
        first = next(iter(tables.values()))[0]
        members: dict[str, list[int]] = {}
        for index, row in enumerate(first):
            members.setdefault(row.group if row.group is not None else f"case {index}", []).append(index)
        dice = np.array([[[row.metrics.dice for row in rows] for rows in repeats] for repeats in tables.values()])
        sums = np.stack([dice[:, :, part].sum(axis=2) for part in members.values()], axis=2)
        sizes = np.array([len(part) for part in members.values()], dtype=np.float64)
        random, (_, repeats, groups) = np.random.default_rng(seed), sums.shape
        draws = np.empty((RESAMPLES, len(sums)))
        for number in range(RESAMPLES):
            some, trained = random.integers(0, groups, groups), random.integers(0, repeats, repeats)
            draws[number] = sums[:, trained][:, :, some].sum(axis=(1, 2)) / (repeats * sizes[some].sum())
        return cls(tuple(tables), dice.mean(axis=(1, 2)), draws)

    def interval(self, level: str, reference: str | None = None) -> dict[str, Any]:
        """The mean of a level, or its difference to the `reference`, with the middle 95 % of the draws."""
        means, draws = self.means, self.draws
        index = self.levels.index(level)
        mean, drawn = means[index], draws[:, index]
        if reference is not None:
            other = self.levels.index(reference)
            mean, drawn = mean - means[other], drawn - draws[:, other]
        low, high = np.quantile(drawn, [0.025, 0.975])
        return {"mean": float(mean), "low": float(low), "high": float(high)}

    def best(self) -> dict[str, float]:
        """The share of resamples in which each level has the highest mean; equal ones share."""
        top = self.draws == self.draws.max(axis=1, keepdims=True)
        shares = (top / top.sum(axis=1, keepdims=True)).mean(axis=0)
        return {level: float(share) for level, share in zip(self.levels, shares, strict=True)}

    def best_text(self, named: Callable[[str], str] = str) -> str:
        """Which level is highest, and how sure that is; `named` says what a level is called."""
        shares, index = self.best(), int(self.means.argmax())
        top = self.levels[index]
        mean = f"{named(top)} ({self.means[index]:.3f})"
        told = f"The highest mean is that of {mean}, the best in {shares[top]:.0%} of resamples"
        if shares[top] >= 0.95:
            return f"{told}: that it is the best is sure enough."
        others = sorted((level for level in shares if level != top), key=shares.__getitem__, reverse=True)
        likely = [level for level in others if level == others[0] or shares[level] >= 0.05]
        names = [f"{named(level)} ({shares[level]:.0%})" for level in likely]
        return f"{told}: which is best cannot be told from chance; it may be {', '.join(names)} as well."
