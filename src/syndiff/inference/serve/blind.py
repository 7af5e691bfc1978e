"""A blind test: real and synthetic lesions in an order drawn by a seed; nothing of it is kept but its answers.

A test is made again from its address and from the answers in the file of reviews: it survives reloads and restarts.
"""

import base64
import hashlib
import json
import random
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

from syndiff.documents import digest, rebuild
from syndiff.errors import SyndiffError
from syndiff.inference.serve.decoding import SHOWN_SIDE
from syndiff.inference.serve.refusal import Refusal
from syndiff.inference.serve.review_folder import ReviewFolder
from syndiff.inference.serve.reviewing import Reviewing
from syndiff.reviews.events import TIME, Event, Subject, check_reviewer

MAX_COUNT = 1000
"""Cases that a test may have."""

_HELD = 16


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
    """One case of a test; `truth` is what nobody is told before the end."""

    folder: ReviewFolder
    id: str
    name: str
    truth: Literal["real", "synthetic"]


@dataclass(frozen=True)
class Drawn:
    """The cases of a test in their order.

    side: pixels of the longer side that all pictures are reduced to: that of the smallest. repeated: frames that are
    seen more than once, as far as is known, since there were too few others.
    """

    cases: Sequence[BlindCase]
    side: int
    repeated: int


class BlindTests:
    """Tests on the folders of `reviewing`. Several threads may use it."""

    def __init__(self, reviewing: Reviewing) -> None:
        self._reviewing, self._lock = reviewing, threading.Lock()
        self._held: OrderedDict[BlindTest, Drawn] = OrderedDict()

    def begin(self, reviewer: str, real: str, synthetic: str, seed: int, count: int) -> BlindTest:
        """A new test of `count` cases, half of them real.

        Raises SyndiffError for an odd count, for folders that are not a dataset and a synthetic dataset, and where they
        have too few cases that the reviewer has not answered yet.
        """
        check_reviewer(reviewer)
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
        said: dict[tuple[str, str], Event] = {}
        for event in self._reviewing.present.counting(test.reviewer):
            if event.kind == "guess" and event.time > test.begun:
                said[event.case, event.truth] = event
        found = []
        for case in self.drawn(test).cases:
            if (case.name, case.truth) not in said:
                break
            found.append(said[case.name, case.truth])
        return found

    def seen(self, test: BlindTest, subject: Subject) -> str:
        """What stands for the content of a case within a test: it tells nothing outside of it."""
        return hashlib.sha256(f"{test.token} {subject.content}".encode()).hexdigest()

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
        before = {
            (event.case, event.truth)
            for event in self._reviewing.present.said(test.reviewer)
            if event.kind == "guess" and event.time <= test.begun
        }
        frames: set[str] = set()
        sizes: list[int] = []
        painted, again = _picked(synthetic, "synthetic", half, chance, before, frames, sizes)
        true, more = _picked(real, "real", half, chance, before, frames, sizes)
        kinds = [True] * half + [False] * half
        chance.shuffle(kinds)
        each = {True: iter(true), False: iter(painted)}
        return Drawn([next(each[kind]) for kind in kinds], min([SHOWN_SIDE, *sizes]), again + more)


def _picked(
    folder: ReviewFolder,
    truth: Literal["real", "synthetic"],
    count: int,
    chance: random.Random,
    before: set[tuple[str, str]],
    frames: set[str],
    sizes: list[int],
) -> tuple[list[BlindCase], int]:
    """So many cases with a lesion, of frames that are not in `frames` as far as there are enough; and how many are.

    The frames and the longer sides of the pictures are added to `frames` and `sizes`.
    """
    names = sorted(name for name in folder.names if (name, truth) not in before)
    chance.shuffle(names)
    fresh: list[str] = []
    repeated: list[str] = []
    for name in names:
        case = folder.collection[folder.names[name]]
        if not case.reason:
            frame = case.facts.get("source frame", name)
            (repeated if frame in frames else fresh).append(name)
            frames.add(frame)
    found: list[BlindCase] = []
    for name in _with_lesion(folder, [*fresh, *repeated], sizes):
        found.append(BlindCase(folder, folder.names[name], name, truth))
        if len(found) == count:
            return found, len({case.name for case in found} & set(repeated))
    raise SyndiffError(
        f"there are {len(found)} {truth} cases with a lesion that you have not answered before; choose "
        f"{2 * len(found)} cases at most, or other folders."
    )


def _with_lesion(folder: ReviewFolder, names: Sequence[str], sizes: list[int]) -> Iterator[str]:
    for name in names:
        found = folder.shown(folder.names[name])
        if not found.empty:
            sizes.append(max(found.width, found.height))
            yield name


def _digest(drawn: Drawn) -> str:
    return digest([[case.folder.key, case.name, case.truth] for case in drawn.cases])
