"""Speed and memory of synthesis: what the engine adds to the painting, samples a second, memory, two shards at once.

    python benchmarks/synthesis.py --data ../shared/data/cvc-clinicdb --split split.json --model adapted \
        --out results/synthesis-speed/all_parts_sdxl_step_110_ms.json

Four parts, `--parts` chooses; every measurement is a process of its own, and every ratio comes from one run:

- overhead: `synthesize`, whole, from an empty folder to the finished one, against a bare loop that hands the same
  requests to the same inpainter; in turns, `--repeats` times. Twice: with the compact inpainter, and with a tiny SDXL
  pipeline of random weights whose every U-Net step sleeps `--step-ms`, as a step of the real one would take that long:
  110 ms is an A100's (1,024 pixels, bf16, SDPA: 30 steps in 3.3 s, collated_results_sdxl.csv of
  https://huggingface.co/datasets/sayakpaul/sample-datasets); cards of 8 to 24 GB take longer.
  Target: the engine adds at most 3 %.
- accepted: `--count` accepted samples of the compact inpainter with its gates on all cores. Target: 100 in 5 minutes.
- memory: the largest resident size of a process that makes 10, 100, 1,000 samples (copy_paste, gates included).
  Target: flat.
- shards: two single-threaded processes on two shards, started together, against one such process (compact).
  Target: 1.7 times the samples a second.

Gates score all samples and refuse none, but for the part `accepted`; their calibration is not part of any time but
`calibration_seconds`. Weights are loaded before any clock starts. The machine should have nothing else to do: the load
that it had at the beginning is in the result.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from syndiff.config.loading import load_settings
from syndiff.config.settings import Settings
from syndiff.data.dataset import Dataset
from syndiff.data.splits import Split
from syndiff.files import write_json
from syndiff.pipeline.factories import make_gates, make_inpainter
from syndiff.synthesis.engine import synthesize_cases
from syndiff.synthesis.finish import SynthesisSummary
from syndiff.synthesis.gates.panel import Gates
from syndiff.synthesis.inpainters.base import Inpainter, InpaintRequest
from syndiff.synthesis.prompts.grammar import Grammar
from syndiff.synthesis.settings import SynthesisSettings
from syndiff.synthesis.shards import WHOLE, Shard

PARTS = ("overhead", "accepted", "memory", "shards")
LIBRARIES = ("syndiff", "numpy", "scipy", "pillow", "torch", "diffusers")
SHORT_PACK = """
subject: polyp
templates: ['a {size} polyp']
caption: 'a {size} polyp'
background: wall
slots: {size: {kind: mask, measure: area, words: [{word: small, below: 0.1}, big]}}
"""
"""Prompts that fit the tiny pipeline's tokenizer, which reads letter by letter."""


class Recorder:
    """An inpainter whose time is taken and whose requests are kept; everything else is its own."""

    def __init__(self, inpainter: Inpainter, keep: bool = False) -> None:
        self.inpainter, self.keep = inpainter, keep
        self.seconds, self.batches = 0.0, cast("list[list[InpaintRequest]]", [])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inpainter, name)

    def inpaint(self, requests: Sequence[InpaintRequest]) -> list[NDArray[np.float32]]:
        """Paint and take the time."""
        begin = time.perf_counter()
        result = self.inpainter.inpaint(requests)
        self.seconds += time.perf_counter() - begin
        if self.keep:
            self.batches.append(list(requests))
        return result


