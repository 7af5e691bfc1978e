"""A server that is killed while decisions are sent to it: the kills of `benchmarks/serve.py`."""

import sys
from pathlib import Path

from fault_jobs import Base

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def kill_server(base: Base, scratch: Path, *, kills: int, seed: int) -> tuple[int, list[str]]:
    """Kill it so many times: how many times, and which acknowledged decisions are lost or stand there twice."""
    if str(BENCHMARKS) not in sys.path:
        sys.path.append(str(BENCHMARKS))
    from serve import kills as kill_times

    found = kill_times(base.data, scratch / "killed.db", kills, seed)
    bad = {name: found[name] for name in ("lost_right_after", "lost", "twice") if found[name]}
    return kills, [f"serve, {kills} kills: {bad} of {found['acknowledged']} decisions"] if bad else []
