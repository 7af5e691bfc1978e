"""Tasks on a Ray cluster: what dies is done again, and what is refused reaches the user in its own words.

Machines of a cluster share a file system: a task reads and writes the same paths, and only small things pass through
Ray. What a task writes goes on where a killed one stopped, so that it can be done again anywhere.

Three processes have a part in it: the user's, which is here; one beside it that is connected to Ray (`driver`); and the
cluster's, which do the tasks (`task`).
"""

import contextlib
import logging
import os
import platform
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import islice
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

from syndiff.errors import SyndiffError
from syndiff.files import signed
from syndiff.workers.base import R, T
from syndiff.workers.driver import Start
from syndiff.workers.settings import LOCAL, Ray
from syndiff.workers.task import Failed, Job, versions

log = logging.getLogger("syndiff")

_PATIENCE = 60  # seconds for a driver to end its cluster, or to wait until its workers on another one have ended


@contextlib.contextmanager
def on_ray(chosen: Ray, folder: Path) -> Iterator["Cluster"]:
    """Workers of a Ray cluster, each of which must see `folder`; the caller holds it (`files.claimed`).

    A cluster of this machine is started and ended with the context.

    Raises SyndiffError where no cluster answers, or none can be started.
    """
    with signed(folder) as sign, connected(chosen) as driver:
        yield Cluster(driver, chosen.cpus, sign)


class Driver:
    """The process that is connected to Ray. `address`: of its cluster, for others."""

    def __init__(self, start: Start) -> None:
        self._channel, theirs = Pipe()
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; from syndiff.workers.driver import main; main({theirs.fileno()})"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=sys.__stderr__,  # what Ray has to say is no result
            start_new_session=True,  # Ctrl-C is for the user's process, which ends this one
        )
        theirs.close()
        try:
            self.address: str = self.ask(start)
        except BaseException:
            self._process.kill()  # it may be in the middle of a start; what it started dies with it
            self.end()
            raise

    def tell(self, *message: Any) -> None:
        """Send a message. Raises SyndiffError where the process has ended."""
        try:
            self._channel.send(message)
        except OSError:
            raise self._lost() from None

    def ask(self, *message: Any) -> Any:
        """The answer to a message. Raises SyndiffError where that is one, or the process has ended."""
        self.tell(*message)
        try:
            answer = self._channel.recv()
        except (EOFError, OSError):
            raise self._lost() from None
        if isinstance(answer, SyndiffError):
            raise answer
        return answer

    def end(self) -> None:
        """End it with all that it has begun, and be there until it has ended."""
        self._channel.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _lost(self) -> SyndiffError:
        self.end()
        return SyndiffError(
            f"The connection to the Ray cluster is lost (status {self._process.returncode}), most often because a "
            "process of Ray was killed or memory ran out. What is finished is kept: the same command goes on."
        )


class Cluster:
    """`Workers` of a Ray cluster. Each task takes so many cores, and a GPU where the cluster has any."""

    def __init__(self, driver: Driver, cpus: int, sign: Path) -> None:
        self._driver, self._cpus, self._sign = driver, cpus, sign

    @property
    def at_once(self) -> int:
        """How many tasks the cluster has room for now; it may grow."""
        there = self._driver.ask("resources")
        room = int(there.get("CPU", 0)) // self._cpus
        return max(1, min(room, int(there["GPU"])) if there.get("GPU") else room)

    def map(self, do: Callable[[T], R], tasks: Iterable[T], *, ahead: int | None = None) -> Generator[R, None, None]:
        """As `Workers.map`. A task whose worker died is done again, three times at most.

        Where it ends early, the connection ends: nothing can be mapped afterwards.

        Raises SyndiffError where the worker died once more, or the connection to the cluster is lost.
        """
        from ray import cloudpickle

        job = Job(secrets.token_hex(8), self._sign, Path.cwd(), platform.node(), self._cpus, versions())
        self._driver.tell("job", job, cloudpickle.dumps(do))
        waiting, underway = iter(tasks), 0
        try:
            while True:
                room = None if ahead is None else max(0, ahead - underway)
                for task in islice(waiting, room):
                    self._driver.tell("task", cloudpickle.dumps(task))
                    underway += 1
                if not underway:
                    return
                found = cloudpickle.loads(self._driver.ask("result"))
                underway -= 1
                if isinstance(found, Failed):
                    raise found.error
                yield found
        except BaseException:
            self._driver.end()
            raise


@contextlib.contextmanager
def connected(chosen: Ray) -> Iterator[Driver]:
    """A process that is connected to the cluster, as `on_ray` says."""
    with contextlib.ExitStack() as stack:
        if chosen.address == LOCAL:
            driver = _started(_cores(chosen.cpus), stack)
        else:
            _check_answer(chosen.address)
            driver = Driver(Start(chosen.address))
        stack.callback(driver.end)
        yield driver


def _started(cores: int, stack: contextlib.ExitStack) -> Driver:
    """The driver of a new cluster of this machine, whose folder goes with `stack`.

    Ray gives its own processes 30 seconds to start, too few on a busy machine: it gets a second chance.
    """
    for chance in (1, 2):
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True))
        try:
            return Driver(Start(LOCAL, cores, folder))
        except SyndiffError as error:
            if chance == 2:
                raise
            log.warning(f"{error} It is tried once more.")
    raise AssertionError("the second chance returns or raises")


def _cores(needed: int) -> int:
    """The cores that this process may use. Raises SyndiffError where a task needs more."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if there < needed:
        raise SyndiffError(f"--ray-cpus is {needed}, but this machine has {there}; expected at most as many.")
    return there


def _check_answer(address: str) -> None:
    """Refuse an address where nothing listens at once; Ray would try for a minute."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host:
        return  # "auto"
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise SyndiffError(
            f"--ray {address}: nothing answers there ({error}); start a cluster with `ray start --head`, or give the "
            "address that it told."
        ) from None
