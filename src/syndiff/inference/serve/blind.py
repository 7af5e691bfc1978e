"""A blind test: real and synthetic lesions in an order drawn by a seed; nothing of it is kept but its answers.

A test is made again from its address and from the answers in the file of reviews: it survives reloads and restarts.
"""

import base64
import hashlib
import json
import random
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

from syndiff.documents import digest, rebuild
from syndiff.errors import SyndiffError
from syndiff.inference.serve.decoding import SHOWN_SIDE, BlindPicture
from syndiff.inference.serve.refusal import Refusal
from syndiff.inference.serve.review_folder import ReviewFolder
from syndiff.inference.serve.reviewing import Reviewing
from syndiff.reviews.events import TIME, Event

MAX_COUNT = 1000
"""Cases that a test may have."""

_HELD, _PICTURES = 16, 32
_TAG = 16  # hexadecimal digits of an event's id that tell its test


@dataclass(frozen=True)
class BlindTest:
    """What a test is made from again.

    real, synthetic: keys of the folders. begun: answers after this time belong to it, and what was answered before is
    not asked again. order: digest of the cases in their order.
    """

    reviewer: str
    real: str
    synthetic: str
    seed: int
    count: int
    begun: str
    order: str = ""

    @property
    def token(self) -> str:
        """The test as a part of an address."""
        return base64.urlsafe_b64encode(json.dumps(asdict(self)).encode()).decode().rstrip("=")

    def event_id(self, id: str) -> str:
        """The id of an event of this test, from the one that the page drew: its beginning tells the test."""
        return self._tag + id[_TAG:]

    def has(self, event: Event) -> bool:
        """Whether an event is of this test: the same person may take another one on the same cases meanwhile."""
        return event.reviewer == self.reviewer and event.id.startswith(self._tag)

    @property
    def _tag(self) -> str:
        return hashlib.sha256(self.token.encode()).hexdigest()[:_TAG]

    @classmethod
    def of(cls, token: str) -> "BlindTest":
        """The test of a token. Raises Refusal (404) for what is none."""
        try:
            content = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
            return rebuild(cls, content, "the test")
        except (ValueError, RecursionError):
            raise Refusal(404, "This is no blind test; begin a new one.") from None


@dataclass(frozen=True)
class BlindCase:
    """One case of a test; `truth` is what nobody is told before the end.

    content: what it showed when the test was drawn (`Subject.content`). size: width and height of its file.
    """

    folder: ReviewFolder
    id: str
    name: str
    truth: Literal["real", "synthetic"]
    content: str
    size: tuple[int, int]


@dataclass(frozen=True)
class Drawn:
    """The cases of a test in their order.

    repeated: frames that are seen more than once, as far as is known. reviewed: cases that the reviewer had reviewed.
    There are such only where there were too few others.
    """

    cases: Sequence[BlindCase]
    repeated: int
    reviewed: int

    @property
    def side(self) -> int:
        """Pixels of the longer side that all pictures are reduced to: that of the smallest."""
        return min(SHOWN_SIDE, *(max(case.size) for case in self.cases))

    @property
    def shapes(self) -> int:
        """How many sizes the pictures have once they are reduced: more than one may tell what is real."""
        return len({tuple(round(each * self.side / max(case.size)) for each in case.size) for case in self.cases})


