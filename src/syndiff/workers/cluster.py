"""Tasks on a Ray cluster: what dies is done again, and what is refused reaches the user in its own words.

Machines of a cluster share a file system: a task reads and writes the same paths, and only small things pass through
Ray. What a task writes goes on where a killed one stopped, so that it can be done again anywhere.
"""

import contextlib
import importlib.metadata
import logging
import os
import platform
import secrets
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import syndiff
from syndiff.errors import SyndiffError
from syndiff.files import signed
from syndiff.workers.base import R, T
from syndiff.workers.settings import LOCAL, Ray

_RETRIES = 3  # of a task whose worker or machine died
_STORE = 2**27  # bytes for what passes through Ray on this machine; Ray's default is a third of the memory
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is told to the outside
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray warns of its old ways otherwise
    "RAY_task_oom_retries": str(_RETRIES),  # without an end otherwise
}


@contextlib.contextmanager
def on_ray(chosen: Ray, folder: Path) -> Iterator["Cluster"]:
    """Workers of a Ray cluster, each of which must see `folder`; the caller holds it (`files.claimed`).

    A cluster of this machine is started and ended with the context. One that the process is connected to already
    (`ray.init`) is taken, whatever the address says.

    Raises SyndiffError where no cluster answers, or none can be started.
    """
    with connected(chosen), signed(folder) as sign:
        yield Cluster(chosen.cpus, sign)


class Cluster:
    """`Workers` of a Ray cluster. Each task takes so many cores, and a GPU where the cluster has any."""

    def __init__(self, cpus: int, sign: Path) -> None:
        self._cpus, self._sign = cpus, sign

    @property
    def at_once(self) -> int:
        """How many tasks the cluster has room for now; it may grow."""
        import ray

        there = ray.cluster_resources()
        room = int(there.get("CPU", 0)) // self._cpus
        return max(1, min(room, int(there["GPU"])) if there.get("GPU") else room)

    def map(self, do: Callable[[T], R], tasks: Iterable[T], *, ahead: int | None = None) -> Generator[R, None, None]:
        """As `Workers.map`. A task whose worker died is done again, three times at most.

        Raises SyndiffError where it died once more.
        """
        import ray

        job = _Job(
            secrets.token_hex(8), (ray.put(do),), self._sign, Path.cwd(), platform.node(), self._cpus, _versions()
        )
        gpu = {"num_gpus": 1} if ray.cluster_resources().get("GPU") else {}
        run = ray.remote(num_cpus=self._cpus, max_retries=_RETRIES, **gpu)(_run)
        waiting, underway = iter(tasks), deque[Any]()
        try:
            while True:
                room = None if ahead is None else max(0, ahead - len(underway))
                underway.extend(run.remote(job, task) for task in islice(waiting, room))
                if not underway:
                    return
                yield _result(underway[0])
                underway.popleft()
        finally:
            _stop(underway)


@dataclass(frozen=True)
class _Job:
    """What all tasks of a `map` have in common. `do`: a reference, within a tuple so that Ray does not follow it."""

    key: str
    do: tuple[Any]
    sign: Path
    home: Path
    host: str
    threads: int
    versions: Mapping[str, str]


@dataclass(frozen=True)
class _Failed:
    """Instead of a result: what went wrong. Ray would wrap it into an error of its own."""

    error: Exception


_built: dict[str, Callable[[Any], Any]] = {}
"""In a worker: what does the tasks of the present job."""


def _run(job: _Job, task: Any) -> Any:
    """In a worker: do a task."""
    try:
        if job.key not in _built:
            _built.clear()
            _prepare(job)
        return _built[job.key](task)
    except Exception as error:
        return _Failed(_told(error, job))


def _prepare(job: _Job) -> None:
    """Become a process as the user's is: its folder, its threads, its versions, the same files."""
    import ray

    here = platform.node()
    if different := [
        f"{name} {there} there, {job.versions[name]} here"
        for name, there in _versions().items()
        if there != job.versions[name]
    ]:
        raise SyndiffError(
            f"{here}, a machine of the Ray cluster, has other versions: {', '.join(different)}. Results would differ; "
            "install the same ones."
        )
    try:
        os.chdir(job.home)
    except OSError:
        raise _unseen(job.home) from None
    if not _sees(job.sign):
        raise _unseen(job.sign.parent)
    os.environ["OMP_NUM_THREADS"] = str(job.threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(job.threads)
    _built[job.key] = ray.get(job.do[0])


def _sees(sign: Path) -> bool:
    """Whether a file is there; a network file system may show it only after some seconds."""
    for _ in range(4):
        if sign.is_file():
            return True
        time.sleep(0.5)
    return False


def _unseen(folder: Path) -> SyndiffError:
    return SyndiffError(
        f"{platform.node()}, a machine of the Ray cluster, does not see {folder}, or another folder of that name; all "
        "machines must have the same folders at the same paths, such as on a network drive."
    )


def _told(error: Exception, job: _Job) -> Exception:
    """The error as the user shall have it: a refusal says where it comes from, a fault brings its traceback."""
    here = platform.node()
    if not isinstance(error, SyndiffError):
        error.add_note(f"In a worker on {here}:\n{traceback.format_exc()}")
    elif here != job.host and here not in str(error):
        return SyndiffError(f"{error} (So says {here}, a machine of the Ray cluster.)")
    return error


def _versions() -> dict[str, str]:
    """Of what results depend on, without a build's suffix such as +cu130."""
    libraries = {name: importlib.metadata.version(name).partition("+")[0] for name in ("torch", "numpy")}
    return {"syndiff": syndiff.__version__, **libraries}


def _result(reference: Any) -> Any:
    import ray

    try:
        found = ray.get(reference)
    except ray.exceptions.RayError as error:
        raise SyndiffError(
            f"A worker of the Ray cluster died {_RETRIES + 1} times over the same task, most often because memory ran "
            f"out ({_first_line(error)}). What is finished is kept: the same command goes on. A larger --ray-cpus does "
            "fewer tasks at once."
        ) from None
    if isinstance(found, _Failed):
        raise found.error
    return found


def _stop(underway: Iterable[Any]) -> None:
    """End the workers of these tasks, and be there until they have ended."""
    import ray

    references = list(underway)
    for reference in reversed(references):  # those that wait first, or they would begin in place of the others
        ray.cancel(reference, force=True)
    if references:
        ray.wait(references, num_returns=len(references), timeout=30, fetch_local=False)


@contextlib.contextmanager
def connected(chosen: Ray) -> Iterator[None]:
    """A connection of this process to the cluster, as `on_ray` says; nothing where there is one already."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield
        return
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        options: dict[str, Any] = {"address": chosen.address}
        if chosen.address == LOCAL:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True))
            options |= {"num_cpus": _cores(chosen.cpus), "include_dashboard": False}
            options |= {"object_store_memory": _STORE, "_temp_dir": folder}
        else:
            _check_answer(chosen.address)
        try:
            with _signals_kept():
                ray.init(**options, log_to_driver=False, configure_logging=False)
        except Exception as error:  # it has many kinds
            what = "does not start" if chosen.address == LOCAL else "is not reached"
            raise SyndiffError(
                f"--ray: the cluster ({chosen.address}) {what}: {_first_line(error)}. `ray status` and the how-to "
                "several-machines help to find out why."
            ) from None
        stack.callback(ray.shutdown)
        yield


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


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray would end the process at SIGTERM in its own way."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
