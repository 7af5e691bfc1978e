"""What several cells need, such as an inpainter or a synthetic set: made once, by whoever comes first."""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from syndiff.documents import read_object
from syndiff.files import locked, write_json

_FOLDER = "made"
_spent = 0.0
"""Seconds that this process has given to shared steps, waiting for others included."""


class Step(Protocol):
    """What is made once in the folder `study / name`, by going on where an earlier try was stopped."""

    @property
    def study(self) -> Path:
        """The folder of the study."""

    @property
    def name(self) -> str:
        """Of its own folder there."""

    def decides(self) -> Mapping[str, Any]:
        """Everything that the result depends on, as JSON has it."""

    def make(self, folder: Path, *, progress: bool) -> None:
        """Make it, or go on."""


def once(step: Step, *, progress: bool, own: bool = False) -> Path:
    """The folder of a step that is made; another process that makes it is waited for.

    The time counts as that of a shared step, unless the step is the cell's `own` work.
    """
    global _spent
    folder, record = step.study / step.name, step.study / _FOLDER / f"{_flat(step.name)}.json"
    decided = json.loads(json.dumps(step.decides()))
    if _is_made(folder, record, decided):
        return folder
    began, before = time.perf_counter(), _spent
    with held(step.study, step.name):
        if not _is_made(folder, record, decided):
            started = time.perf_counter()
            step.make(folder, progress=progress)
            write_json(record, {"decided_by": decided, "seconds": round(time.perf_counter() - started, 3)})
    if not own:
        _spent = before + time.perf_counter() - began  # what it needed itself is part of its time
    return folder


@contextlib.contextmanager
def held(study: Path, name: str) -> Iterator[None]:
    """Keep the other processes of a study from making what `name` names meanwhile; one that does is waited for."""
    with locked(study / _FOLDER / _flat(name), wait=True):
        yield


def spent() -> float:
    """Seconds that this process has given to shared steps so far."""
    return _spent


def _is_made(folder: Path, record: Path, decided: Mapping[str, Any]) -> bool:
    return folder.is_dir() and record.is_file() and read_object(record, {"decided_by": dict})["decided_by"] == decided


def _flat(name: str) -> str:
    return name.replace("/", "-")
