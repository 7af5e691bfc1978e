"""Processes that are killed as nothing can catch, at random moments, until one comes to its end."""

import shutil
import time
from pathlib import Path
from random import Random

from fault_jobs import Base, Reference

import processes

MOST = 4
"""Kills of one folder before the job is left in peace."""


def kill_and_go_on(reference: Reference, base: Base, scratch: Path, seed: int) -> tuple[int, list[str]]:
    """Kill a job up to `MOST` times at moments drawn from `seed`, let it end, compare: kills, and what went wrong."""
    random, out, said, kills = Random(seed), scratch / f"killed-{reference.job.name}", scratch / "said.txt", 0
    while kills < MOST:
        process = processes.start(processes.command, reference.job.command(base, out), said, None)
        process.join(random.uniform(0, 1.1 * reference.seconds))
        if not process.is_alive():
            break
        process.kill()
        process.join()
        kills += 1
    else:
        process = processes.start(processes.command, reference.job.command(base, out), said, None)
        process.join()
    words = said.read_text(encoding="utf-8", errors="replace")
    wrong = [] if process.exitcode == 0 else [f"{reference.job.name}, seed {seed}: status {process.exitcode}: {words}"]
    wrong += reference.check(out, f"killed {kills} times with seed {seed}")
    shutil.rmtree(out, ignore_errors=True)
    return kills, wrong


def kill_until(reference: Reference, base: Base, scratch: Path, *, kills: int, seed: int) -> tuple[int, list[str]]:
    """Rounds of `kill_and_go_on` until so many kills are done: how many, and what went wrong."""
    done, wrong, began = 0, list[str](), time.monotonic()
    while done < kills and time.monotonic() - began < 3600:
        more, found = kill_and_go_on(reference, base, scratch, seed)
        done, seed, wrong = done + more, seed + 1, wrong + found
    return done, wrong
