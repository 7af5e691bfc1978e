"""The blind test of the view *Review*: one case after another, and what came of it only at the end."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Body, Path, Response

from syndiff.errors import SyndiffError
from syndiff.evaluation.statistics import p_words
from syndiff.inference.serve.blind import BlindTest, BlindTests, Drawn
from syndiff.inference.serve.refusal import Refusal
from syndiff.inference.serve.review_view import Content, Id
from syndiff.inference.serve.reviewing import Reviewing
from syndiff.reviews.agreement import chance_of_guessing, hit_rate
from syndiff.reviews.events import Event

_Token = Annotated[str, Path(max_length=2000)]
_SIGNIFICANT = 0.05
_EVEN = 0.25
"""Seconds after which a picture is answered, so that the time does not tell how large its file is."""


@dataclass
class Answer:
    """What the page sends: `id` is its own; `number` counts the cases from 0; `seen` is what the page was given."""

    id: Id
    number: int
    seen: Content
    value: Literal["real", "synthetic"]


class BlindView:
    """The routes below /api/blind."""

    def __init__(self, reviewing: Reviewing) -> None:
        self._reviewing, self._tests, self._turn = reviewing, BlindTests(reviewing), anyio.CapacityLimiter(1)

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(prefix="/api/blind")
        router.add_api_route("", self.begun, methods=["POST"])
        router.add_api_route("/{token}", self.now, methods=["GET"])
        router.add_api_route("/{token}/answers", self.answered, methods=["POST"])
        router.add_api_route("/{token}/undo", self.undone, methods=["POST"])
        router.add_api_route("/{token}/{number}.jpg", self.picture, methods=["GET"], response_class=Response)
        return router

    async def begun(
        self,
        reviewer: Annotated[str, Body(max_length=255)],
        real: Annotated[str, Body(max_length=100)],
        synthetic: Annotated[str, Body(max_length=100)],
        seed: Annotated[int, Body(ge=0, lt=2**53)],
        count: Annotated[int, Body()],
    ) -> dict[str, Any]:
        """Begin a test."""

        def begin() -> dict[str, Any]:
            test = self._tests.begin(reviewer, real, synthetic, seed, count)
            return self._told(test)

        return await run_sync(begin, limiter=self._turn)

    async def now(self, token: _Token) -> dict[str, Any]:
        """Where a test stands: the case to answer, or what came of all answers."""
        return await run_sync(lambda: self._told(BlindTest.of(token)), limiter=self._turn)

    async def answered(self, token: _Token, answer: Answer) -> dict[str, Any]:
        """Keep an answer with its truth, which is not told."""
        return await run_sync(self._answer, BlindTest.of(token), answer, limiter=self._turn)

    async def undone(self, token: _Token, number: Annotated[int, Body()], id: Annotated[Id, Body()]) -> dict[str, Any]:
        """Take back the last answer, that of the case `number`."""
        return await run_sync(self._undo, BlindTest.of(token), number, id, limiter=self._turn)

    async def picture(self, token: _Token, number: int) -> Response:
        """A picture of a test, coded and sized as all the others of it."""

        def made() -> bytes:
            test = BlindTest.of(token)
            if not 0 <= number < len(self._tests.drawn(test).cases):
                raise Refusal(404, "The test has no such case; reload the page.")
            with _nameless():
                return self._tests.picture(test, number).jpeg

        until = anyio.current_time() + _EVEN
        content = await run_sync(made, limiter=self._turn)
        await anyio.sleep_until(until)
        return Response(content, media_type="image/jpeg")

    def _told(self, test: BlindTest) -> dict[str, Any]:
        drawn, answers = self._tests.drawn(test), self._tests.answers(test)
        told = {
            "token": test.token,
            "reviewer": test.reviewer,
            "count": test.count,
            "answered": len(answers),
            "reviewed": drawn.reviewed,
            "cautions": cautions(drawn),
            "case": None,
            "result": None,
        }
        if len(answers) == len(drawn.cases):
            found = result(test.reviewer, answers)
            return {**told, "result": {**found, "meaning": " ".join([found["meaning"], *cautions(drawn)])}}
        with _nameless():
            picture = self._tests.picture(test, len(answers))
        shown = {
            "number": len(answers),
            "width": picture.width,
            "height": picture.height,
            "seen": self._tests.seen(test, drawn.cases[len(answers)].content),
            "mask": picture.contour.told,
        }
        return {**told, "case": shown}

    def _answer(self, test: BlindTest, answer: Answer) -> dict[str, Any]:
        id = test.event_id(answer.id)
        if self._reviewing.present.event(id) is not None:  # it was kept, and its answer got lost
            return self._told(test)
        drawn, number = self._tests.drawn(test), len(self._tests.answers(test))
        if number != answer.number or number == len(drawn.cases):
            raise Refusal(409, "This case has been answered already, perhaps in another tab; go on with the next one.")
        case = drawn.cases[number]
        with _nameless():
            subject = case.folder.subject(case.id)
        if self._tests.seen(test, subject.content) != answer.seen:
            raise Refusal(409, "This case was changed while you looked at it; look at it again, then answer.")
        self._reviewing.add(test.reviewer, subject, "guess", answer.value, case.truth, id=id)
        return self._told(test)

    def _undo(self, test: BlindTest, number: int, id: str) -> dict[str, Any]:
        if self._reviewing.present.event(id) is None:
            answers = self._tests.answers(test)
            if len(answers) == test.count:
                raise Refusal(409, "The test is at its end, and its truth is told: no answer can be taken back.")
            if number != len(answers) - 1:
                raise Refusal(409, "There is nothing to take back, or another tab has gone on; reload the page.")
            self._reviewing.undo(test.reviewer, answers[-1], id=id)
        return self._told(test)


@contextlib.contextmanager
def _nameless() -> Iterator[None]:
    """A mistake about a case's files without the names, which would tell what it is."""
    try:
        yield
    except SyndiffError as error:
        if isinstance(error, Refusal) and error.status == 503:
            raise Refusal(
                503, "The folder of this case cannot be read at the moment; connect it again, then try again."
            ) from None
        raise Refusal(
            409, "This case cannot be read any more. The answers so far are kept; begin a new test."
        ) from None