class Bench:
    """A dataset, an inpainter with its gates and prompts: what one process measures with."""

    def __init__(self, options: argparse.Namespace, kind: str, gates: str) -> None:
        self.options = options
        self.dataset, self.split = Dataset.open(options.data), Split.read(options.split)
        self.settings = self._settings(kind, gates)
        self.grammar = Grammar.for_dataset(self.dataset)
        if kind == "sdxl":
            self.inpainter = self._sdxl()
        else:
            self.inpainter = make_inpainter(self.settings)
        begin = time.perf_counter()
        self.gates = self._gates()
        self.calibration_seconds = time.perf_counter() - begin
        self.synthesize(self.inpainter, 1, WHOLE)  # loads the weights and warms up

    def synthesize(self, inpainter: Inpainter, count: int, shard: Shard) -> SynthesisSummary:
        """Make `count` samples in a new folder."""
        out = Path(tempfile.mkdtemp(dir=self.options.scratch)) / "painted"
        return synthesize_cases(
            self.dataset,
            self.split.train,
            inpainter,
            out,
            SynthesisSettings(),
            count=count,
            least=0,
            seed=self.options.seed,
            grammar=self.grammar,
            gates=self.gates,
            shard=shard,
            progress=False,
        )

    def timed(self, count: int, shard: Shard = WHOLE) -> dict[str, Any]:
        """Seconds of a synthesis, of the painting in it, and how it ended."""
        recorder = Recorder(self.inpainter)
        begin = time.perf_counter()
        summary = self.synthesize(recorder, count, shard)
        seconds = time.perf_counter() - begin
        return {
            "accepted": summary.accepted,
            "attempts": summary.attempts,
            "seconds": seconds,
            "inpainter_seconds": recorder.seconds,
            "samples_a_second": summary.accepted / seconds,
        }

    def overhead(self, count: int, repeats: int) -> dict[str, Any]:
        """The engine against a bare loop over the same requests, in turns."""
        recorder = Recorder(self.inpainter, keep=True)
        self.synthesize(recorder, count, WHOLE)
        engine, painting, bare = [], [], []
        for _ in range(repeats):
            found = self.timed(count)
            engine.append(found["seconds"])
            painting.append(found["inpainter_seconds"])
            begin = time.perf_counter()
            for batch in recorder.batches:
                self.inpainter.inpaint(batch)
            bare.append(time.perf_counter() - begin)
        added = [whole - part for whole, part in zip(engine, painting, strict=True)]
        painted = sum(len(batch) for batch in recorder.batches)
        return {
            "samples": painted,
            "engine_seconds": engine,
            "bare_loop_seconds": bare,
            "overhead": statistics.median(engine) / statistics.median(bare) - 1,
            # the same, from the time that the inpainter took within the engine: blind to what else the machine does
            "overhead_within": statistics.median(a / p for a, p in zip(added, painting, strict=True)),
            "engine_ms_a_sample": 1000 * statistics.median(added) / painted,
            "inpainter_ms_a_sample": 1000 * statistics.median(bare) / painted,
        }

    def _settings(self, kind: str, gates: str) -> Settings:
        # the tiny pipeline is made below: its settings are not the preset's
        chosen = "copy_paste" if kind == "sdxl" else kind
        changes = [f"synthesis.inpainter={chosen}", f"gates.mode={gates}"]
        if kind == "compact":
            changes += [f"synthesis.model={self.options.model}", f"compact.steps={self.options.steps}"]
        return load_settings("compact", None, changes)

    def _gates(self) -> Gates | None:
        # calibrated once for all processes of the same inpainter, as for a run that goes on
        folder = Path(self.options.scratch) / f"gates-{self.inpainter.name}"
        gates = make_gates(self.settings, self.inpainter, self.dataset, self.split, folder)
        if gates:
            gates.write(folder / "gates.json")
        return gates

    def _sdxl(self) -> Inpainter:
        """A tiny pipeline, written and loaded as a real one is, with steps that take as long as real ones."""
        sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
        from syndiff.synthesis.inpainters.sdxl import Sdxl
        from syndiff.synthesis.inpainters.settings import SdxlSettings
        from tiny_pipelines import save_tiny_pipeline  # type: ignore[import-not-found]

        scratch = Path(tempfile.mkdtemp(dir=self.options.scratch))
        pack = scratch / "short.yaml"
        pack.write_text(SHORT_PACK)
        self.grammar = Grammar.load(str(pack))
        settings = SdxlSettings(steps=self.options.steps, resolution=64, device="cpu")
        sdxl = Sdxl(str(save_tiny_pipeline(scratch / "tiny")), settings=settings)
        seconds = self.options.step_ms / 1000 * settings.batch_size
        sdxl._pipeline.unet.register_forward_hook(lambda *_: time.sleep(seconds))
        return sdxl


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """What one measuring process does: what the parent asks for, once it says go."""
    job = json.loads(options.job)
    bench = Bench(options, job["kind"], job["gates"])
    print("ready", flush=True)
    sys.stdin.readline()
    if job["what"] == "overhead":
        found = bench.overhead(job["count"], options.repeats)
    else:
        found = bench.timed(job["count"], Shard.parse(job["shard"]))
    found["calibration_seconds"] = bench.calibration_seconds
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


