"""Cells in processes of their own, each with its part of the CPU's cores."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_all_start_methods, get_context, parent_process
from multiprocessing.context import BaseContext
from threading import Thread
from typing import Any, TypeVar

import torch

from syndiff.errors import SyndiffError

T = TypeVar("T")
R = TypeVar("R")


def in_processes(finish: Callable[[T], R], cells: Iterable[T], workers: int) -> Iterator[R]:
    """`finish` of every cell in their order, `workers` at a time, each in a process with its part of the threads.

    Small networks leave cores idle: two processes with one core each train a third more images a second than one with
    both. With one worker everything happens in this process. What is given and returned must be picklable. An error
    stops all workers, when it is the turn of its cell, and so does the end of this process, whatever ends it.

    Raises SyndiffError when a worker was killed, as the system does when memory runs out.
    """
    if workers == 1:
        yield from map(finish, cells)
        return
    strangers, every = set(active_children()), list(cells)
    # What is large is given to a worker as it starts: Python before 3.11.4 waits for ever on a broken pool whose queue
    # holds more than a pipe takes (cpython issue 94777).
    given = (_threads_each(workers), finish, every)
    pool = ProcessPoolExecutor(workers, _processes(), _prepare_worker, given)
    done = False
    try:
        yield from pool.map(_finish_cell, range(len(every)))
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


def _finish_cell(number: int) -> Any:
    finish, cells = _work
    return finish(cells[number])


def _prepare_worker(threads: int, finish: Callable[[Any], Any], cells: Sequence[Any]) -> None:
    """Take `threads` threads, and end with the parent: one that outlived it would train on beside its successor."""
    global _work
    _work = finish, cells
    torch.set_num_threads(threads)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
