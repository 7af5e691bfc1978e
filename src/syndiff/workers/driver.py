"""The process that is connected to a Ray cluster, beside the user's: Ray's `driver`.

Ray ends its driver on the spot, with nothing but a line in a log, when a process of the cluster on this machine dies or
when its own books do not agree. That must not be the user's process. This one serves it over a pipe: the user's process
hands out tasks and asks for results. When the pipe closes, whoever closed it and why, this process ends what it began.
"""

import contextlib
import logging
import os
import shutil
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from syndiff.errors import SyndiffError
from syndiff.workers.settings import LOCAL
from syndiff.workers.task import do_task

RETRIES = 3
"""How often a task is done again whose worker or machine died."""

_STORE = 2**27  # bytes for what passes through Ray on this machine; Ray's default is a third of the memory
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is told to the outside
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray warns of its old ways otherwise
    "RAY_task_oom_retries": str(RETRIES),  # without an end otherwise
    "RAY_worker_niceness": "0",  # as without Ray; its 15 is all but a standstill on a busy machine
}


@dataclass(frozen=True)
class Start:
    """The cluster. Where it is one of this machine, for this command alone: its cores, and a folder of its own."""

    address: str
    cores: int = 0
    folder: str = ""


def main(descriptor: int) -> None:
    """Serve the process at the other end until it closes the pipe, or has died."""
    channel = Connection(descriptor)
    with contextlib.suppress(EOFError, ConnectionError):
        try:
            with _connected(*channel.recv()) as address:
                channel.send(address)
                _serve(channel)
        except SyndiffError as error:
            channel.send(error)


@contextlib.contextmanager
def _connected(start: Start) -> Iterator[str]:
    """A connection of this process to the cluster, and its address."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if _has_token():  # Ray looks for one itself, but not where the cluster's address is given
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    options: dict[str, Any] = {"address": start.address}
    if start.address == LOCAL:
        options |= {"num_cpus": start.cores, "include_dashboard": False}
        options |= {"object_store_memory": _STORE, "_temp_dir": start.folder}
    try:
        ray.init(**options, log_to_driver=False, configure_logging=False)
    except Exception as error:  # it has many kinds
        what = "does not start" if start.address == LOCAL else "is not reached"
        raise SyndiffError(
            f"--ray: the cluster ({start.address}) {what}: {_first_line(error)}. `ray status` and the how-to "
            "several-machines help to find out why."
        ) from None
    try:
        yield ray.get_runtime_context().gcs_address if start.address == LOCAL else start.address
    finally:
        ray.shutdown()
        if start.folder:  # the user's process may have been killed
            shutil.rmtree(start.folder, ignore_errors=True)


def _has_token() -> bool:
    """Whether there is what a cluster with authentication asks for; one without does not mind it."""
    named = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return named or (Path.home() / ".ray" / "auth_token").is_file()


def _serve(channel: Connection) -> None:
    """Answer the user's process until it closes the pipe."""
    import ray

    underway = deque[Any]()
    try:
        while True:
            match channel.recv():
                case ("resources",):
                    channel.send(ray.cluster_resources())
                case ("job", job, do):
                    gpu = {"num_gpus": 1} if ray.cluster_resources().get("GPU") else {}
                    run = ray.remote(num_cpus=job.threads, max_retries=RETRIES, **gpu)(do_task)
                    shared = job, (ray.put(do),)
                case ("task", task):
                    underway.append(run.remote(*shared, task))
                case ("result",):
                    channel.send(_result(underway[0], channel))
                    underway.popleft()
    finally:
        _stop(underway)


def _result(reference: Any, channel: Connection) -> bytes:
    """What the task gave. Raises EOFError where the user's process does not wait for it any longer."""
    import ray

    while not ray.wait([reference], timeout=0.2, fetch_local=False)[0]:
        if channel.poll():
            raise EOFError
    try:
        return bytes(ray.get(reference))
    except ray.exceptions.RayError as error:
        raise SyndiffError(
            f"A worker of the Ray cluster died {RETRIES + 1} times over the same task, most often because memory ran "
            f"out ({_first_line(error)}). What is finished is kept: the same command goes on. A larger --ray-cpus does "
            "fewer tasks at once."
        ) from None


def _stop(underway: Iterable[Any]) -> None:
    """End the workers of these tasks, and be there until they have ended."""
    import ray

    references = list(underway)
    for reference in reversed(references):  # those that wait first, or they would begin in place of the others
        ray.cancel(reference, force=True)
    if references:
        ray.wait(references, num_returns=len(references), timeout=30, fetch_local=False)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