class Child:
    """A measuring process that has loaded everything and waits."""

    def __init__(self, threads: int, what: str, kind: str, count: int, gates: str = "report", shard: str = "1/1"):
        job = {"what": what, "kind": kind, "count": count, "gates": gates, "shard": shard}
        self.process = subprocess.Popen(
            [sys.executable, *sys.argv, "--job", json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )
        assert self.process.stdout
        for line in self.process.stdout:
            if line == "ready\n":
                return
        raise SystemExit(self.process.wait() or 1)  # it has said why

    def go(self) -> "Child":
        """Let it measure."""
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self

    def found(self) -> dict[str, Any]:
        """What it measured."""
        printed, _ = self.process.communicate()
        if self.process.returncode:
            raise SystemExit(self.process.returncode)
        result: dict[str, Any] = json.loads(printed.splitlines()[-1])
        return result


def main() -> None:
    """All chosen parts, one after the other, and the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a dataset folder")
    parser.add_argument("--split", type=Path, required=True, help="its split, from `syndiff data split`")
    parser.add_argument("--model", default="", help="run folder of `syndiff adapt`: a compact inpainter")
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=25, help="denoising steps of both inpainters")
    parser.add_argument("--count", type=int, default=100, help="accepted: samples")
    parser.add_argument("--overhead-count", type=int, default=32, help="overhead: samples in each turn")
    parser.add_argument("--repeats", type=int, default=3, help="overhead: turns")
    parser.add_argument("--step-ms", type=float, default=110, help="overhead: a step of the tiny SDXL for one sample")
    parser.add_argument("--memory-counts", type=int, nargs="+", default=(10, 100, 1000), help="memory: samples")
    parser.add_argument("--shard-count", type=int, default=32, help="shards: samples of each process")
    parser.add_argument("--scratch", default="", help=argparse.SUPPRESS)
    parser.add_argument("--job", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        print(json.dumps(measure(options)))
        return
    if not options.model and (needed := {"overhead", "accepted", "shards"} & {*options.parts}):
        parser.error(f"{', '.join(sorted(needed))} need --model, the run folder of `syndiff adapt`")
    cores = len(os.sched_getaffinity(0))
    result: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "machine": {"platform": platform.platform(), "processor": _processor(), "cores": cores},
        "load_average_before": os.getloadavg()[0],
        "versions": {"python": platform.python_version()}
        | {library: importlib.metadata.version(library) for library in LIBRARIES},
        "seed": options.seed,
        "steps": options.steps,
    }
    with tempfile.TemporaryDirectory() as scratch:
        sys.argv += ["--scratch", scratch]
        if "overhead" in options.parts:
            result["overhead"] = {
                kind: Child(cores, "overhead", kind, options.overhead_count).go().found()
                for kind in ("compact", "sdxl")
            }
            result["overhead"]["sdxl"]["step_ms"] = options.step_ms
        if "accepted" in options.parts:
            result["accepted"] = Child(cores, "synthesis", "compact", options.count, "on").go().found()
        if "memory" in options.parts:
            Child(1, "synthesis", "copy_paste", 1).go().found()  # calibrates the gates for the others
            found = {n: Child(1, "synthesis", "copy_paste", n).go().found() for n in options.memory_counts}
            peaks = {str(n): each["peak_mib"] for n, each in found.items()}
            last, *_, first = sorted(found, reverse=True)
            result["memory"] = {"peak_mib": peaks, "ratio": peaks[str(last)] / peaks[str(first)]}
        if "shards" in options.parts:
            result["shards"] = _shards(options.shard_count)
    print(json.dumps(result, indent=2))
    if options.out:
        write_json(options.out, result)


def _shards(count: int) -> dict[str, Any]:
    """One process makes `count` samples, then two at once make as many each."""
    one = Child(1, "synthesis", "compact", count).go().found()
    waiting = [Child(1, "synthesis", "compact", 2 * count, shard=f"{i}/2") for i in (1, 2)]
    two = [child.found() for child in [child.go() for child in waiting]]
    rates = [each["samples_a_second"] for each in two]
    return {"one": one, "two": two, "ratio": sum(rates) / one["samples_a_second"]}


def _processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


if __name__ == "__main__":
    main()
