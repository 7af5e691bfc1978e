"""How far reviewers agree, and whether they can tell synthetic cases from real ones."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from syndiff.errors import SyndiffError
from syndiff.evaluation.statistics import Interval, bootstrap
from syndiff.reviews.state import CaseReview

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Agreement:
    """Kappa of the decisions accept and reject over the cases that all of `reviewers` have decided on.

    `method` is Cohen's for two reviewers, Fleiss' for more; `kappa.mean` is None where it is not defined.
    """

    method: str
    reviewers: tuple[str, ...]
    kappa: Interval

    @property
    def why(self) -> str:
        """Why kappa is not defined; "" where it is."""
        if self.kappa.mean is not None:
            return ""
        return "all of them gave one answer" if self.kappa.cases else "they have no case in common"


@dataclass(frozen=True)
class HitRate:
    """A reviewer's share of right answers in a blind test, with its exact interval (Clopper-Pearson, 95 %)."""

    reviewer: str
    right: int
    answers: int
    low: float
    high: float

    @property
    def share(self) -> float:
        return self.right / self.answers


def cohen_kappa(pairs: Sequence[Sequence[Hashable]]) -> float | None:
    """Cohen's kappa of two raters, (p_o - p_e) / (1 - p_e), from their two answers on each case.

    p_o is the share of equal answers, p_e the one expected of each rater's own shares of the answers (J. Cohen,
    Educational and Psychological Measurement 20, 1960). None without cases, and where both gave one and the same
    answer throughout: 0 / 0.
    """
    if not pairs:
        return None
    answers = {answer: index for index, answer in enumerate(dict.fromkeys(each for pair in pairs for each in pair))}
    table = np.zeros((len(answers), len(answers)))
    for first, second in pairs:
        table[answers[first], answers[second]] += 1
    table /= len(pairs)
    return _kappa(float(np.trace(table)), float(table.sum(axis=1) @ table.sum(axis=0)))


def fleiss_kappa(cases: Sequence[Sequence[Hashable]]) -> float | None:
    """Fleiss' kappa of as many answers, two at least, on each case (J. L. Fleiss, Psychological Bulletin 76, 1971).

    p_o is the mean over cases of the share of equal pairs of answers, p_e the sum of the squared shares of the answers
    over all. None as in `cohen_kappa`. Raises SyndiffError where the cases have different numbers of answers.
    """
    if not cases:
        return None
    raters = len(cases[0])
    if raters < 2 or any(len(case) != raters for case in cases):
        raise SyndiffError("Fleiss' kappa needs the same number of answers, two or more, on every case.")
    answers = {answer: index for index, answer in enumerate(dict.fromkeys(each for case in cases for each in case))}
    counts = np.zeros((len(cases), len(answers)))
    for row, case in zip(counts, cases, strict=True):
        for answer in case:
            row[answers[answer]] += 1
    observed = float(((counts**2).sum(axis=1) - raters).mean() / (raters * (raters - 1)))
    shares = counts.sum(axis=0) / counts.sum()
    return _kappa(observed, float((shares**2).sum()))


def agreement(reviews: Sequence[CaseReview], *, seed: int = 0) -> Agreement | None:
    """The kappa of the reviewers' decisions with its bootstrap interval over cases; None with fewer than two of them.

    Of the reviewers who decided on any case; those cases count that each of them decided on. Their order does not.
    """
    ordered = sorted(reviews, key=lambda case: (case.name, case.case, case.content))
    decided = [{each.reviewer: each.decision for each in case.opinions if each.decision} for case in ordered]
    reviewers = tuple(sorted(set().union(*decided)))
    if len(reviewers) < 2:
        return None
    shared = [tuple(case[who] for who in reviewers) for case in decided if len(case) == len(reviewers)]
    method, statistic = ("Cohen's", cohen_kappa) if len(reviewers) == 2 else ("Fleiss'", fleiss_kappa)
    return Agreement(method, reviewers, bootstrap(shared, None, statistic, confidence=CONFIDENCE, seed=seed))


def hit_rates(reviews: Sequence[CaseReview]) -> list[HitRate]:
    """Of each reviewer who took a blind test; chance is the share of the larger kind, 0.5 where both are as many."""
    answers: dict[str, list[bool]] = {}
    for case in reviews:
        for each in case.opinions:
            if each.guess:
                answers.setdefault(each.reviewer, []).append(each.guess == each.truth)
    return [hit_rate(reviewer, sum(right), len(right)) for reviewer, right in sorted(answers.items())]


def hit_rate(reviewer: str, right: int, answers: int) -> HitRate:
    """The share of `right` among `answers`, one at least, with its interval."""
    found = stats.binomtest(right, answers).proportion_ci(CONFIDENCE, method="exact")
    return HitRate(reviewer, right, answers, float(found.low), float(found.high))


def chance_of_guessing(right: int, answers: int, share: float = 0.5) -> float:
    """The p-value of a two-sided binomial test: how often guessing alone comes out as far from `share`, or farther."""
    return float(stats.binomtest(right, answers, share).pvalue)


def _kappa(observed: float, expected: float) -> float | None:
    return None if expected > 1 - 1e-12 else (observed - expected) / (1 - expected)
