"""The batches of a training: which cases a step sees, and how they get to the device."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor


class Source(Protocol):
    """What batches are drawn from."""

    def batch(self, step: int, *, process: int, processes: int) -> Sequence[Any]:
        """This process's share of the batch of `step`, on the CPU: a named tuple of tensors and tuples, a row a case.

        It depends on nothing but the step: it may be drawn early, and by another thread.
        """


class Batches:
    """The batches of a training on its device, one for each step.

    ahead: while the device works on one, a thread draws the next, into pinned memory, from which it is copied without
    waiting. That is the default with a GPU; on a CPU the thread would take the cores that the step needs. The batches
    are the same.
    """

    def __init__(self, source: Source, accelerator: Accelerator, *, ahead: bool | None = None) -> None:
        self._source, self._accelerator = source, accelerator
        self._pins = accelerator.device.type == "cuda"
        self._pool = ThreadPoolExecutor(1, "batches") if (self._pins if ahead is None else ahead) else None
        self._next: tuple[int, Future[Any]] | None = None

    def draw(self, step: int) -> Any:
        """This process's share of the batch of `step`, on its device."""
        batch = self._take(step)
        if self._pool is not None:
            self._next = (step + 1, self._pool.submit(self._drawn, step + 1))
        return moved(batch, self._accelerator.device)

    def close(self) -> None:
        """No further batch is drawn."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _take(self, step: int) -> Any:
        if self._next is not None and self._next[0] == step:
            return self._next[1].result()
        return self._drawn(step)

    def _drawn(self, step: int) -> Any:
        accelerator = self._accelerator
        batch: Any = self._source.batch(step, process=accelerator.process_index, processes=accelerator.num_processes)
        if not self._pins:
            return batch
        return type(batch)(*(value.pin_memory() if isinstance(value, Tensor) else value for value in batch))


def moved(batch: Any, device: torch.device) -> Any:
    """A batch with its tensors on `device`; from pinned memory they are copied while the program goes on."""
    return type(batch)(
        *(value.to(device, non_blocking=True) if isinstance(value, Tensor) else value for value in batch)
    )


def split_batch(batch: Any, count: int) -> list[Any]:
    """A batch in `count` equal parts."""
    size = max(map(len, batch)) // count
    return [type(batch)(*(value[i * size : (i + 1) * size] for value in batch)) for i in range(count)]


def case_indices(cases: int, batch_size: int, seed: int, step: int) -> list[int]:
    """The cases of one step: consecutive parts of a stream of permutations, one for each epoch."""
    wanted = range(step * batch_size, (step + 1) * batch_size)
    orders = {
        epoch: np.random.default_rng([seed, 0, epoch]).permutation(cases) for epoch in {i // cases for i in wanted}
    }
    return [int(orders[i // cases][i % cases]) for i in wanted]


def derived_seed(seed: int, step: int, purpose: int, process: int = 0) -> int:
    """One of the independent seeds of a step: the same numbers after a resume.

    What processes share is drawn with the seed of the first, so that a training does not depend on how many there are.
    """
    return int(np.random.SeedSequence([seed, step, purpose, process]).generate_state(1)[0])
