"""What happens to the sources of a folder of predictions, event by event, and what is written of it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syndiff.errors import SyndiffError
from syndiff.inference.formats.base import Frame, Source
from syndiff.inference.inputs import Input
from syndiff.inference.journal import Journal, Made
from syndiff.inference.options import SMOOTH_SECONDS
from syndiff.inference.outputs import Output
from syndiff.inference.smoothing import Smoothing
from syndiff.inference.table import Table, figures_of_mask
from syndiff.models.predictor import Prediction


@dataclass
class Job:
    """A source on its way. given_up: something failed, and nobody needs to look at its frames any more."""

    file: Input
    checksum: str = ""
    source: Source | None = None
    given_up: bool = False


@dataclass(frozen=True)
class Read:
    """A frame that was read, and what segmented it."""

    job: Job
    frame: Frame
    answer: Prediction | None = None


@dataclass(frozen=True)
class End:
    """A source is read; problem: a sentence where parts of it are lost."""

    job: Job
    problem: str = ""


@dataclass(frozen=True)
class Present:
    """What was made of a source earlier is there."""

    job: Job
    made: Made


@dataclass(frozen=True)
class Failed:
    """A source of which nothing is written, and why. empty: it is whole and holds no picture, as some of a study do."""

    job: Job
    problem: str
    empty: bool = False


@dataclass(frozen=True)
class Adopted:
    """A source that was predicted into another folder, with the rows of its frames."""

    job: Job
    made: Made
    folder: Path
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class Last:
    """Nothing comes any more; error: what ended the reading before its time."""

    error: BaseException | None = None


Event = Read | End | Present | Failed | Last


@dataclass
class Outcome:
    """What became of the sources. empty: those among others that hold no picture. failed: why, of each not written."""

    written: int = 0
    frames: int = 0
    present: int = 0
    problems: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Work:
    """What is to be done: the sources, what their outputs are called, where they go and what is on record there.

    smooth: seconds over which the answers to a video are averaged. among: there are others beside these sources.
    """

    files: list[Input]
    names: dict[str, str]
    extras: frozenset[str]
    out: Path
    staging: Path
    journal: Journal
    table: Table
    smooth: float = SMOOTH_SECONDS
    among: bool = False


class Ledger:
    """Writes what comes of the sources, event by event, and keeps account of it in `outcome`."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._output: Output | None = None
        self._smoothing = Smoothing(0)
        self._told: Job | None = None  # the last one of which a problem was told
        self.outcome = Outcome()

    def take(self, event: Read | End | Present | Failed | Adopted) -> None:
        """The next event. Raises OSError, of a full disk say."""
        job = event.job
        if job is self._told:
            return
        try:
            match event:
                case Read():
                    self._add(event)
                case End():
                    self._finish(event)
                case Present():
                    self._note_present(event)
                case Adopted():
                    self._adopt(event)
                case Failed(empty=True):
                    self.outcome.empty.append(job.file.source)
                case Failed():
                    self._give_up(job, event.problem)
        except SyndiffError as error:
            self._give_up(job, str(error))

    def abandon(self) -> None:
        """Leave nothing of an unfinished source behind."""
        if self._output is not None:
            self._output.abandon()
            self._output = None

    def _add(self, event: Read) -> None:
        work, job = self._work, event.job
        assert job.source is not None and event.answer is not None
        if self._output is None:
            work.table.remove()
            name = work.names[job.file.source]
            self._output = Output(job.source, name, work.extras, work.staging, work.journal)
            self._smoothing = Smoothing(0 if event.frame.seconds is None else work.smooth)
        for each in self._smoothing.add(event.frame, event.answer):
            self._output.add(*each)

    def _finish(self, event: End) -> None:
        job, output = event.job, self._output
        if output is None:
            raise SyndiffError(event.problem or f"{job.file.path} holds no picture; nothing is written for it.")
        for each in self._smoothing.rest():
            output.add(*each)
        output.finish(job.file.source, job.checksum, event.problem)
        self._output = None
        self.outcome.written += 1
        self.outcome.frames += output.frames
        self.outcome.remarks += output.remarks
        if event.problem:
            self.outcome.problems.append(event.problem)

    def _adopt(self, event: Adopted) -> None:
        journal = self._work.journal
        self._work.table.remove()
        journal.begin()
        for row in event.rows:
            journal.row(row)
        journal.keep(event.job.file.source, event.made, event.folder)
        self.outcome.written += 1
        self.outcome.frames += len(event.rows)
        if event.made.problem:
            self.outcome.problems.append(event.made.problem)

    def _note_present(self, event: Present) -> None:
        made, journal = event.made, self._work.journal
        if not made.has_figures:
            self._work.table.remove()
            journal.begin()
            journal.row(figures_of_mask(self._work.out / next(iter(made.files))))
            journal.record(event.job.file.source, made)
        self.outcome.present += 1
        if made.problem:
            self.outcome.problems.append(made.problem)

    def _give_up(self, job: Job, problem: str) -> None:
        self.abandon()
        job.given_up, self._told = True, job
        self.outcome.problems.append(problem)
        self.outcome.failed[job.file.source] = problem
