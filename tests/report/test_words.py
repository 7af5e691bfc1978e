"""The tables and sentences say what the numbers say, no more."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from syndiff.data.dataset import Dataset
from syndiff.evaluation.statistics import Difference, Interval
from syndiff.report.content import Content, Gap, read_content
from syndiff.report.words import difference_table, limits, main_table, table_markdown, table_text, verdict, warnings

MakeRun = Callable[..., tuple[Path, Dataset]]


@pytest.fixture(scope="module")
def content(shared_run: tuple[Path, Dataset]) -> Content:
    return read_content(*shared_run)


def with_gain(content: Content, mean: float, low: float | None, high: float | None, p_value: float | None) -> Content:
    """The same content with another gain of synthetic cases."""
    gain = content.comparison("real+synthetic", "real")
    assert gain is not None
    dice = Difference(mean, low, high, 60, 9, 0, None, p_value)
    other = replace(gain, differences={**gain.differences, "dice": dice})
    return replace(content, comparisons=(other, *content.comparisons[1:]))


def test_the_text_table_holds_every_arm_and_number(content: Content) -> None:
    lines = table_text(content).splitlines()
    assert re.split(r"\s{2,}", lines[0].strip()) == ["control", "real only", "real + synthetic"]
    dice = content.arms["control"].scores["dice"]
    assert lines[1].startswith("Dice")
    assert f"{dice.mean:.3f} [{dice.low:.3f}, {dice.high:.3f}]" in lines[1]
    assert len({line.find("0.") for line in lines[1:3]}) == 1, "columns are aligned"
    assert any(line.split() == ["Training", "steps", "30", "30", "30"] for line in lines)


def test_the_markdown_table_has_the_same_cells(content: Content) -> None:
    header, rule, *rows = table_markdown(content).splitlines()
    assert header == "|  | control | real only | real + synthetic |"
    assert rule == "| --- | --- | --- | --- |"
    for row, expected in zip(rows, main_table(content), strict=True):
        assert row.split("|")[1].strip() == expected.name
        assert [cell.strip() for cell in row.split("|")[2:-1]] == [str(cell) for cell in expected.cells]


@pytest.mark.parametrize(
    ("bounds", "p_value", "says"),
    [
        ((0.02, 0.01, 0.03), 0.01, "excludes zero. Synthetic cases helped"),
        ((-0.02, -0.03, -0.01), 0.01, "excludes zero. Synthetic cases did harm"),
        (
            (0.02, 0.01, 0.03),
            0.25,
            "signs drawn by chance give as large a difference with p = 0.25, so this test cannot tell",
        ),
        ((0.02, -0.01, 0.05), 0.01, "includes zero, so this test cannot tell"),
        ((0.02, None, None), None, "no interval, so it cannot be told from chance"),
    ],
)
def test_the_verdict_on_synthetic_cases_follows_the_interval(
    content: Content, bounds: tuple[float, float | None, float | None], p_value: float | None, says: str
) -> None:
    answer = dict(verdict(with_gain(content, *bounds, p_value)))["What did synthetic cases add?"]
    assert says in answer
    assert f"{bounds[0]:+.3f}".replace("-", "−") in answer


def test_a_family_of_comparisons_is_judged_by_adjusted_values(content: Content) -> None:
    """Of two comparisons with p = .04 and .03, neither is left; with .02 and .03 both are."""

    def answers(gain: float, other: float) -> str:
        (first, second), interval = content.comparisons, (0.02, 0.01, 0.03, 60, 9, 0, None)
        family = tuple(
            replace(comparison, differences={**comparison.differences, "dice": Difference(*interval, p)})
            for comparison, p in ((first, gain), (second, other))
        )
        return " ".join(answer for _, answer in verdict(replace(content, comparisons=family)))

    assert answers(0.04, 0.03).count("among 2 comparisons chance finds one as large with p = 0.060 (Holm)") == 2
    assert answers(0.02, 0.03).count("excludes zero. ") == 2
    alone = replace(content, comparisons=content.comparisons[:1])
    assert [row.name for row in difference_table(alone)][-1] == "p of the Dice difference"
    assert difference_table(content)[-1].name == "p, adjusted for 2 comparisons"


def test_a_difference_on_few_cases_is_not_called_one(content: Content) -> None:
    enough = with_gain(content, 0.02, 0.01, 0.03, 0.01)
    gain, *others = enough.comparisons
    few = replace(gain, differences={**gain.differences, "dice": replace(gain.differences["dice"], cases=59)})
    answer = dict(verdict(replace(enough, comparisons=(few, *others))))["What did synthetic cases add?"]
    assert "excludes zero, yet on 59 cases" in answer and "called one from 60 cases on" in answer
    assert "helped" not in answer and "harm" not in answer


def test_what_an_interval_over_few_cases_is_worth_is_a_limit(content: Content) -> None:
    text = " ".join(limits(content))
    assert "cases in 2 groups: the interval of a score may be wider than it need be." in text
    assert (
        text.count(
            "where one model misses more lesions than the other, the interval of their difference may be too narrow."
        )
        == 1
    )
    assert "has no interval; a difference of two has one from 120 groups on" in text


def test_the_verdict_names_quality_control_and_speed(content: Content) -> None:
    answers = dict(verdict(content))
    dice = content.main.scores["dice"]
    assert f"mean Dice of {dice.mean:.3f}" in answers["How well does it work?"]
    assert f"{dice.cases} test images from {dice.groups} groups" in answers["How well does it work?"]
    assert "control" in answers["How does it stand against the control?"]
    assert "40×32 image" in answers["How fast is it?"]


def test_more_than_one_step_is_not_called_one_step(content: Content) -> None:
    arms = {
        name: replace(arm, settings={**arm.settings, "model.inference_steps": "10"})
        for name, arm in content.arms.items()
    }
    text = " ".join(answer for _, answer in verdict(replace(content, arms=arms)))
    assert "10-step segmenter" in text
    assert "one-step" not in text


def test_a_run_of_one_arm_claims_nothing_about_the_others(make_run: MakeRun) -> None:
    content = read_content(*make_run(arms=("control",)))
    assert [question for question, _ in verdict(content)] == ["How well does it work?", "How fast is it?"]
    text = " ".join([answer for _, answer in verdict(content)] + limits(content))
    assert "ynthetic" not in text
    assert "timestep" not in text


def test_limits_are_those_of_this_run(content: Content) -> None:
    text = " ".join(limits(content))
    assert "copy_paste" in text
    assert "timestep T − 1 = 999" in text
    assert "64×64" in text
    assert "not a medical device" in text
    assert "training side of the split" in text


def test_detail_of_real_lesions_is_a_limit(content: Content) -> None:
    assert content.synthesis is not None

    def said(detail: str) -> str:
        samples = tuple(
            replace(sample, settings={"inpainter": {"detail": detail}}) for sample in content.synthesis.samples
        )
        painted = replace(content.synthesis, backends=("compact",), samples=samples)
        return " ".join(limits(replace(content, synthesis=painted)))

    assert "those of real training lesions" in said("real")
    assert "real training lesions" not in said("painted") and "no specialist has judged" in said("painted")


def test_a_training_that_had_too_little_time_is_warned_of(content: Content) -> None:
    taught = replace(content.main.training, steps=270, seconds=150.0)
    minutes = {"run.minutes": "3", "adapt.minutes": "2.5"}
    asked = replace(content, inpainter=taught, settings={**content.settings, **minutes})
    assert warnings(asked) == [], "each arm's 180 s are the three minutes"
    assert "The inpainter learned in 270 steps (2.5 minutes)." in " ".join(limits(asked))
    found = warnings(replace(asked, inpainter=replace(taught, steps=20, seconds=11.2)))
    assert [name for name, _ in found] == ["Trained too briefly."]
    assert "The inpainter was trained for 0.2 of the 2.5 minutes" in found[0][1]
    longer = replace(asked, settings={**asked.settings, "run.minutes": "30"})
    assert [text.split(" was ")[0] for _, text in warnings(longer)] == [
        f"The network of the arm {arm}" for arm in ("control", "real only", "real + synthetic")
    ]


@pytest.mark.parametrize(("bounds", "warned"), [((-0.2, -0.3, -0.1), True), ((-0.1, -0.2, 0.01), False)])
def test_a_domain_gap_is_told_and_warned_of_where_it_is_clear(
    content: Content, bounds: tuple[float, float, float], warned: bool
) -> None:
    dice = {name: Interval(mean, None, None, 9, 1, 0, None) for name, mean in (("synthetic", 0.5), ("real", 0.7))}
    gap = Gap(100, {"synthetic": 4, "real": 6}, dice, Difference(*bounds, 9, 5, 0, None, 0.06))
    found = replace(content, gap=gap)
    said = "In 100 steps on the 4 synthetic cases alone a segmenter reached a Dice of 0.500 on the validation cases"
    assert said in " ".join(limits(found)) and said not in " ".join(limits(content))
    assert [name for name, _ in warnings(found)] == ["Domain gap."] * warned


def test_unknown_groups_are_a_limit(make_run: MakeRun) -> None:
    text = " ".join(limits(read_content(*make_run(arms=("real",), groups=False))))
    assert "No patients or videos are known" in text
    assert "t intervals over cases" in text


def test_leaks_are_warned_of(content: Content) -> None:
    assert warnings(content) == []
    leaky = replace(content, split=replace(content.split, leaky=True))
    assert [name for name, _ in warnings(leaky)] == ["Leaky split."]
    moved = replace(content.split, train=content.split.val, val=content.split.train)
    spilt = replace(content, split=moved)
    assert [name for name, _ in warnings(spilt)] == ["Synthetic cases leak."]
    assert "training side" not in " ".join(limits(spilt))
