"""A disk that is full from one write on, and a clock that steps: failing_disk.c in front of the C library."""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from fault_jobs import Base, Reference

import processes

SOURCE = Path(__file__).with_name("failing_disk.c")
LIBRARY = "FAULT_LIBRARY"


def preload(scratch: Path) -> None:
    """Compile the library and let every process that the server forks have it. Before the server is started."""
    library = scratch / "failing_disk.so"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    os.environ["LD_PRELOAD"] = os.environ[LIBRARY] = str(library)


def _counted(words: Sequence[object], said: Path, environment: dict[str, str], calls: Path) -> None:
    try:
        processes.command(words, said, environment)
    finally:
        library = ctypes.CDLL(os.environ[LIBRARY])
        library.fault_calls.restype = ctypes.c_long
        calls.write_text(str(library.fault_calls()), encoding="utf-8")


def count_writes(reference: Reference, base: Base, scratch: Path) -> int:
    """How many times a job writes, makes, renames or syncs something in its folder."""
    out, calls = scratch / f"counted-{reference.job.name}", scratch / "calls.txt"
    processes.run(_counted, reference.job.command(base, out), scratch / "said.txt", {"FAULT_ROOT": str(out)}, calls)
    shutil.rmtree(out)
    return int(calls.read_text(encoding="utf-8"))


def fill_disk(reference: Reference, base: Base, scratch: Path, *, at: int) -> list[str]:
    """Let the disk be full from write `at` on, then let the job go on with room: what went wrong."""
    out, said, name = scratch / f"full-{reference.job.name}", scratch / "said.txt", reference.job.name
    fault = {"FAULT_ROOT": str(out), "FAULT_AT": str(at)}
    status = processes.run(processes.command, reference.job.command(base, out), said, fault)
    words, wrong = said.read_text(encoding="utf-8", errors="replace"), []
    if "Traceback" in words or status not in (0, 2):
        wrong.append(f"{name}, disk full at write {at}: status {status}: {words[-1500:]}")
    if status != 0 and "No space left" not in words and "full" not in words:
        wrong.append(f"{name}, disk full at write {at}: it did not say so: {words[-500:]}")
    again = processes.run(processes.command, reference.job.command(base, out), said, None)
    if again != 0:
        words = said.read_text(encoding="utf-8", errors="replace")
        wrong.append(f"{name}, after a disk that was full at write {at}: status {again}: {words[-1500:]}")
    wrong += reference.check(out, f"after a disk that was full at write {at}")
    shutil.rmtree(out, ignore_errors=True)
    return wrong


def step_clock(reference: Reference, base: Base, scratch: Path, *, seconds: int, after: int) -> list[str]:
    """Let the wall clock jump after so many readings: what went wrong."""
    out, said = scratch / f"clock-{reference.job.name}", scratch / "said.txt"
    step = {"FAULT_STEP": str(seconds), "FAULT_TICKS": str(after)}
    status = processes.run(processes.command, reference.job.command(base, out), said, step)
    words = said.read_text(encoding="utf-8", errors="replace")
    what = f"a clock that jumps by {seconds} s after {after} readings"
    wrong = [] if status == 0 else [f"{reference.job.name}, {what}: status {status}: {words[-1500:]}"]
    wrong += reference.check(out, what)
    shutil.rmtree(out, ignore_errors=True)
    return wrong
