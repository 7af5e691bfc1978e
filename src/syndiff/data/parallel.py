"""One function over many cases with a few threads: Pillow decodes and resizes without the interpreter's lock."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], *, name: str, progress: bool
) -> Iterator[Result]:
    """Yield `function(item)` in the order of `items`; `progress` shows a bar called `name` on standard error.

    At most four calls run at once. An error of one is raised when its turn comes, and those not yet begun are left.
    """
    pool = ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1))
    try:
        results = pool.map(function, items)
        yield from tqdm(results, total=len(items), desc=name, unit="case", disable=not progress)
    finally:
        pool.shutdown(cancel_futures=True)
