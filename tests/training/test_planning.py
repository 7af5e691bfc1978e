"""Steps that were given stay; minutes become steps, again where a step was far off; a kill changes neither."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_training import MODEL, TRAINING, bright_squares, tiny_train

from syndiff.data.settings import AugmentationSettings
from syndiff.files import sha256
from syndiff.training import planning
from syndiff.training.checkpoints import steps_done, trained_for
from syndiff.training.planning import Plan, in_words, plan_trainings, read_plans, shortfall, train_planned, with_times
from syndiff.training.segmentation import SegmentationTask

CONTROL = replace(MODEL, kind="control")
LONG = replace(TRAINING, validate_every=20, checkpoint_every=20)
"""For 20 to 40 steps: writing checkpoints takes longer than they do."""


def task(steps: int) -> SegmentationTask:
    settings = replace(LONG if steps >= 20 else TRAINING, steps=steps)
    cases = {"train_cases": bright_squares(5, 0), "val_cases": bright_squares(3, 1)}
    return SegmentationTask(CONTROL, settings, AugmentationSettings(), **cases, seed=0)


def train(run: Path, plan: Plan) -> Path:
    settings = LONG if plan.steps >= 20 else TRAINING
    return train_planned(run, "control", task, settings, plan, seed=0, progress=False)


@given(st.floats(0.01, 1e4), st.floats(1e-3, 1e3))
def test_the_steps_fill_the_minutes_to_less_than_ten_steps(minutes: float, seconds: float) -> None:
    steps = Plan.within(minutes, seconds, seconds).steps
    assert steps % 10 == 0 and steps >= 20
    assert steps * seconds >= 60 * minutes * (1 - 1e-9)
    assert steps == 20 or (steps - 10) * seconds <= 60 * minutes * (1 + 1e-9)


@given(st.floats(0.01, 1e4), st.floats(1e-3, 1e3), st.floats(0.1, 1), st.floats(1e-3, 1e3))
def test_a_plan_is_revised_by_the_pace_of_its_first_part(
    minutes: float, seconds: float, cheaper: float, pace: float
) -> None:
    """Whatever is cheaper at first: only how far off the steps up to the look were counts."""
    plan = Plan.within(minutes, seconds, cheaper * seconds)
    found = plan.revised(plan.look, plan.look * plan.first_seconds_per_step * pace)
    if 0.7 < pace < 1.4:
        assert found == plan
    elif not 0.6 < pace < 1.6:
        assert found.steps % 10 == 0 and found.steps >= plan.look + 10
        assert found.steps * pace * seconds >= 60 * minutes * (1 - 1e-6)
        assert found == plan or found.seconds_per_step == pytest.approx(pace * seconds)


@given(st.floats(0, 1e5), st.floats(0, 1e3))
def test_only_half_the_minutes_are_too_few(seconds: float, minutes: float) -> None:
    assert bool(shortfall(seconds, minutes)) == (2 * seconds < 60 * minutes)


def test_steps_that_were_given_are_taken_and_only_told_with_their_time(tmp_path: Path) -> None:
    plans = plan_trainings(tmp_path / "plan.json", lambda: {}, ["control"], TRAINING, minutes=0)
    assert plans == {"control": Plan(steps=TRAINING.steps)} and not list(tmp_path.iterdir())
    told = with_times(plans, lambda: {"control": task(TRAINING.steps)}, TRAINING)["control"]
    assert told.steps == TRAINING.steps and told.seconds_per_step > 0
    assert str(plans["control"]) == "6 steps" and str(told).startswith("6 steps of ")
    assert in_words(plans, lambda: {}, TRAINING) == "control: 6 steps", "too few to be timed"
    long = in_words({"control": Plan(steps=10)}, lambda: {"control": task(10)}, TRAINING)
    assert long.startswith("control: 10 steps of ")
    best = train(tmp_path / "planned", plans["control"])
    expected = tiny_train(tmp_path / "given", model_settings=CONTROL)
    assert sha256(best / "model.safetensors") == sha256(expected / "model.safetensors")
    assert not (tmp_path / "planned" / "plan.json").exists()


def test_a_plan_says_how_long_it_takes() -> None:
    assert str(Plan(steps=1400, seconds_per_step=0.62)) == "1,400 steps of 0.62 s, about 14 minutes"
    assert str(Plan(steps=20, seconds_per_step=1.5)) == "20 steps of 1.50 s, about 30 seconds"


def test_minutes_are_planned_once(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    plans = plan_trainings(path, lambda: {"one": task(6)}, ["one"], TRAINING, minutes=0.02)
    assert plans["one"].minutes == 0.02 and plans == read_plans(path, ["one"])
    assert plan_trainings(path, lambda: {}, ["one"], TRAINING, minutes=0.02) == plans


def test_a_plan_that_was_made_beside_other_work_is_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the demo's was once: 5 s a step were measured where far less was right. Killed at the look and after it, the
    training ends with the plan and the weights of one that was not."""
    monkeypatch.setattr(planning, "trained_for", lambda _: 0.3)  # whatever this machine does, 0.03 s for a step
    plan = Plan(steps=20, minutes=0.02, seconds_per_step=5.0, first_seconds_per_step=5.0)
    with caplog.at_level(logging.INFO, logger="syndiff"):
        whole = train(tmp_path / "whole", plan)
    made = read_plans(tmp_path / "whole" / "plan.json", ["control"])["control"]
    assert (made.steps, made.minutes, made.seconds_per_step) == (40, 0.02, pytest.approx(0.03))
    assert steps_done(tmp_path / "whole") == 40 and "40 steps instead of 20 for 0.02 minutes" in caplog.text
    assert train(tmp_path / "whole", plan) == whole, "a finished one is kept"

    cut, old, new = tmp_path / "cut", replace(LONG, steps=20), replace(LONG, steps=40)
    tiny_train(cut, model_settings=CONTROL, settings=old, stop_after=plan.look)
    for copy in (tmp_path / "at-the-look", tmp_path / "after-it"):
        shutil.copytree(cut, copy)
        if copy.name == "after-it":
            shutil.copy(tmp_path / "whole" / "plan.json", copy)
            tiny_train(copy, model_settings=CONTROL, settings=new, stop_after=37)
        best = train(copy, plan)
        assert best.name == whole.name and sha256(best / "model.safetensors") == sha256(whole / "model.safetensors")


def test_a_training_that_had_less_than_half_its_minutes_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = Plan(steps=20, minutes=2.5, seconds_per_step=7.7, first_seconds_per_step=7.7)
    tiny_train(tmp_path, model_settings=CONTROL, settings=replace(TRAINING, steps=20))
    (tmp_path / "plan.json").write_text(json.dumps({"control": vars(plan)}))
    with caplog.at_level(logging.WARNING, logger="syndiff"):
        train(tmp_path, plan)
    assert 0 < trained_for(tmp_path) < 75
    assert f"{tmp_path} was trained for 0." in caplog.text and "of the 2.5 minutes that were asked for" in caplog.text
