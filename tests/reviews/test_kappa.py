"""Agreement between reviewers, against closed forms and scikit-learn; hit rates against the exact interval."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reviewing import subject
from scipy import stats

from syndiff.errors import SyndiffError
from syndiff.reviews.agreement import agreement, cohen_kappa, fleiss_kappa, hit_rates
from syndiff.reviews.state import CaseReview, Opinion

FLEISS_1971 = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip


def test_cohen_kappa_of_the_usual_example() -> None:
    """20 and 15 agreements of 50: p_o 0.7, p_e 0.5."""
    pairs = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    assert cohen_kappa(pairs) == pytest.approx(0.4)
    assert cohen_kappa([]) is None and cohen_kappa([("yes", "yes")] * 9) is None


def test_fleiss_kappa_of_fourteen_raters() -> None:
    """The worked example of ten subjects, fourteen raters and five answers: 0.210."""
    cases = [[answer for answer, count in enumerate(row) for _ in range(count)] for row in FLEISS_1971]
    assert fleiss_kappa(cases) == pytest.approx(0.2099, abs=1e-4)
    with pytest.raises(SyndiffError, match="same number of answers"):
        fleiss_kappa([("a", "b"), ("a",)])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30))
def test_cohen_kappa_is_that_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    with np.errstate(all="ignore"):
        expected = metrics.cohen_kappa_score(*zip(*pairs, strict=True)) if len({*sum(pairs, ())}) > 1 else np.nan
    found = cohen_kappa(pairs)
    assert (found is None and np.isnan(expected)) or found == pytest.approx(expected)


def _reviewed(decisions: list[dict[str, str]]) -> list[CaseReview]:
    return [
        CaseReview("polyps", str(i), subject(str(i)).content, tuple(Opinion(who, each) for who, each in said.items()))  # type: ignore[arg-type]
        for i, said in enumerate(decisions)
    ]


def test_agreement_is_over_the_cases_that_all_decided_on() -> None:
    both = [{"ann": "accept", "ben": "accept"}] * 20 + [{"ann": "reject", "ben": "reject"}] * 20
    found = agreement(_reviewed([*both, {"ann": "accept"}]))
    assert found is not None and found.method == "Cohen's" and found.kappa.cases == 40
    assert (found.kappa.mean, found.kappa.low, found.kappa.high) == (1, 1, 1)
    three = agreement(_reviewed([{**case, "cy": "accept"} for case in both]))
    assert three is not None and three.method == "Fleiss'" and three.reviewers == ("ann", "ben", "cy")
    assert three.kappa.low is not None and three.kappa.low < three.kappa.mean < three.kappa.high  # type: ignore[operator]
    assert agreement(_reviewed([{"ann": "accept"}])) is None
    cases = _reviewed([*both, {"ann": "accept", "ben": "reject"}, {"ann": "reject", "ben": "accept"}])
    assert agreement(cases) == agreement(cases[::-1]), "whatever lists the cases, in whatever order"


def test_the_interval_of_kappa_covers_the_truth() -> None:
    """Two raters who each tell the truth (half and half) in nine of ten cases: kappa is 0.64."""
    rng, covered = np.random.default_rng(0), 0
    for seed in range(20):
        truth = rng.random(60) < 0.5
        said = [truth ^ (rng.random(60) < 0.1) for _ in range(2)]
        words = [
            {who: "accept" if yes else "reject" for who, yes in zip("ab", row, strict=True)}
            for row in zip(*said, strict=True)
        ]
        kappa = agreement(_reviewed(words), seed=seed).kappa  # type: ignore[union-attr]
        assert kappa.low is not None and kappa.high is not None
        covered += kappa.low <= 0.64 <= kappa.high
    assert covered >= 17


@pytest.mark.parametrize(("right", "answers"), [(0, 5), (5, 5), (13, 40)])
def test_the_hit_rate_has_the_exact_interval(right: int, answers: int) -> None:
    cases = [
        CaseReview("p", str(i), "", (Opinion("ann", guess="real", truth="real" if i < right else "synthetic"),))
        for i in range(answers)
    ]
    (found,) = hit_rates(cases)
    low = 0 if right == 0 else stats.beta.ppf(0.025, right, answers - right + 1)
    high = 1 if right == answers else stats.beta.ppf(0.975, right + 1, answers - right)
    assert (found.share, found.low, found.high) == pytest.approx((right / answers, low, high))
