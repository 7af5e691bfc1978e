"""What a comparison says follows its interval and its p-value."""

import numpy as np
import pytest

from syndiff.evaluation.evaluate import CaseRow
from syndiff.evaluation.metrics import case_metrics
from syndiff.studies.crossed import Crossed
from syndiff.studies.leak import conclude as conclude_leak
from syndiff.studies.ratio import conclude as conclude_ratio
from syndiff.studies.table import conclude_arms, tabulate
from syndiff.studies.uncertainty import in_words
from syndiff.studies.words import adjust, verdict, verdicts


def difference(mean, low, high, p_value=None, groups=12, note=None, cases=90):
    values = {"mean": mean, "low": low, "high": high, "groups": groups, "cases": cases, "note": note}
    return values | {"p_value": p_value}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (difference(0.021, 0.004, 0.038, 0.02), "A: better than B by 0.021 [0.004, 0.038], p = 0.020."),
        (difference(-0.021, -0.038, -0.004, 0.0004), "A: worse than B by 0.021 [0.004, 0.038], p < 0.001."),
        (
            difference(0.004, -0.008, 0.015, 0.44),
            "no difference to B could be shown: +0.004 [-0.008, +0.015], p = 0.44.",
        ),
        (
            difference(0.02, 0.002, 0.05, 0.125, groups=4),
            "not excluded (with 4 groups p cannot fall below 0.12).",
        ),
        (difference(0.02, 0.002, 0.05, 0.01, cases=59), "on 59 cases a few missed lesions can do that"),
        (difference(0.02, 0.002, 0.05, 0.06), "its interval excludes zero, yet chance is not excluded."),
        (
            difference(0.02, None, None, note="no interval: only one group"),
            "without an interval (no interval: only",
        ),
        (difference(None, None, None), "nothing could be compared with B"),
    ],
)
def test_the_words_follow_the_interval(found, said: str) -> None:
    assert said in verdict(found, "A", "B")


@pytest.mark.parametrize(
    ("low", "high", "groups", "said"),
    [
        (0.7, 0.95, 12, "disagreement finds wrong cases better than chance: AUC 0.800 [0.700, 0.950]."),
        (0.1, 0.4, 12, "finds wrong cases worse than chance"),
        (0.4, 0.95, 12, "could not be shown"),
        (0.7, 0.95, 9, "cannot be told from so few: AUC 0.800 [0.700, 0.950]."),
        (1.0, 1.0, 12, "cannot be told from so few"),
        (None, None, 1, "could not be shown"),
    ],
)
def test_doubt_is_better_than_chance_only_where_enough_groups_say_so(low, high, groups, said: str) -> None:
    assert said in in_words("A", {"auc_disagreement": difference(0.8, low, high, groups=groups)})


def test_several_comparisons_are_corrected_and_those_without_a_difference_share_a_sentence() -> None:
    family = {
        name: difference(mean, mean - 0.01, mean + 0.01, p_value)
        for name, mean, p_value in (("a", 0.02, 0.01), ("b", 0.001, 0.04), ("c", 0.002, 0.03), ("d", -0.03, 0.005))
    }
    adjust([*family.values()])
    assert [round(each["p_adjusted"], 3) for each in family.values()] == [0.03, 0.06, 0.06, 0.02]
    said = verdicts(family, "none")
    assert "a: better than none by 0.020 [0.010, 0.030], p = 0.030." in said
    assert said.endswith("p after Holm's correction for 4 comparisons.")
    assert "No difference to none could be shown for b +0.001 [-0.009, +0.011] and c +0.002" in said
    assert "d: worse than none" in said
    alone = [difference(0.1, 0.0, 0.2, 0.04)]
    adjust(alone)
    assert "p_adjusted" not in alone[0]


def rows(dice: list[float], groups: int = 5) -> list[CaseRow]:
    mask = np.eye(8, dtype=bool)
    metrics = case_metrics(mask, mask)
    return [
        CaseRow(f"c{i}", f"g{i % groups}", type(metrics)(**{**vars(metrics), "dice": value}), 0.1)
        for i, value in enumerate(dice)
    ]


def test_where_the_best_point_lies_is_said_as_sure_as_it_is() -> None:
    random = np.random.default_rng(0)
    plain = [random.uniform(0.5, 0.7, 10).tolist() for _ in range(3)]
    sure = Crossed.of({"0": [*map(rows, plain)], "20": [rows([x + 0.1 for x in part]) for part in plain]})
    assert sure.best() == {"0": 0.0, "20": 1.0} and "sure enough" in sure.best_text()
    found = sure.interval("20", "0")
    assert found["mean"] == pytest.approx(0.1) == found["low"] and found["high"] == pytest.approx(0.1)
    shuffled = [random.permutation(part).tolist() for part in plain]
    unsure = Crossed.of({"0": [*map(rows, plain)], "20": [*map(rows, shuffled)]})
    assert 0.05 < unsure.best()["0"] < 0.95 and "cannot be told from chance" in unsure.best_text()
    wide, narrow = unsure.interval("0"), tabulate({"0": [*map(rows, plain)]}, "0")["0"]["dice"]
    assert wide["mean"] == pytest.approx(narrow["mean"]) and wide["low"] < wide["mean"] < wide["high"]
    concluded = conclude_ratio(
        {"0": [*map(rows, plain)], "20": [rows([x + 0.1 for x in part]) for part in plain]},
        {"0": 0, "20": 20},
        "0",
        side="val",
        real=40,
    )
    assert "20 synthetic cases: better than none by 0.100" in concluded.words and "40 real" in concluded.words
    assert "| 20 |" in concluded.table and concluded.content["arms"]["20"]["best"] == 1.0


def test_an_arms_table_ends_in_words_and_a_picture() -> None:
    plain = [[0.5 + 0.01 * i for i in range(10)]]
    found = conclude_arms(
        {"real": [rows(plain[0])], "more": [rows([x + 0.05 for x in plain[0]])]}, "real", {"side": "val"}, side="val"
    )
    assert "more: better than real by 0.050" in found.words and "10 validation cases of 5 groups" in found.words
    assert found.content["arms"]["more"]["difference"]["dice"]["p_value"] == pytest.approx(2 / 2**5)
    assert found.figure is not None and "| p |" in found.table


def test_a_leak_is_the_difference_of_what_would_be_published_and_that_of_the_same_cases() -> None:
    honest = [rows([0.6] * 10), rows([0.7] * 10)]
    leaky = [rows([0.9] * 8), rows([0.8] * 6)]
    found = conclude_leak(
        {"group split": honest, "random split": leaky},
        {"random split": "group split"},
        {"group split": [7, 7], "random split": [7, 7]},
        side="val",
    )
    level = found.content["levels"]["random split"]
    means = [np.mean([0.85] * 6 + [0.9] * 2), 0.65]
    assert level["dice"]["mean"] == pytest.approx(means[0])
    assert level["leak"]["mean"] == pytest.approx(means[0] - means[1]) and level["leak"]["low"] > 0
    assert level["same_cases"]["cases"] == 8
    assert "is what the leak adds" in found.words and "On the 8 cases scored under both" in found.words
