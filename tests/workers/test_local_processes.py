"""Tasks in processes: their order, and what ends all of them."""

import os
import signal
from functools import partial
from multiprocessing import active_children
from threading import Event
from types import ModuleType

import pytest

from syndiff.errors import SyndiffError
from syndiff.workers.processes import in_processes


def train(number: int, weight: bytes) -> float:
    assert len(weight) == 400_000, "more than a pipe holds"
    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if number < 0:
        raise SyndiffError("it cannot be trained")
    if number > 9:
        Event().wait(600)
    return 1 / number


@pytest.mark.parametrize(("number", "message"), [(0, "killed.*same command goes on"), (-1, "cannot be trained")])
def test_results_come_in_order_until_an_error_or_a_killed_worker_ends_all_workers(
    forked: ModuleType, number: int, message: str
) -> None:
    """Memory that runs out is answered by the system with a kill, which no worker can report."""
    before, done = set(active_children()), []
    with pytest.raises(SyndiffError, match=message):
        for inverse in in_processes(partial(train, weight=bytes(400_000)), [1, 2, 4, number, 10, 11], 2):
            done.append(inverse)
    assert done == [1, 0.5, 0.25][: len(done)] and (len(done) == 3 or number == 0)  # an error is that of its cell
    assert set(active_children()) <= before
