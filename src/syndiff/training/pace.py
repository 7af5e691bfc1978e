"""Minutes as steps: how many fit, and whether a training had its minutes in the end."""

import logging
import math
from pathlib import Path

from syndiff.documents import check_object, read_objects

log = logging.getLogger("syndiff")


def steps_within(minutes: float, step_seconds: float) -> int:
    """Steps that take `minutes`, a whole number of tens and at least 20."""
    return max(20, 10 * math.ceil(minutes * 6 / step_seconds))


def shortfall(seconds: float, minutes: float) -> str:
    """What to say of a training whose steps took `seconds`, where that is less than half of `minutes`; else empty.

    Steps are planned once, by what a step takes then. Beside other work a step takes longer, so fewer are planned.
    """
    if seconds >= 30 * minutes:
        return ""
    return (
        f"was trained for {seconds / 60:.1f} of the {minutes:g} minutes that were asked for: a step took longer when "
        "the steps were planned, as it does beside other work. It may be worth less than a whole training; for one, "
        "begin in another folder and leave the machine alone until the plan is made."
    )


def warn_of_shortfall(run: Path, minutes: float) -> None:
    """Log the `shortfall` of a finished training, whose metrics.jsonl lies in `run`, if it has one."""
    lines = read_objects(run / "metrics.jsonl", {})
    seconds = (
        check_object(run / "metrics.jsonl", line, {"seconds": float})["seconds"] for line in lines if "seconds" in line
    )
    if words := shortfall(max(seconds, default=0.0), minutes):
        log.warning(f"{run} {words}")
