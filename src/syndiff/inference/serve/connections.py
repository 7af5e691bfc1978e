"""Connections that ask nothing, or never to the end, do not keep others out: they are closed."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

SECONDS = 30.0
"""A connection that sends no whole head of a request within this time, also after an answer, is closed."""

MAX_WAITING = 128
"""Of more connections that wait for a request the one that has waited longest is closed: `limit_concurrency` counts
them, and so many half requests, for which nobody needs a token, would have all others refused."""


class Connection(H11Protocol):
    """uvicorn's connection, which has no such limits of its own."""

    _since, _timer = 0.0, None  # while it waits for a request: since when, and what ends it

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()
        waiting = [each for each in self.connections if isinstance(each, Connection) and each._timer is not None]
        if len(waiting) > MAX_WAITING:
            min(waiting, key=lambda each: each._since)._end()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._answers:
            self._stop()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not (self._answers or self.transport.is_closing()):
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    @property
    def _answers(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._stop()
        self._since = self.loop.time()
        self._timer = self.loop.call_later(SECONDS, self._end)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        self._stop()
        self.transport.close()
