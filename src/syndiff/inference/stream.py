"""Reading, segmenting and writing at once, each in threads of its own, and what is between them is bounded.

The order and the content of what is written do not depend on the threads: one source follows the other through all
three. The thread of the caller passes frames on, so that Ctrl-C is met there.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Self

from tqdm import tqdm

from syndiff.errors import SyndiffError
from syndiff.files import sha256
from syndiff.inference.channel import Channel, Closed
from syndiff.inference.formats.base import Frame, Incomplete, NoPicture
from syndiff.inference.formats.opening import FORMATS, format_of, missing_library, open_source
from syndiff.inference.inputs import Input, no_file
from syndiff.inference.journal import Made, foreign
from syndiff.inference.ledger import End, Event, Failed, Job, Last, Ledger, Outcome, Present, Read, Work
from syndiff.models.predictor import Prediction

Segment = Callable[[Input, Frame], Prediction]
"""What gives the answer to a frame of a file."""

_NUMBER, _BYTES = 16, 64 * 2**20
"""Things, and bytes of pictures, between two threads."""


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
    return writer.ledger.outcome


def known(work: Work, file: Input) -> Present | Failed | None:
    """What an earlier call made of a source, or why that is in the way; None where it is to be predicted."""
    job, made = Job(file), work.journal.made(file.source)
    if made is None:
        return None
    try:
        job.checksum = _checksum(file.path)
        return Present(job, made) if _is_there(work, job, made) else None
    except SyndiffError as error:
        return Failed(job, str(error))
    except OSError as error:
        return Failed(job, _unreadable(file.path, error))


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
        yield Failed(job, str(error), empty=work.among or len(work.files) > 1)
    except SyndiffError as error:
        yield Failed(job, str(error))
    except ModuleNotFoundError as error:  # of a decoder
        sentence = missing_library(path, error, format_of(path) or FORMATS[0])
        if not isinstance(sentence, SyndiffError):
            raise
        yield Failed(job, str(sentence))
    except OSError as error:
        yield Failed(job, _unreadable(path, error))


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


def _unreadable(path: Path, error: OSError) -> str:
    return f"{path} cannot be read ({error.strerror or error}); check its permissions and its disk."


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
        self._writing = writing
        self.ledger = Ledger(work)
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not isinstance(event := self._writing.get(), Last):
                self.ledger.take(event)
        except Closed:
            pass
        except BaseException as error:
            self.error = error
        finally:
            self.ledger.abandon()
            self._writing.close()


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
