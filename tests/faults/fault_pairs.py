"""Two processes that write into the same folder at once."""

import shutil
from pathlib import Path
from random import Random

from fault_jobs import Base, Reference

import processes


def run_twice(reference: Reference, base: Base, scratch: Path, seed: int) -> list[str]:
    """Start a job twice, the second one at a random moment: one ends well, the other too or is refused in words."""
    out, job = scratch / f"pair-{reference.job.name}", reference.job
    said = [scratch / f"said-{number}.txt" for number in range(2)]
    first = processes.start(processes.command, job.command(base, out), said[0], None)
    first.join(Random(seed).uniform(0, reference.seconds))
    second = processes.start(processes.command, job.command(base, out), said[1], None)
    first.join()
    second.join()
    told = [path.read_text(encoding="utf-8", errors="replace") for path in said]
    wrong = []
    for process, words in zip((first, second), told, strict=True):
        refused = process.exitcode == 2 and "in use by" in words
        if not (process.exitcode == 0 or refused) or "Traceback" in words:
            wrong.append(f"{job.name}, two processes, seed {seed}: status {process.exitcode}: {words[-1500:]}")
    if first.exitcode and second.exitcode:
        wrong.append(f"{job.name}, two processes, seed {seed}: neither came to its end")
    wrong += reference.check(out, f"two processes, seed {seed}")
    shutil.rmtree(out, ignore_errors=True)
    return wrong
