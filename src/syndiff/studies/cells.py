"""What studies share: a model's scores on one side of a split, computed once; cells in processes; words; figures."""

import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_all_start_methods, get_context, parent_process
from multiprocessing.context import BaseContext
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure

from syndiff.data.dataset import Dataset
from syndiff.data.splits import Split
from syndiff.documents import check_object
from syndiff.errors import SyndiffError
from syndiff.evaluation.evaluate import CaseRow, evaluate, finished, read_per_case
from syndiff.files import sha256, write_bytes
from syndiff.models.prediction import SegmenterPredictor
from syndiff.models.stored import DESCRIPTION, read_description
from syndiff.studies.choices import Side

T = TypeVar("T")
R = TypeVar("R")


def names_of(runs: Sequence[Path]) -> list[str]:
    """A name for each run folder: the shortest end of their paths that tells them apart.

    Raises SyndiffError for no run, and for one that is given twice.
    """
    parts = [run.resolve().parts for run in runs]
    if not parts or len(set(parts)) < len(parts):
        raise SyndiffError(f"--runs {' '.join(map(str, runs))}: expected one run folder or more, each of them once.")
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("paths that differ have ends that differ")


def same_split(runs: Sequence[Path], dataset: Dataset) -> Split:
    """The split that all runs were trained on. Raises SyndiffError where they differ."""
    splits = [Split.read(run / "split.json") for run in runs]
    for run, split in zip(runs, splits, strict=True):
        split.check(dataset)
        if split != splits[0]:
            raise SyndiffError(f"{run} was trained on another split than {runs[0]}; their scores cannot be compared.")
    return splits[0]


def diffusion_settings(run: Path, checkpoint: Path) -> dict[str, Any]:
    """The model settings of a run's checkpoint. Raises SyndiffError where they are of no diffusion segmenter."""
    described = read_description(checkpoint, {"model": dict})
    kinds = {"kind": str, "timesteps": int, "inference_timestep": int, "inference_steps": int}
    model = check_object(f"{checkpoint / DESCRIPTION}: model", described["model"], kinds)
    if model["kind"] != "diffusion":
        raise SyndiffError(
            f"{run} is of the kind {model['kind']}, which has no timesteps; give runs of the diffusion segmenter."
        )
    return model


def case_scores(
    cell: Path, checkpoint: Path, predictor: SegmenterPredictor, dataset: Dataset, split: Split, side: Side
) -> list[CaseRow]:
    """A segmenter's scores on one side of the split, kept in `cell`/<side> while weights, seed and dataset stay."""
    provenance = {"weights": sha256(checkpoint / "model.safetensors"), "seed": predictor.seed}
    out = cell / side
    judged = {"name": dataset.name, "fingerprint": split.fingerprint}
    if not finished(out, getattr(split, side), provenance=provenance, dataset=judged):
        cases = getattr(split, side)
        evaluate(predictor, dataset, cases, out, fingerprint=split.fingerprint, provenance=provenance, progress=False)
    return read_per_case(out / "per_case.csv")


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


@contextmanager
def part_of_the_threads(workers: int) -> Iterator[None]:
    """Work with as many threads as each of `workers` processes has."""
    before = torch.get_num_threads()
    torch.set_num_threads(_threads_each(workers))
    try:
        yield
    finally:
        torch.set_num_threads(before)


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


def mean_case_dice(rows: Sequence[CaseRow]) -> float:
    """Over cases, in [0, 1]."""
    return float(np.mean([row.metrics.dice for row in rows]))


def interval_text(found: Mapping[str, Any] | None, digits: int = 3, sign: str = "") -> str:
    """The mean of `found` with its low and high, as far as they exist: `0.785 [0.457, 0.956]`."""
    if found is None or found["mean"] is None:
        return ""
    shown = f"{found['mean']:{sign}.{digits}f}"
    if found["low"] is None:
        return shown
    return f"{shown} [{found['low']:{sign}.{digits}f}, {found['high']:{sign}.{digits}f}]"


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as SVG; the same figure gives the same bytes."""
    content = io.BytesIO()
    with rc_context({"svg.hashsalt": "syndiff", "svg.fonttype": "none"}):
        figure.savefig(content, format="svg", metadata={"Date": None})
    write_bytes(path, content.getvalue())
