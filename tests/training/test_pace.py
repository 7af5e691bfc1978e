"""Minutes as steps, and what is said of a training that did not have its minutes."""

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndiff.training.pace import shortfall, steps_within, warn_of_shortfall


@given(st.floats(0.01, 1e4), st.floats(1e-3, 1e3))
def test_the_steps_fill_the_minutes_to_less_than_ten_steps(minutes: float, seconds: float) -> None:
    steps = steps_within(minutes, seconds)
    assert steps % 10 == 0 and steps >= 20
    assert steps * seconds >= 60 * minutes * (1 - 1e-9)
    assert steps == 20 or (steps - 10) * seconds <= 60 * minutes * (1 + 1e-9)


@given(st.floats(0, 1e5), st.floats(0, 1e3))
def test_only_half_the_minutes_are_too_few(seconds: float, minutes: float) -> None:
    assert bool(shortfall(seconds, minutes)) == (2 * seconds < 60 * minutes)


def test_a_training_that_was_planned_beside_other_work_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As a painter was once: 2.5 minutes asked for, 20 steps planned at 7.7 s, which took 0.56 s each."""
    lines = [{"step": 10, "seconds": 5.6}, {"step": 20, "seconds": 11.2}, {"step": 20, "val_loss": 0.4}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with caplog.at_level(logging.WARNING, logger="syndiff"):
        warn_of_shortfall(tmp_path, 0.3)
        warn_of_shortfall(tmp_path, 0)
        assert not caplog.records
        warn_of_shortfall(tmp_path, 2.5)
    assert f"{tmp_path} was trained for 0.2 of the 2.5 minutes" in caplog.text
