"""Reading, segmenting and writing at once, each in threads of its own, and what is between them is bounded.

The order and the content of what is written do not depend on the threads: one source follows the other through all
three. The thread of the caller passes frames on, so that Ctrl-C is met there.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from tqdm import tqdm

from syndiff.errors import SyndiffError
from syndiff.files import sha256
from syndiff.inference.channel import Channel, Closed
from syndiff.inference.formats.base import Frame, Incomplete, NoPicture, Source
from syndiff.inference.formats.opening import FORMATS, format_of, missing_library, open_source
from syndiff.inference.inputs import Input, no_file
from syndiff.inference.journal import Journal, Made, foreign
from syndiff.inference.options import SMOOTH_SECONDS
from syndiff.inference.outputs import Output
from syndiff.inference.smoothing import Smoothing
from syndiff.inference.table import Table, figures_of_mask
from syndiff.models.predictor import Prediction

Segment = Callable[[Input, Frame], Prediction]
"""What gives the answer to a frame of a file."""

_NUMBER, _BYTES = 16, 64 * 2**20
"""Things, and bytes of pictures, between two threads."""


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
class Last:
    """Nothing comes any more; error: what ended the reading before its time."""

    error: BaseException | None = None


Event = Read | End | Present | Failed | Last


@dataclass
class Outcome:
    """What became of the sources. empty: those among others that hold no picture."""

    written: int = 0
    frames: int = 0
    present: int = 0
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Work:
    """What is to be done: the sources, what their outputs are called, where they go and what is on record there.

    smooth: seconds over which the answers to a video are averaged.
    """

    files: list[Input]
    names: dict[str, str]
    extras: frozenset[str]
    out: Path
    staging: Path
    journal: Journal
    table: Table
    smooth: float = SMOOTH_SECONDS


def predict_all(work: Work, segment: Segment, *, workers: int, progress: bool) -> Outcome:
    """Predict every source of `work`, each frame by `segment` in one of so many threads, and write what comes of it.

    An error of one source is told in the outcome. Raises what concerns all, such as the OSError of a full disk, and
    KeyboardInterrupt; nothing half-written is left then.
    """
    reading: Channel[Event] = Channel(_NUMBER, _BYTES)
    writing: Channel[Event] = Channel(_NUMBER, _BYTES)
    reader = threading.Thread(target=_read_all, args=(work, reading), name="reading")
    writer = _Writer(work, writing)
    threads = (reader, writer)
    for thread in threads:
        thread.start()
    try:
        _segment_all(reading, writing, segment, workers, len(work.files), progress)
        writer.join()
    except Closed:  # the writer met an error
        pass
    finally:
        reading.close()
        writing.close()
        for thread in threads:
            thread.join()
    if writer.error is not None:
        raise writer.error
    return writer.outcome


def _read_all(work: Work, reading: Channel[Event]) -> None:
    """The thread that reads."""
    try:
        for file in work.files:
            for event in _events(work, Job(file)):
                reading.put(event, event.frame.image.nbytes if isinstance(event, Read) else 0)
        reading.put(Last())
    except Closed:
        pass
    except BaseException as error:
        with contextlib.suppress(Closed):
            reading.put(Last(error))


def _events(work: Work, job: Job) -> Iterator[Event]:
    """What one source gives; its errors are told."""
    path = job.file.path
    try:
        job.checksum = _checksum(path)
        made = work.journal.made(job.file.source)
        if made is not None and _is_there(work, job, made):
            yield Present(job, made)
            return
        job.source = open_source(path)
        for frame in job.source.frames():
            yield Read(job, frame)
            if job.given_up:
                return
        yield End(job)
    except Incomplete as error:
        yield End(job, str(error))
    except NoPicture as error:
        yield Failed(job, str(error), empty=len(work.files) > 1)
    except SyndiffError as error:
        yield Failed(job, str(error))
    except ModuleNotFoundError as error:  # of a decoder
        sentence = missing_library(path, error, format_of(path) or FORMATS[0])
        if not isinstance(sentence, SyndiffError):
            raise
        yield Failed(job, str(sentence))
    except OSError as error:
        yield Failed(job, f"{path} cannot be read ({error.strerror or error}); check its permissions and its disk.")


def _is_there(work: Work, job: Job, made: Made) -> bool:
    """Whether all that is asked for was made from this content and lies there.

    Raises SyndiffError where somebody changed it, and where it is of a file that lies elsewhere.
    """
    states = {output: work.journal.state(output) for output in made.files}
    for output, state in states.items():
        if state == "foreign":
            raise foreign(work.out / output)
    before = Path(made.path)
    if made.sha256 != job.checksum and made.path and before.is_file() and not before.samefile(job.file.path):
        raise SyndiffError(
            f"{job.file.path} would replace what was made from {before}, which has the same name below its folder; "
            "give another --out, or their common folder as --images."
        )
    same = made.sha256 == job.checksum and work.extras <= made.extras
    return same and set(states.values()) == {"ours"}


def _checksum(path: Path) -> str:
    """SHA-256 of a file; a SyndiffError where it cannot be recorded or is no file."""
    try:
        path.name.encode()
    except UnicodeEncodeError:
        raise SyndiffError(f"{path}: the name is no UTF-8 text; rename the file.") from None
    if not path.is_file():
        raise no_file(path)
    return sha256(path)


def _segment_all(
    reading: Channel[Event], writing: Channel[Event], segment: Segment, workers: int, count: int, progress: bool
) -> None:
    """Pass everything on from the reader to the writer in its order, frames with their answers."""
    waiting: deque[tuple[Read | End | Present | Failed, Future[Prediction] | None]] = deque()
    pool = ThreadPoolExecutor(workers, "segmenting")
    try:
        with _Bars(count, progress) as bars:
            while not isinstance(event := reading.get(), Last):
                bars.show(event)
                answer = None
                if isinstance(event, Read) and not event.job.given_up:
                    answer = pool.submit(segment, event.job.file, event.frame)
                waiting.append((event, answer))
                while waiting and (waiting[0][1] is None or waiting[0][1].done() or len(waiting) > 2 * workers):
                    _pass_on(*waiting.popleft(), writing)
            if event.error is not None:
                raise event.error
            for each in waiting:
                _pass_on(*each, writing)
            writing.put(event)
    finally:
        pool.shutdown(cancel_futures=True)


def _pass_on(event: Read | End | Present | Failed, answer: Future[Prediction] | None, writing: Channel[Event]) -> None:
    """Give the writer an event, a frame once it is segmented."""
    if event.job.given_up:
        return
    if not isinstance(event, Read):
        writing.put(event)
        return
    assert answer is not None
    try:
        found = answer.result()
    except SyndiffError as error:
        event.job.given_up = True
        writing.put(Failed(event.job, str(error)))
    else:
        size = event.frame.image.nbytes + found.probabilities.nbytes + found.mask.nbytes
        writing.put(replace(event, answer=found), size)


class _Writer(threading.Thread):
    """The thread that writes. error: what ended it before its time."""

    def __init__(self, work: Work, writing: Channel[Event]) -> None:
        super().__init__(name="writing")
        self._work, self._writing = work, writing
        self._output: Output | None = None
        self._smoothing = Smoothing(0)
        self._told: Job | None = None  # the last one of which a problem was told
        self.outcome = Outcome()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not isinstance(event := self._writing.get(), Last):
                self._take(event)
        except Closed:
            pass
        except BaseException as error:
            self.error = error
        finally:
            if self._output is not None:
                self._output.abandon()
            self._writing.close()

    def _take(self, event: Read | End | Present | Failed) -> None:
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
                case Failed(empty=True):
                    self.outcome.empty.append(job.file.source)
                case Failed():
                    self._give_up(job, event.problem)
        except SyndiffError as error:
            self._give_up(job, str(error))

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
        if self._output is not None:
            self._output.abandon()
            self._output = None
        job.given_up, self._told = True, job
        self.outcome.problems.append(problem)


class _Bars:
    """Progress: a bar of sources, and one of frames while a source has several."""

    def __init__(self, count: int, shown: bool) -> None:
        self._shown = shown
        self._sources = tqdm(desc="predicting", total=count, unit="image", disable=not shown)
        self._frames: tqdm | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self._sources.close()

    def show(self, event: Read | End | Present | Failed) -> None:
        """One event more."""
        if not isinstance(event, Read):
            self._close()
            self._sources.update()
        elif event.job.source is not None and (count := event.job.source.frame_count) != 1:
            if self._frames is None:
                name = event.job.file.path.name
                self._frames = tqdm(desc=name, total=count, unit="frame", leave=False, disable=not self._shown)
            self._frames.update()

    def _close(self) -> None:
        if self._frames is not None:
            self._frames.close()
            self._frames = None
