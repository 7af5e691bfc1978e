"""What whoever does tasks has in common."""

from collections.abc import Callable, Generator, Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Workers(Protocol):
    """They do tasks beside each other. `at_once`: how many."""

    @property
    def at_once(self) -> int:
        """How many tasks run at once."""

    def map(self, do: Callable[[T], R], tasks: Iterable[T], *, ahead: int | None = None) -> Generator[R, None, None]:
        """`do` of every task, in the order of the tasks.

        `do`, the tasks and the results are picklable. Every worker has `do` to itself for as long as it lives, so that
        what it has built for one task is there for the next. Up to `ahead` tasks are handed out before the first of
        them is done; None: all at once. An error of a task is raised when it is its turn. That, and closing the
        iterator, stops whatever is under way.
        """
