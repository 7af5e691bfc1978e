"""Tasks in processes of this machine, each with its part of the CPU's cores."""

import os
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import active_children, get_all_start_methods, get_context, parent_process
from multiprocessing.context import BaseContext
from threading import Thread
from typing import Any

import torch

from syndiff.errors import SyndiffError
from syndiff.workers.base import R, T


@dataclass(frozen=True)
class Processes:
    """`Workers` that are so many processes; a single one is this process itself."""

    at_once: int

    def map(self, do: Callable[[T], R], tasks: Iterable[T], *, ahead: int | None = None) -> Generator[R, None, None]:
        """As `in_processes`; one after another where only one is handed out at a time."""
        return in_processes(do, tasks, 1 if ahead == 1 else self.at_once)


def in_processes(do: Callable[[T], R], tasks: Iterable[T], workers: int) -> Generator[R, None, None]:
    """`do` of every task in their order, `workers` at a time, each in a process with its part of the threads.

    Small networks leave cores idle: two processes with one core each train a third more images a second than one with
    both. With one worker everything happens in this process. What is given and returned must be picklable. An error
    stops all workers, when it is the turn of its task, and so does the end of this process, whatever ends it.

    Raises SyndiffError when a worker was killed, as the system does when memory runs out.
    """
    if workers == 1:
        yield from map(do, tasks)
        return
    strangers, every = set(active_children()), list(tasks)
    # What is large is given to a worker as it starts: Python before 3.11.4 waits for ever on a broken pool whose queue
    # holds more than a pipe takes (cpython issue 94777).
    given = (_threads_each(workers), do, every)
    pool = ProcessPoolExecutor(workers, _processes(), _prepare_worker, given)
    done = False
    try:
        yield from pool.map(_do_task, range(len(every)))
        done = True
    except BrokenProcessPool:
        raise SyndiffError(
            f"One of {workers} worker processes was killed, most often because memory ran out. What is finished is "
            "kept: the same command goes on. Give a smaller --workers, or more memory."
        ) from None
    finally:
        for worker in set() if done else set(active_children()) - strangers:
            worker.terminate()  # it may be in the middle of a training
        pool.shutdown(cancel_futures=True)


def _processes() -> BaseContext:
    """Where the system can, workers are forked from a server that has imported once what each of them needs."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", "syndiff.pipeline.training"])
    return context


def _threads_each(workers: int) -> int:
    return max(1, torch.get_num_threads() // workers)


_work: tuple[Callable[[Any], Any], Sequence[Any]]
"""In a worker: what to do, and with what."""


def _do_task(number: int) -> Any:
    do, tasks = _work
    return do(tasks[number])


def _prepare_worker(threads: int, do: Callable[[Any], Any], tasks: Sequence[Any]) -> None:
    """Take `threads` threads, and end with the parent: one that outlived it would train on beside its successor."""
    global _work
    _work = do, tasks
    torch.set_num_threads(threads)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
