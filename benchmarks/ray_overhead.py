"""What a Ray cluster of this machine costs beside processes: the same tasks, as many at once, a core for each.

    python benchmarks/ray_overhead.py --out results/ray/overhead.json

- tasks: `--tasks` pieces of training of about `--seconds` each (a small network, a fixed number of steps), on processes
  as those of `syndiff study --workers`, and on Ray, in turns, `--repeats` times. The start is told apart from the work:
  it is what as many tasks of a single step take. Every round is a process of its own. Target: of work that takes ten
  minutes, Ray adds at most 5 %.
- synthesize: `syndiff synthesize` (copy_paste, `--count` cases of a phantom, gates included) in one process with one
  thread, and with --ray on so many cores as there are workers; whole commands, start included. The two folders are
  compared byte for byte.

Ten minutes on two cores. The machine should have nothing else to do: the load that it had at the beginning is in the
result.
"""

import argparse
import contextlib
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import syndiff
from syndiff.files import write_json
from syndiff.training.run_folder import environment
from syndiff.workers.base import Workers
from syndiff.workers.cluster import on_ray
from syndiff.workers.processes import Processes
from syndiff.workers.settings import Ray


@dataclass(frozen=True)
class Steps:
    """So many steps of a small network, with a thread; gives the seconds that they took."""

    count: int

    def __call__(self, seed: int) -> float:
        torch.manual_seed(seed)
        network = torch.nn.Sequential(*(torch.nn.Conv2d(16, 16, 3, padding=1) for _ in range(4)))
        optimizer = torch.optim.AdamW(network.parameters())
        images = torch.rand(4, 16, 64, 64)
        began = time.perf_counter()
        for _ in range(self.count):
            optimizer.zero_grad()
            (network(images) - images).abs().mean().backward()
            optimizer.step()
        return time.perf_counter() - began


@contextlib.contextmanager
def workers_of(kind: str, number: int, folder: Path) -> Iterator[Workers]:
    """Processes, or a cluster of this machine; both do `number` tasks at once."""
    if kind == "processes":
        yield Processes(number)
        return
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:number]))
    with on_ray(Ray(), folder) as cluster:
        yield cluster


def do_round(kind: str, steps: int, workers: int, tasks: int) -> None:
    """In a process of its own, as a command is: do the tasks."""
    torch.set_num_threads(1)  # each task has one, of processes and of Ray
    with tempfile.TemporaryDirectory() as folder, workers_of(kind, workers, Path(folder)) as there:
        list(there.map(Steps(steps), range(tasks)))


def one_round(kind: str, options: argparse.Namespace, steps: int) -> float:
    """Seconds of a round, from the start of its process to its end."""
    given = [kind, str(steps), str(options.workers), str(options.tasks)]
    began = time.perf_counter()
    subprocess.run([sys.executable, __file__, "--round", *given], check=True)
    return time.perf_counter() - began


def measure_tasks(options: argparse.Namespace) -> dict[str, Any]:
    """Both kinds in turns, with tasks of a single step and with those of `--seconds`."""
    steps = max(2, round(options.seconds / (Steps(20)(0) / 20)))
    rounds: dict[str, dict[str, list[float]]] = {kind: {"start": [], "whole": []} for kind in ("processes", "ray")}
    for _ in range(options.repeats):
        for kind, found in rounds.items():
            found["start"].append(one_round(kind, options, 1))
            found["whole"].append(one_round(kind, options, steps))
            print(kind, {name: round(values[-1], 2) for name, values in found.items()}, file=sys.stderr)
    start, whole = (
        {kind: statistics.median(found[name]) for kind, found in rounds.items()} for name in ("start", "whole")
    )
    work = {kind: whole[kind] - start[kind] for kind in rounds}
    more = work["ray"] / work["processes"] - 1
    start_more = start["ray"] - start["processes"]
    return {
        "steps": steps,
        "seconds": rounds,
        "median": {"start": start, "whole": whole, "work": work},
        "start_more_seconds": start_more,
        "overhead_of_work": more,
        "overhead_here": whole["ray"] / whole["processes"] - 1,
        "overhead_of_ten_minutes": more + start_more / 600,
    }


def measure_synthesis(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One process against a cluster, from files to files."""
    syndiff.write_phantom(folder / "phantom", groups=6, frames=4)
    settings = syndiff.load_settings(values={"synthesis.inpainter": "copy_paste", "gates.mode": "report"})
    seconds = {}
    for name, ray in (("one_process", None), ("ray", Ray())):
        began = time.perf_counter()
        made = syndiff.synthesize(
            folder / "phantom", folder / name, count=options.count, settings=settings, ray=ray, progress=False
        )
        seconds[name] = time.perf_counter() - began
    one, other = (
        {path.relative_to(folder / name): path.read_bytes() for path in (folder / name).rglob("*") if path.is_file()}
        for name in seconds
    )
    return {"accepted": made.accepted, "seconds": seconds, "same_bytes": one == other}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--round", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--parts", nargs="+", default=["tasks", "synthesize"], choices=["tasks", "synthesize"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--count", type=int, default=300)
    options = parser.parse_args()
    if options.round:
        kind, *numbers = options.round
        do_round(kind, *map(int, numbers))
        return
    if options.out is None:
        parser.error("give --out")
    found: dict[str, Any] = {"command": shlex.join(["python", *sys.argv]), "load_before": os.getloadavg()}
    found |= {"environment": environment(), "workers": options.workers, "seconds_of_a_task": options.seconds}
    torch.set_num_threads(1)  # each task has one, of processes and of Ray
    with tempfile.TemporaryDirectory() as scratch:
        if "tasks" in options.parts:
            found["tasks"] = measure_tasks(options)
        if "synthesize" in options.parts:
            found["synthesize"] = measure_synthesis(options, Path(scratch))
    write_json(options.out, found)
    print(options.out)


if __name__ == "__main__":
    main()
