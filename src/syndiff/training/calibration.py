"""How long a training step takes on this machine, so that a training can be given minutes instead of steps."""

import statistics
import time
from collections.abc import Mapping

from syndiff.training.loop import Task, backpropagate, draw_batch, make_optimizer
from syndiff.training.run_folder import this_process
from syndiff.training.settings import OptimisationSettings


def step_seconds(
    tasks: Mapping[str, Task], settings: OptimisationSettings, *, repeats: int = 10, warmup: int = 3, first: int = 0
) -> dict[str, float]:
    """Median seconds of one optimiser step of each of `tasks`, which are used up by it, from step `first` on.

    They take turns, so that a busy moment of the machine touches all.
    """
    accelerator = this_process()
    ready = {name: accelerator.prepare(task.objective, make_optimizer(task, settings)) for name, task in tasks.items()}
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    for index in range(warmup + repeats):
        for name, (objective, optimizer) in ready.items():
            started = time.perf_counter()
            batch = draw_batch(tasks[name], first + index, accelerator)
            _, loss, _ = backpropagate(objective, batch, optimizer, settings, accelerator)
            optimizer.step()
            loss.item()  # waits for a device that works ahead
            if index >= warmup:
                taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in taken.items()}
