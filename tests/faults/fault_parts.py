"""Does anything get lost? Kills, full disks, damaged files, two processes, clocks that jump, strange input.

    make faults                                           everything, hours; results/faults.json
    python tests/faults --parts kills disk --share 0.05   some of it, a part of each

Each part prints what was done and what went wrong; the exit status is 1 where anything did.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import fault_disk
from fault_damage import read_damaged, readings
from fault_fuzz import fuzz
from fault_jobs import JOBS, Base, Reference
from fault_kills import kill_until
from fault_pairs import run_twice
from fault_serve import kill_server

import processes

KILLS = {"train": 90, "adapt": 80, "synthesize": 90, "predict": 90, "study": 80, "run": 50, "serve": 40}
FULL, DAMAGED, PAIRS, CLOCKS, FUZZ_SECONDS = 60, 40, 10, 4, 600
"""Of each job or kind of file: full disks (all of its writes, where it has no more), damages, pairs, clocks."""

Found = tuple[dict[str, Any], list[str]]


class Work:
    """The base, the references that were made so far, and how much is wanted."""

    def __init__(self, scratch: Path, share: float, seed: int, jobs: Sequence[str]) -> None:
        self.scratch, self.share, self.seed, self.jobs = scratch, share, seed, jobs
        self.base = Base.make(scratch / "base")
        self._references: dict[str, Reference] = {}

    def some(self, count: float) -> int:
        """A share of a number, one at least."""
        return max(1, round(self.share * count))

    def reference(self, name: str) -> Reference:
        """What a job comes to."""
        if name not in self._references:
            self._references[name] = Reference.of(JOBS[name], self.base, self.scratch)
        return self._references[name]

    def each(self, count: int, one: Callable[[Reference, int], list[str]]) -> Found:
        """`one` for every job, with so many seeds."""
        done, wrong = Counter[str](), list[str]()
        for name in self.jobs:
            for number in range(self.some(count)):
                wrong += one(self.reference(name), self.seed + number)
                done[name] += 1
        return dict(done), wrong


def kills(work: Work) -> Found:
    """Kills at random moments; the server is killed while decisions are sent to it."""
    done, wrong = {}, list[str]()
    for name in work.jobs:
        wanted = work.some(KILLS[name])
        done[name], found = kill_until(work.reference(name), work.base, work.scratch, kills=wanted, seed=work.seed)
        wrong += found
    done["serve"], found = kill_server(work.base, work.scratch, kills=work.some(KILLS["serve"]), seed=work.seed)
    return done, wrong + found


def disk(work: Work) -> Found:
    """A disk that is full from one write on."""
    done, wrong = {}, list[str]()
    for name in work.jobs:
        writes = fault_disk.count_writes(work.reference(name), work.base, work.scratch)
        chosen = sorted(Random(work.seed).sample(range(1, writes + 1), min(writes, work.some(FULL))))
        done[name] = {"writes": writes, "full_at": len(chosen)}
        for at in chosen:
            wrong += fault_disk.fill_disk(work.reference(name), work.base, work.scratch, at=at)
    return done, wrong


def clocks(work: Work) -> Found:
    """A wall clock that jumps back or ahead in the middle of the work."""

    def one(reference: Reference, seed: int) -> list[str]:
        random = Random(seed)
        seconds, after = random.choice([-86400, -3600, 3600, 86400]), random.randrange(200)
        return fault_disk.step_clock(reference, work.base, work.scratch, seconds=seconds, after=after)

    return work.each(CLOCKS, one)


def pairs(work: Work) -> Found:
    """Two processes on one folder."""
    return work.each(PAIRS, lambda reference, seed: run_twice(reference, work.base, work.scratch, seed))


def damage(work: Work) -> Found:
    """Files that are cut or have a bit turned."""
    done, wrong = {}, list[str]()
    every = readings(work.base)
    for reading in Random(work.seed).sample(every, min(len(every), work.some(2 * len(every)))):
        kinds = Counter[str]()
        for number in range(work.some(DAMAGED)):
            kind, found = read_damaged(reading, work.base, work.scratch, work.seed + number)
            kinds[kind], wrong = kinds[kind] + 1, wrong + found
        done[reading.name] = dict(kinds)
    return done, wrong


def strange(work: Work) -> Found:
    """Input that nobody meant, for every reader."""
    return fuzz(work.base, work.scratch, seconds=work.some(FUZZ_SECONDS), seed=work.seed)


PARTS: dict[str, Callable[[Work], Found]] = {
    part.__name__: part for part in (kills, disk, clocks, pairs, damage, strange)
}


def main(args: Sequence[str] | None = None) -> int:
    """Do the parts, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--share", type=float, default=1.0, help="how much of everything")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(args)
    found: dict[str, Any] = {}
    bad: list[str] = []
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        fault_disk.preload(Path(folder))
        processes.serve()
        work = Work(Path(folder), options.share, options.seed, options.jobs)
        for name in options.parts:
            began = time.perf_counter()
            done, wrong = PARTS[name](work)
            found[name] = {"done": done, "wrong": wrong, "seconds": round(time.perf_counter() - began)}
            bad += wrong
            print(f"{name}: {json.dumps(done)}, {len(wrong)} went wrong, {found[name]['seconds']} s", flush=True)
            for line in wrong:
                print(f"  {line}", flush=True)
    if options.out:
        from syndiff.files import write_json

        write_json(options.out, {"seed": options.seed, "share": options.share, **found})
    return 1 if bad else 0
