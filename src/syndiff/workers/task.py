"""What a worker of a Ray cluster does: it becomes a process as the user's is, and does tasks.

Ray carries bytes alone. What they hold is unpacked here and by who gave the tasks, so that an error stays what it was.
"""

import importlib.metadata
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import syndiff
from syndiff.errors import SyndiffError


@dataclass(frozen=True)
class Job:
    """What all tasks of a `map` have in common."""

    key: str
    sign: Path
    home: Path
    host: str
    threads: int
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Failed:
    """Instead of a result: what went wrong."""

    error: Exception


_built: dict[str, Callable[[Any], Any]] = {}
"""In a worker: what does the tasks of the present job."""


def do_task(job: Job, do: tuple[Any], task: bytes) -> bytes:
    """Do a task; a result or `Failed`. `do`: a reference, within a tuple so that Ray does not follow it."""
    from ray import cloudpickle

    try:
        if job.key not in _built:
            _built.clear()
            _prepare(job)
            import ray

            _built[job.key] = cloudpickle.loads(ray.get(do[0]))
        return bytes(cloudpickle.dumps(_built[job.key](cloudpickle.loads(task))))
    except Exception as error:
        return bytes(cloudpickle.dumps(Failed(_told(error, job))))


def versions() -> dict[str, str]:
    """Of what results depend on, without a build's suffix such as +cu130."""
    libraries = {name: importlib.metadata.version(name).partition("+")[0] for name in ("torch", "numpy")}
    return {"syndiff": syndiff.__version__, **libraries}


def _prepare(job: Job) -> None:
    """Become a process as the user's is: its folder, its threads, its versions, the same files."""
    here = platform.node()
    if different := [
        f"{name} {there} there, {job.versions[name]} here"
        for name, there in versions().items()
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


def _told(error: Exception, job: Job) -> Exception:
    """The error as the user shall have it: a refusal says where it comes from, a fault brings its traceback."""
    here = platform.node()
    if not isinstance(error, SyndiffError):
        error.add_note(f"In a worker on {here}:\n{traceback.format_exc()}")
    elif here != job.host and here not in str(error):
        return SyndiffError(f"{error} (So says {here}, a machine of the Ray cluster.)")
    return error
