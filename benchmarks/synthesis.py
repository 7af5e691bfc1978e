"""Speed and memory of synthesis: samples a second, the engine's share of the time, memory, and two shards at once.

    python benchmarks/synthesis.py --data ../shared/data/cvc-clinicdb --split split.json --model adapted \
        --out docs/results/synthesis-speed.json

Targets: 100 accepted samples in at most 5 minutes on two cores; the engine adds at most 3 % to the painter's time;
memory is flat from 10 to 1,000 samples (measured with a painter that only greys, so that it ends within minutes); two
single-threaded processes on two shards make at least 1.7 times the samples a second of one. Every measurement is a
process of its own, all in one run.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from syndiff.data.dataset import DatasetFolder
from syndiff.data.readers import to_unit
from syndiff.data.splits import Split
from syndiff.files import write_json
from syndiff.pipeline.painting import make_gates, make_inpainter
from syndiff.presets import load_settings
from syndiff.synthesis.engine import synthesize
from syndiff.synthesis.grammar import Grammar
from syndiff.synthesis.inpainters.base import InpaintRequest
from syndiff.synthesis.shards import Shard


class Clocked:
    """An inpainter whose painting is timed; everything else is its own."""

    def __init__(self, inpainter: Any) -> None:
        self.inpainter, self.seconds, self.painted = inpainter, 0.0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inpainter, name)

    def inpaint(self, requests: Sequence[InpaintRequest]) -> list[NDArray[np.float32]]:
        """Paint and take the time."""
        begin = time.perf_counter()
        result = self.inpainter.inpaint(requests)
        self.seconds += time.perf_counter() - begin
        self.painted += len(requests)
        return result


class Grey:
    """A painter that costs nothing."""

    name, margin, batch_size, libraries = "grey", 0.3, 8, ()
    copies, paints_from_text, reads_captions = False, True, True

    def describe(self) -> dict[str, Any]:
        """No weights."""
        return {"name": self.name, "model": None, "revision": None, "hash": None, "settings": {}}

    def check_prompt(self, text: str) -> None:
        """Any will do."""

    def inpaint(self, requests: Sequence[InpaintRequest]) -> list[NDArray[np.float32]]:
        """The frame, half-way to grey."""
        return [0.5 * to_unit(request.image) + np.float32(0.25) for request in requests]


def measure(options: argparse.Namespace) -> dict[str, float]:
    """One synthesis in this process."""
    dataset, split = DatasetFolder.open(options.data), Split.read(options.split)
    settings = load_settings("compact", None, [f"synthesis.model={options.model}", f"gates.mode={options.gates}"])
    painter = Clocked(make_inpainter(settings) if options.painter == "compact" else Grey())
    out = Path(tempfile.mkdtemp(dir=options.scratch)) / "painted"
    gates = make_gates(settings, painter, dataset, split, out)
    arguments: dict[str, Any] = {"seed": 0, "grammar": Grammar.for_dataset(dataset), "gates": gates, "progress": False}
    if options.painter == "compact":  # loads the weights: start-up, not painting
        warm = Path(tempfile.mkdtemp(dir=options.scratch)) / "warm"
        synthesize(dataset, split.train, painter, warm, count=1, least=0, **arguments)
    painter.seconds, painter.painted = 0.0, 0
    begin = time.perf_counter()
    summary = synthesize(
        dataset, split.train, painter, out, count=options.count, shard=Shard.parse(options.shard), least=0, **arguments
    )
    seconds = time.perf_counter() - begin
    return {
        "accepted": summary.accepted,
        "attempts": summary.attempts,
        "seconds": seconds,
        "painter_seconds": painter.seconds,
        "painted": painter.painted,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def start(options: argparse.Namespace, threads: int, **changes: Any) -> subprocess.Popen[str]:
    """A process that measures one synthesis."""
    arguments = {**vars(options), **changes, "measure": True}
    command = [sys.executable, __file__, "--measure"]
    for name in ("data", "split", "model", "count", "painter", "gates", "shard", "scratch"):
        command += [f"--{name}", str(arguments[name])]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def result(process: subprocess.Popen[str]) -> dict[str, float]:
    """What a measuring process printed."""
    printed, _ = process.communicate()
    if process.returncode:
        raise SystemExit(process.returncode)
    return json.loads(printed.splitlines()[-1])


def main() -> None:
    """All measurements, one after the other, and the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True, help="run folder of `syndiff adapt`")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--painter", default="compact", help=argparse.SUPPRESS)
    parser.add_argument("--gates", default="on", help=argparse.SUPPRESS)
    parser.add_argument("--shard", default="1/1", help=argparse.SUPPRESS)
    parser.add_argument("--scratch", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options)))
        return
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as options.scratch:
        whole = result(start(options, cores))
        plain = result(start(options, cores, count=32, gates="off"))
        memory = {str(n): result(start(options, cores, painter="grey", count=n, gates="off")) for n in (10, 1000)}
        half = options.count // 4
        one = result(start(options, 1, count=half, gates="off"))
        both = [start(options, 1, count=2 * half, gates="off", shard=f"{i}/2") for i in (1, 2)]
        two = [result(process) for process in both]
    rate = one["attempts"] / one["seconds"]
    rates = [shard["attempts"] / shard["seconds"] for shard in two]
    found = {
        "machine": {"platform": platform.platform(), "cores": cores},
        "accepted_samples": whole,
        "samples_a_second": whole["attempts"] / whole["seconds"],
        "engine_over_painter": plain["seconds"] / plain["painter_seconds"] - 1,
        "engine_ms_a_sample": 1000 * (plain["seconds"] - plain["painter_seconds"]) / plain["painted"],
        "with_gates_over_painter": whole["seconds"] / whole["painter_seconds"] - 1,
        "memory_mib": {count: run["peak_mib"] for count, run in memory.items()},
        "shards": {"one_process": rate, "two_processes": rates, "ratio": sum(rates) / rate},
    }
    print(json.dumps(found, indent=2))
    if options.out:
        write_json(options.out, found)


if __name__ == "__main__":
    main()
