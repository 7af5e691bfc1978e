"""Real processes without a fresh interpreter for each: forked from one server that has imported what they need."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from typing import Any

FORKSERVER = multiprocessing.get_context("forkserver")


def serve() -> None:
    """Start the server. A process has one: that of `syndiff study --workers` is this one too, if it comes first."""
    FORKSERVER.set_forkserver_preload(
        [
            *("pytest", "torch._dynamo", "syndiff.cli", "syndiff.pipeline.run", "syndiff.training.lora", "peft"),
            "diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_inpaint",
        ]
    )
    ensure_running()


def start(target: Callable[..., Any], *args: Any) -> ForkServerProcess:
    """`target(*args)` in a process of its own; both must be picklable."""
    process = FORKSERVER.Process(target=target, args=args)
    process.start()
    return process


def run(target: Callable[..., Any], *args: Any) -> int | None:
    """The exit status of `target(*args)` in a process of its own."""
    process = start(target, *args)
    process.join()
    return process.exitcode


def kill(process: ForkServerProcess) -> None:
    """End it as nothing can catch, as a machine does that runs out of memory."""
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, "it ended before it could be killed"


def kill_at(moment: Callable[[], bool], target: Callable[..., Any], *args: Any) -> None:
    """Start `target(*args)` and kill it once the moment has come."""
    process = start(target, *args)
    while process.is_alive() and not moment():
        time.sleep(0.0005)
    kill(process)


def kill_before(event: str, path: str, target: Callable[..., Any], *args: Any) -> None:
    """`target(*args)` in a process that is killed as it is about to do what Python's audit events call `event`.

    With a path that ends with `path`: ("os.rename", "checkpoints/last"). No moment is too short to be met.
    """
    status = run(_until, event, path, target, *args)
    assert status == -signal.SIGKILL, f"it ended with status {status} before {event} of {path}"


def _until(event: str, path: str, target: Callable[..., Any], *args: Any) -> None:
    def watch(happening: str, given: tuple[object, ...]) -> None:
        if happening == event and any(str(value).endswith(path) for value in given):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    target(*args)


def command(arguments: Sequence[object], said: Path, environment: Mapping[str, str] | None = None) -> None:
    """A target for the functions above: the command line, which exits with its status, its words written to `said`."""
    from syndiff.cli import main

    os.environ.update(environment or {})
    with said.open("w", encoding="utf-8") as sys.stdout:
        sys.stderr = sys.stdout
        main([str(argument) for argument in arguments])
