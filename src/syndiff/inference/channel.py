"""A bounded queue between two threads, that either side can close."""

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Closed(Exception):
    """The other side has closed the channel."""


class Channel(Generic[T]):
    """Passes things on in their order; who puts waits while `number` things or `size` bytes are on their way.

    A single thing may be larger than `size`: it waits until it is alone.
    """

    def __init__(self, number: int, size: int) -> None:
        self._number, self._size = number, size
        self._things: deque[tuple[T, int]] = deque()
        self._bytes, self._closed = 0, False
        self._changed = threading.Condition()

    def put(self, thing: T, size: int = 0) -> None:
        """Pass on a thing of so many bytes. Raises `Closed`."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_room(size))
            if self._closed:
                raise Closed
            self._things.append((thing, size))
            self._bytes += size
            self._changed.notify_all()

    def get(self) -> T:
        """The next thing. Raises `Closed`, with whatever was on its way lost."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._things))
            if self._closed:
                raise Closed
            thing, size = self._things.popleft()
            self._bytes -= size
            self._changed.notify_all()
            return thing

    def close(self) -> None:
        """Let both sides wait no longer."""
        with self._changed:
            self._closed = True
            self._things.clear()
            self._changed.notify_all()

    def _has_room(self, size: int) -> bool:
        return not self._things or (len(self._things) < self._number and self._bytes + size <= self._size)
