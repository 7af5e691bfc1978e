"""How long a training is: the steps that were given, or as many as fit into minutes on this machine.

Steps that were given are taken as they are: the same command trains the same model on every machine. Minutes are turned
into steps by timing a few, and again after the first part of the training where a step took far more or far less than
was planned with. What `PLAN` in a run folder says counts: a run that goes on has the schedule that it had.
"""

import logging
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from syndiff.documents import read_object, rebuild
from syndiff.files import write_json
from syndiff.training.batches import Batches
from syndiff.training.checkpoints import steps_done, trained_for
from syndiff.training.loop import Task, backpropagate, fit, make_optimizer
from syndiff.training.run_folder import this_process
from syndiff.training.settings import OptimisationSettings

PLAN = "plan.json"
"""In a run folder: how minutes became steps."""

FAR_OFF = 1.5
"""A plan stands as long as a step takes neither this many times as long as expected nor that much less."""

TIMED = 10
"""Trainings of fewer steps are not timed before they are told: that would take as long as they do."""

log = logging.getLogger("syndiff")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long one training is.

    Attributes:
        steps: optimiser steps.
        minutes: what they are to fill; 0 where the steps were given.
        seconds_per_step: what a step takes, by measurement, the mean over all of them; 0 where nothing was measured.
        first_seconds_per_step: the same of the first steps, which may be cheaper.
    """

    steps: int
    minutes: float = 0.0
    seconds_per_step: float = 0.0
    first_seconds_per_step: float = 0.0

    @classmethod
    def within(cls, minutes: float, seconds_per_step: float, first_seconds_per_step: float) -> Self:
        """The steps that fill `minutes`, a whole number of tens and at least 20."""
        return cls(
            steps=max(20, 10 * math.ceil(minutes * 6 / seconds_per_step)),
            minutes=minutes,
            seconds_per_step=seconds_per_step,
            first_seconds_per_step=first_seconds_per_step,
        )

    @property
    def look(self) -> int:
        """After how many steps a plan for minutes is looked at again: a tenth of them, and at least ten."""
        return max(10, self.steps // 10)

    def revised(self, done: int, seconds: float) -> "Plan":
        """The plan after `done` steps, the first ones, took `seconds`: another one where it was `FAR_OFF`."""
        pace = seconds / done / self.first_seconds_per_step
        if 1 / FAR_OFF <= pace <= FAR_OFF:
            return self
        found = Plan.within(self.minutes, pace * self.seconds_per_step, pace * self.first_seconds_per_step)
        steps = max(found.steps, 10 * math.ceil(done / 10) + 10)
        return self if steps == self.steps else replace(found, steps=steps)

    def __str__(self) -> str:
        """For people, with the time where it was measured."""
        if not self.seconds_per_step:
            return f"{self.steps:,} steps"
        minutes = self.steps * self.seconds_per_step / 60
        long = f"{60 * minutes:.0f} seconds" if minutes < 2 else f"{minutes:.0f} minutes"
        return f"{self.steps:,} steps of {self.seconds_per_step:.2f} s, about {long}"


def asked(steps: int, minutes: float) -> str:
    """How long a training is to be, in words: `minutes` count where there are some."""
    return f"{minutes:g} minutes" if minutes else f"{steps:,} steps"


def plan_trainings(
    path: Path,
    make: Callable[[], Mapping[str, Task]],
    names: Sequence[str],
    settings: OptimisationSettings,
    *,
    minutes: float,
    first_share: float = 0.0,
) -> dict[str, Plan]:
    """How long each task is trained, by its name: `settings.steps`, or what fills `minutes` for each.

    For minutes, steps of the tasks of these `names`, which `make` makes, are timed once; the plans are written to
    `path`, whence they are read again when the run resumes. The first `first_share` of the steps may be cheaper.
    """
    if not minutes:
        return dict.fromkeys(names, Plan(steps=settings.steps))
    if not path.is_file():
        measured = _mean_and_first(make(), settings, first_share, rounds=3)
        _write_plans(path, {name: Plan.within(minutes, *seconds) for name, seconds in measured.items()})
    return read_plans(path, names)


def with_times(
    plans: Mapping[str, Plan],
    make: Callable[[], Mapping[str, Task]],
    settings: OptimisationSettings,
    *,
    first_share: float = 0.0,
) -> dict[str, Plan]:
    """`plans` with what a step takes here, for people: where steps were given, a few are timed; none is changed."""
    if all(plan.seconds_per_step for plan in plans.values()):
        return dict(plans)
    measured = _mean_and_first(make(), settings, first_share, rounds=1)
    return {
        name: replace(plan, seconds_per_step=measured[name][0], first_seconds_per_step=measured[name][1])
        for name, plan in plans.items()
    }


def in_words(
    plans: Mapping[str, Plan],
    make: Callable[[], Mapping[str, Task]],
    settings: OptimisationSettings,
    *,
    first_share: float = 0.0,
) -> str:
    """`plans` for people, `with_times` unless all are of fewer than `TIMED` steps."""
    if any(plan.steps >= TIMED for plan in plans.values()):
        plans = with_times(plans, make, settings, first_share=first_share)
    return "; ".join(f"{name}: {plan}" for name, plan in plans.items())


def read_plans(path: Path, names: Sequence[str]) -> dict[str, Plan]:
    """The plans of these `names` in a `PLAN`. Raises SyndiffError where they are missing or damaged."""
    content = read_object(path, dict.fromkeys(names, dict))
    return {name: rebuild(Plan, content[name], f"{path}: {name}") for name in names}


def train_planned(
    run: Path,
    name: str,
    make: Callable[[int], Task],
    settings: OptimisationSettings,
    plan: Plan,
    *,
    seed: int,
    progress: bool = True,
) -> Path:
    """`fit` for the steps of `plan`, or go on; returns the best checkpoint. `make` makes the task for so many steps.

    Where minutes were given, the plan is kept in the run folder and looked at again at `Plan.look`, by what the steps
    up to there took: their checkpoint holds it, so a run that is killed there comes to the same plan, and to the same
    weights as one that is not.
    """
    path = run / PLAN
    if plan.minutes:
        _write_plans(path, {name: plan}, again=False)
        plan = read_plans(path, [name])[name]

    def trained(stop_after: int | None) -> Path:
        chosen = replace(settings, steps=plan.steps)
        return fit(run, make(plan.steps), chosen, seed=seed, stop_after=stop_after, progress=progress)

    while plan.minutes and (done := steps_done(run)) <= plan.look:
        if done < plan.look:
            trained(plan.look)
            continue
        found = plan.revised(done, trained_for(run))
        if found == plan:
            break
        log.info(
            f"{run.name}: a step takes {found.first_seconds_per_step:.2f} s, not the {plan.first_seconds_per_step:.2f} "
            f"s that were planned with; {found.steps:,} steps instead of {plan.steps:,} for {plan.minutes:g} minutes"
        )
        plan = found
        _write_plans(path, {name: plan})
    best = trained(None)
    if words := shortfall(trained_for(run), plan.minutes):
        log.warning(f"{run} {words}")
    return best


def shortfall(seconds: float, minutes: float) -> str:
    """What to say of a training whose steps took `seconds`, where that is less than half of `minutes`; else empty.

    Beside other work a step takes longer, so fewer are planned; that may change after the plan was last looked at.
    """
    if seconds >= 30 * minutes:
        return ""
    return (
        f"was trained for {seconds / 60:.1f} of the {minutes:g} minutes that were asked for: a step took longer when "
        "the steps were planned, as it does beside other work. It may be worth less than a whole training; for one, "
        "begin in another folder and leave the machine alone until the plan is made."
    )


def step_seconds(
    tasks: Mapping[str, Task],
    settings: OptimisationSettings,
    *,
    rounds: int = 3,
    repeats: int = 3,
    warmup: int = 1,
    first: int = 0,
) -> dict[str, float]:
    """Seconds of one optimiser step of each of `tasks`, which are used up by it, from step `first` on.

    They take turns, in rounds that each begin with `warmup` steps; the lowest median of a round counts, so that a busy
    moment of the machine touches all, and one that is shorter than the whole touches none.
    """
    accelerator = this_process()
    ready = {name: accelerator.prepare(task.objective, make_optimizer(task, settings)) for name, task in tasks.items()}
    batches = {name: Batches(task, accelerator) for name, task in tasks.items()}
    medians: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, (objective, optimizer) in ready.items():
            taken = []
            for turn in range(warmup + repeats):
                started = time.perf_counter()
                batch = batches[name].draw(first + turn)
                _, loss, _ = backpropagate(objective, batch, optimizer, settings, accelerator)
                optimizer.step()
                loss.item()  # waits for a device that works ahead
                taken.append(time.perf_counter() - started)
            medians[name].append(statistics.median(taken[warmup:]))
    for each in batches.values():
        each.close()
    return {name: min(values) for name, values in medians.items()}


def _mean_and_first(
    tasks: Mapping[str, Task], settings: OptimisationSettings, first_share: float, *, rounds: int
) -> dict[str, tuple[float, float]]:
    """Seconds of a step of each task: the mean over all steps, and those of the first ones."""
    later = step_seconds(tasks, settings, rounds=rounds, first=settings.steps)
    early = step_seconds(tasks, settings, rounds=rounds) if first_share else later
    return {name: (first_share * early[name] + (1 - first_share) * later[name], early[name]) for name in tasks}


def _write_plans(path: Path, plans: Mapping[str, Plan], *, again: bool = True) -> None:
    """Write them, `again` too where some are there, by one process; all leave when it is done."""
    process = this_process()
    if process.is_main_process and (again or not path.is_file()):
        write_json(path, {name: asdict(plan) for name, plan in plans.items()})
    process.wait_for_everyone()
