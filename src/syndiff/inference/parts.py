"""Predicting by many workers: parts of the files are predicted anywhere and taken over in their order.

A part is predicted into a folder of its own within the one of the whole, as a whole job would be; then its files are
moved and its lines copied. A part whose worker died goes on where it stopped.
"""

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tqdm import tqdm

from syndiff.errors import SyndiffError
from syndiff.files import claimed, empty
from syndiff.inference.engines import threads
from syndiff.inference.filling import fill, segment_by
from syndiff.inference.inputs import KIND, Input
from syndiff.inference.journal import Journal
from syndiff.inference.ledger import Adopted, Failed, Job, Ledger, Outcome, Present, Work
from syndiff.inference.load import load_for
from syndiff.inference.options import Options
from syndiff.inference.stream import known, predict_all
from syndiff.models.predictor import SquarePredictor
from syndiff.workers.cluster import on_ray
from syndiff.workers.settings import Ray

FOLDER = ".syndiff-parts"
"""In a folder of predictions: parts that are not taken over yet."""

_PARTS, _FILES = 64, 64  # a job has so many parts or more, unless a part would have more than so many files


@dataclass(frozen=True)
class Part:
    """Some of the files, to be predicted in `folder`."""

    folder: Path
    files: list[Input]


@dataclass
class PartPredictor:
    """Predicts parts in a worker, which loads the model once.

    `options` name the engine that the whole job takes; `origin` and `names` are the whole job's too. among: it has
    several files.
    """

    run: Path
    options: Options
    origin: dict[str, Any]
    names: Mapping[str, str]
    among: bool

    def __call__(self, part: Part) -> Outcome:
        predictor, workers = self._loaded

        def predict(work: Work) -> Outcome:
            return predict_all(work, segment_by(predictor), workers=workers, progress=False)

        with claimed(part.folder, KIND):
            if not self._fits(part):
                empty(part.folder)
            options = self.options
            return fill(
                part.folder,
                part.files,
                self.origin,
                options.extras,
                predict,
                smooth=options.smooth,
                names=self.names,
                among=self.among,
            )

    @cached_property
    def _loaded(self) -> tuple[SquarePredictor, int]:
        return load_for(self.run, self.options, threads())

    def _fits(self, part: Part) -> bool:
        """Whether what lies in the part's folder is of this job; an earlier one may have been stopped and changed."""
        try:
            journal = Journal(part.folder, self.origin)
        except SyndiffError:
            return False
        there = [(file, made) for file in part.files if (made := journal.made(file.source))]
        return all(
            made.name == self.names[file.source] and made.path in ("", str(file.path.absolute()))
            for file, made in there
        )


def predict_in_parts(work: Work, predict: PartPredictor, ray: Ray, *, progress: bool) -> Outcome:
    """As `stream.predict_all`, on a cluster. The caller holds the folder of `work`."""
    ledger = Ledger(work)
    events: dict[str, Present | Failed | Adopted] = {}
    events |= {file.source: event for file in work.files if (event := known(work, file))}
    size = min(_FILES, max(1, len(work.files) // _PARTS))
    parts = []
    for first in range(0, len(work.files), size):
        todo = [file for file in work.files[first : first + size] if file.source not in events]
        parts += [Part(work.out / FOLDER / f"{first:06d}", todo)] if todo else []
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(tqdm(desc="predicting", total=len(work.files), unit="image", disable=not progress))
        done: Iterator[Outcome] = iter(())
        if parts:
            workers = stack.enter_context(on_ray(ray, work.out))
            done = stack.enter_context(contextlib.closing(workers.map(predict, parts)))
        made = zip(parts, done, strict=True)
        for file in work.files:
            if file.source not in events:  # it is the first one of the next part
                part, outcome = next(made)
                events |= {event.job.file.source: event for event in _adopted(part, outcome, predict.origin)}
                ledger.outcome.remarks += outcome.remarks
            ledger.take(events.pop(file.source))
            bar.update()
    remove_parts(work.out)
    return ledger.outcome


def remove_parts(out: Path) -> None:
    """Remove what is left of parts; the caller holds the folder."""
    shutil.rmtree(out / FOLDER, ignore_errors=True)


def _adopted(part: Part, outcome: Outcome, origin: dict[str, Any]) -> Iterator[Adopted | Failed]:
    """What became of each file of a part."""
    journal = Journal(part.folder, origin)
    rows: dict[str, list[dict[str, Any]]] = {}
    for source, _, row in journal.rows():
        rows.setdefault(source, []).append(row)
    for file in part.files:
        if file.source in outcome.failed:
            yield Failed(Job(file), outcome.failed[file.source])
        elif file.source in outcome.empty:
            yield Failed(Job(file), "", empty=True)
        else:
            made = journal.made(file.source)
            assert made is not None
            yield Adopted(Job(file), made, part.folder, rows.get(file.source, []))