class BlindTests:
    """Tests on the folders of `reviewing`. Several threads may use it."""

    def __init__(self, reviewing: Reviewing) -> None:
        self._reviewing, self._lock = reviewing, threading.Lock()
        self._held: OrderedDict[BlindTest, Drawn] = OrderedDict()
        self._pictures: OrderedDict[tuple[BlindTest, int], BlindPicture] = OrderedDict()

    def begin(self, reviewer: str, real: str, synthetic: str, seed: int, count: int) -> BlindTest:
        """A new test of `count` cases, half of them real.

        Raises SyndiffError for an odd count, for folders that are not a dataset and a synthetic dataset, and where they
        have too few cases that the reviewer has not answered yet.
        """
        self._reviewing.check_reviewer(reviewer)
        if count % 2 or not 2 <= count <= MAX_COUNT:
            raise SyndiffError(f"the number of cases is {count}; expected an even number from 2 to {MAX_COUNT}.")
        said = self._reviewing.present.said(reviewer)
        begun = max([datetime.now(UTC).strftime(TIME), *(event.time for event in said[-1:])])
        plain = BlindTest(reviewer, real, synthetic, seed, count, begun)
        drawn = self._draw(plain)
        test = BlindTest(reviewer, real, synthetic, seed, count, begun, _digest(drawn))
        self._hold(test, drawn)
        return test

    def drawn(self, test: BlindTest) -> Drawn:
        """The cases of a test. Raises Refusal (409) where the folders are not what they were when it began."""
        with self._lock:
            held = self._held.get(test)
        if held is not None:
            return held
        drawn = self._draw(test)
        if _digest(drawn) != test.order:
            raise Refusal(
                409,
                "The folders have changed since this test began, so it cannot go on; its answers are kept. Begin a new "
                "one.",
            )
        self._hold(test, drawn)
        return drawn

    def answers(self, test: BlindTest) -> list[Event]:
        """The answers that count, in the order of the cases, up to the first case without one."""
        said = {
            (event.case, event.truth): event
            for event in self._reviewing.present.counting(test.reviewer)
            if event.kind == "guess" and test.has(event)
        }
        found = []
        for case in self.drawn(test).cases:
            if (case.name, case.truth) not in said:
                break
            found.append(said[case.name, case.truth])
        return found

    def seen(self, test: BlindTest, content: str) -> str:
        """What stands for the content of a case within a test: it tells nothing outside of it."""
        return hashlib.sha256(f"{test.token} {content}".encode()).hexdigest()

    def picture(self, test: BlindTest, number: int) -> BlindPicture:
        """The picture of a case. Raises Refusal (409) where the case is another one than when the test was drawn."""
        drawn = self.drawn(test)
        case = drawn.cases[number]
        if case.folder.subject(case.id).content != case.content:
            raise Refusal(409, f"{case.name} was changed since the test began.")
        with self._lock:
            held = self._pictures.get((test, number))
        if held is None:
            held = case.folder.blind(case.id, drawn.side)
            with self._lock:
                self._pictures[test, number] = held
                while len(self._pictures) > _PICTURES:
                    self._pictures.popitem(last=False)
        return held

    def _hold(self, test: BlindTest, drawn: Drawn) -> None:
        with self._lock:
            self._held[test] = drawn
            while len(self._held) > _HELD:
                self._held.popitem(last=False)

    def _draw(self, test: BlindTest) -> Drawn:
        real, synthetic = self._reviewing.folder(test.real), self._reviewing.folder(test.synthetic)
        if real.collection.kind != "dataset" or synthetic.collection.kind != "synthetic":
            raise SyndiffError("a blind test mixes a dataset and a synthetic dataset; choose one of each.")
        chance, half = random.Random(f"syndiff {test.seed}"), test.count // 2
        said = [event for event in self._reviewing.present.said(test.reviewer) if event.time <= test.begun]
        frames: set[str] = set()
        painted = self._picked(synthetic, "synthetic", half, chance, said, frames)
        true = self._picked(real, "real", half, chance, said, frames)
        kinds = [True] * half + [False] * half
        chance.shuffle(kinds)
        each = {True: iter(true.cases), False: iter(painted.cases)}
        cases = [next(each[kind]) for kind in kinds]
        return Drawn(cases, true.repeated + painted.repeated, true.reviewed + painted.reviewed)

    def _picked(
        self,
        folder: ReviewFolder,
        truth: Literal["real", "synthetic"],
        count: int,
        chance: random.Random,
        said: Sequence[Event],
        frames: set[str],
    ) -> Drawn:
        """So many cases with a lesion that `said` holds no answer to.

        First those that were not reviewed either, of frames that are not in `frames`; then those of such frames; then
        those that were reviewed. What they show counts, not their names. `frames` grows by the frames of all cases.
        """
        events = {event.case for event in said}
        shown = folder.contents([name for name in folder.names if name in events], self._reviewing.present.seen)
        answered = {event.case for event in said if event.kind == "guess" and shown.get(event.case) == event.content}
        reviewed = {event.case for event in said if event.kind != "guess" and shown.get(event.case) == event.content}
        names = sorted(name for name, id in folder.names.items() if not folder.collection[id].reason)
        names = [name for name in names if name not in answered]
        chance.shuffle(names)
        names.sort(key=lambda name: name in reviewed)
        repeated: set[str] = set()
        for name in names:
            frame = folder.collection[folder.names[name]].facts.get("source frame", name)
            repeated |= {name} if frame in frames else set()
            frames.add(frame)
        names.sort(key=lambda name: (name in reviewed, name in repeated))
        found: list[BlindCase] = []
        for name in names:
            case_id = folder.names[name]
            seen = folder.shown(case_id)
            if not seen.empty:
                found.append(BlindCase(folder, case_id, name, truth, seen.content, (seen.width, seen.height)))
            if len(found) == count:
                drawn = {case.name for case in found}
                return Drawn(found, len(drawn & repeated), len(drawn & reviewed))
        raise SyndiffError(
            f"there are {len(found)} {truth} cases with a lesion that you have not answered before; choose "
            f"{2 * len(found)} cases at most, or other folders."
        )


def _digest(drawn: Drawn) -> str:
    return digest([[case.folder.key, case.name, case.truth, case.content] for case in drawn.cases])