def cautions(drawn: Drawn) -> list[str]:
    """What may tell the truth of cases within a test, or did so before it; a sentence each."""
    told = []
    if (count := drawn.repeated) > 0:
        told.append(f"{count} frame{'s are' if count > 1 else ' is'} seen more than once; that may tell what is true.")
    if (count := drawn.reviewed) > 0:
        told.append(f"{count} of these cases you had reviewed before the test; you may know what they are.")
    if (count := drawn.shapes) > 1:
        told.append(f"The pictures have {count} different sizes; that may tell what is true.")
    return told


def result(reviewer: str, answers: list[Event]) -> dict[str, Any]:
    """What came of a whole test whose cases are half real and half synthetic: numbers, and what they mean."""
    right = sum(event.value == event.truth for event in answers)
    found, p = hit_rate(reviewer, right, len(answers)), chance_of_guessing(right, len(answers))
    called = {
        truth: {value: sum((e.truth, e.value) == (truth, value) for e in answers) for value in ("real", "synthetic")}
        for truth in ("real", "synthetic")
    }
    if p >= _SIGNIFICANT:
        meaning = (
            f"Guessing alone would explain this ({p_words(p)}, two-sided binomial test against one half): it was not "
            "shown that you can tell synthetic lesions from real ones."
        )
    else:
        way = "" if right * 2 > len(answers) else ", but called them the wrong way round"
        meaning = (
            f"Guessing alone would hardly explain this ({p_words(p)}, two-sided binomial "
            f"test against one half): you told synthetic lesions from real ones{way}."
        )
    return {
        "right": right,
        "answers": len(answers),
        "share": found.share,
        "low": found.low,
        "high": found.high,
        "p": p,
        "called": called,
        "meaning": meaning,
    }
