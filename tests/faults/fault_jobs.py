"""Small jobs of the verbs that write, and what of their folders may not depend on how often they were stopped."""

import csv
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import processes
from tiny_commands import SMALL

TRAIN = [*SMALL, "model.condition_channels=16", "model.denoiser_channels=16"]
TRAIN += ["training.steps=8", "training.batch_size=4"]
TRAIN += ["training.validate_every=4", "training.checkpoint_every=2"]
ADAPT = ["inpainter.crop_size=64", "inpainter.channels=[32,32,32]", "inpainter.caption_layers=1"]
ADAPT += ["adapt.steps=6", "adapt.crops=16", "adapt.batch_size=2", "adapt.warmup_steps=1", "adapt.checkpoint_every=2"]

TIMES = {"crc32", "seconds", "seconds_per_step", "seconds_per_image", "time", "timing", "created", "date", "duration"}
"""Keys of files whose values are of the clock."""
OF_THE_PROCESS = {"log.txt", "command.txt", "environment.json", "timing.json", "timing.csv", "time-per-image.csv"}
"""Files that tell of the processes that worked, not of what came out."""
JOURNALS = {"predictions.jsonl"}
"""Files of lines in the order in which the work was done, which a resumed job may change. The last of a name holds: a
kill between line and file gives one more."""
PAGES = {".html", ".svg", ".md"}
"""Made from the other files, with dates and times in them: that they are there is enough."""


@dataclass(frozen=True)
class Base:
    """What the jobs start from: a phantom, its split, a trained segmenter and a synthetic set."""

    folder: Path

    @property
    def data(self) -> Path:
        """The dataset."""
        return self.folder / "phantom"

    @property
    def split(self) -> Path:
        """Its split."""
        return self.folder / "split.json"

    @property
    def model(self) -> Path:
        """The run folder of a segmenter."""
        return self.folder / "model"

    @property
    def made(self) -> Path:
        """A synthetic dataset folder."""
        return self.folder / "made"

    @classmethod
    def make(cls, folder: Path) -> "Base":
        """Make it in a new folder."""
        from syndiff.phantom import write_phantom

        base = cls(folder)
        write_phantom(base.data, groups=6, frames=2, height=64, width=72, seed=0)
        for words in (
            ["data", "split", "--data", base.data, "--out", base.split],
            ["train", *_given(base), "--out", base.model, "--set", *TRAIN],
            ["evaluate", "--data", base.data, "--run", base.model],
            JOBS["synthesize"].command(base, base.made),
        ):
            status, said = call(words, folder)
            assert status == 0, said
        return base


@dataclass(frozen=True)
class Job:
    """A command line that writes into `out`, and goes on there when it is called again."""

    name: str
    words: Callable[[Base, Path], list[Any]]

    def command(self, base: Base, out: Path) -> list[str]:
        """Its words."""
        return [str(word) for word in self.words(base, out)]


def _given(base: Base) -> list[Any]:
    return ["--data", base.data, "--split", base.split]


JOBS = {
    job.name: job
    for job in (
        Job("train", lambda base, out: ["train", *_given(base), "--out", out, "--set", *TRAIN]),
        Job("adapt", lambda base, out: ["adapt", *_given(base), "--out", out, "--set", *ADAPT]),
        Job(
            "synthesize",
            lambda base, out: [
                *("synthesize", *_given(base), "--out", out, "--inpainter", "copy_paste", "--count", 4),
                *("--set", "gates.mode=report"),
            ],
        ),
        Job(
            "predict",
            lambda base, out: [
                *("predict", "--run", base.model, "--images", base.data / "images", "--out", out, "--tta", 1)
            ],
        ),
        Job(
            "study",
            lambda base, out: [
                *("study", "ratio", "--data", base.data, "--out", out, "--counts", 2, "--repeats", 1),
                *("--inpainter", "copy_paste", "--gates", "off", "--set", *TRAIN),
            ],
        ),
        Job(
            "run",
            lambda base, out: [
                *("run", "--data", base.data, "--out", out, "--set", *TRAIN, "synthesis.inpainter=copy_paste"),
                *("run.minutes=0", "synthesis.share=0.5", "gates.mode=report"),
            ],
        ),
    )
}


def call(words: list[Any], scratch: Path, environment: Mapping[str, str] | None = None) -> tuple[int | None, str]:
    """The exit status of a command line in a process of its own, and what it said."""
    said = scratch / f"said-{time.monotonic_ns()}.txt"
    status = processes.run(processes.command, words, said, environment)
    told = said.read_text(encoding="utf-8", errors="replace")
    said.unlink()
    return status, told


def content(folder: Path) -> dict[str, Any]:
    """Everything in a folder of results that must come out the same, by a name that says where it stands."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file() or path.name in OF_THE_PROCESS or path.name == ".syndiff.json":
            continue
        if path.suffix in PAGES:
            found[name] = "is there"
        elif path.suffix == ".json":
            found |= {f"{name}:{key}": value for key, value in _flat(json.loads(path.read_text(encoding="utf-8")))}
        elif path.suffix == ".jsonl":
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            if path.name in JOURNALS:
                lines = [line for _, line in sorted({str(line.get("name")): line for line in lines}.items())]
            for number, line in enumerate(lines):
                found |= {f"{name}:{number}:{key}": value for key, value in _flat(line)}
        elif path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8") as file:
                for number, row in enumerate(csv.DictReader(file)):
                    found |= {f"{name}:{number}:{key}": value for key, value in _flat(row)}
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in TIMES and "sha256" not in key and key not in ("per_case", "hash"):
                yield from _flat(item, f"{prefix}{key}.")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _flat(item, f"{prefix}{number}.")
    elif not (isinstance(value, str) and value.startswith("/")):
        yield prefix, value


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """What is missing, too much, or not the same."""
    names = sorted(expected.keys() | found.keys())
    return [
        f"{name}: expected {expected.get(name, 'nothing')}, found {found.get(name, 'nothing')}"
        for name in names
        if expected.get(name, _ABSENT) != found.get(name, _ABSENT)
    ]


_ABSENT = object()


@dataclass(frozen=True)
class Reference:
    """What a job comes to when nothing happens, and how long it takes."""

    job: Job
    content: dict[str, Any]
    seconds: float

    @classmethod
    def of(cls, job: Job, base: Base, scratch: Path) -> "Reference":
        """Let it run once."""
        out = scratch / f"reference-{job.name}"
        began = time.perf_counter()
        status, said = call(job.command(base, out), scratch)
        seconds = time.perf_counter() - began
        assert status == 0, f"{job.name} failed without any fault: {said}"
        found = content(out)
        shutil.rmtree(out)
        return cls(job, found, seconds)

    def check(self, out: Path, what: str) -> list[str]:
        """What a folder has otherwise than it should, each as a sentence."""
        left = [str(path.relative_to(out)) for path in out.rglob("*.tmp")] if out.is_dir() else []
        found = differences(self.content, content(out)) + [f"left behind: {name}" for name in left]
        return [f"{self.job.name}, {what}: {line}" for line in found[:5]]
