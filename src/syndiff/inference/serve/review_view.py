"""The view *Review*: which cases wait, one of them at large, a decision, what was decided, and how far people agree."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Body, Query, Response
from pydantic import StringConstraints

from syndiff.inference.serve.collections import BrowseCase
from syndiff.inference.serve.models import distinct_names
from syndiff.inference.serve.refusal import Refusal
from syndiff.inference.serve.review_folder import ReviewFolder
from syndiff.inference.serve.reviewing import Reviewing
from syndiff.reviews.agreement import agreement
from syndiff.reviews.events import REASONS, Event, Subject
from syndiff.reviews.state import CaseReview, Opinion, count_states

Reviewer = Annotated[str, Query(max_length=255)]
Id = Annotated[str, StringConstraints(pattern="^[0-9a-f]{32}$")]
Content = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
_State = Literal["all", "mine", "open", "accepted", "corrected", "rejected", "gates_accepted", "gates_rejected"]
_DECISIONS = ("accept", "reject", "rate", "correct")
_T = TypeVar("_T")


@dataclass
class Decision:
    """What the page sends: `id` is its own, so that sending it again writes nothing; `content` is what it showed."""

    id: Id
    reviewer: str
    content: Content
    kind: Literal["accept", "reject", "rate"]
    value: Annotated[str, StringConstraints(max_length=20)] = ""


class ReviewView:
    """The routes below /api/review."""

    def __init__(self, reviewing: Reviewing) -> None:
        self._reviewing, self._folders = reviewing, list(reviewing.folders.values())
        self._names = distinct_names([folder.collection.root for folder in self._folders])
        self._turn = anyio.CapacityLimiter(1)  # who waits for the decoder holds no thread

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(prefix="/api/review")
        router.add_api_route("", self.folders, methods=["GET"])
        router.add_api_route("/{key}", self.queue, methods=["GET"])
        router.add_api_route("/{key}/refresh", self.refreshed, methods=["POST"])
        router.add_api_route("/{key}/progress", self.progress, methods=["GET"])
        router.add_api_route("/{key}/agreement", self.agreement, methods=["GET"])
        router.add_api_route("/{key}/undo", self.undone, methods=["POST"])
        router.add_api_route("/{key}/cases/{case_id}", self.opened, methods=["GET"])
        router.add_api_route(
            "/{key}/cases/{case_id}/picture.jpg", self.picture, methods=["GET"], response_class=Response
        )
        router.add_api_route("/{key}/cases/{case_id}/mask.png", self.mask, methods=["GET"], response_class=Response)
        router.add_api_route("/{key}/cases/{case_id}/events", self.decided, methods=["POST"])
        return router

    async def folders(self) -> dict[str, object]:
        """What there is to review, and the reasons to reject a case."""
        found = [
            {
                "key": folder.key,
                "name": name,
                "kind": folder.collection.kind,
                "cases": len(folder.collection),
                "accepted": sum(not case.reason for case in folder.collection.cases.values()),
            }
            for name, folder in zip(self._names, self._folders, strict=True)
        ]
        store = self._reviewing.store
        return {"folders": found, "reasons": REASONS, "file": store.path.name, "file_id": store.identity}

    async def refreshed(self, key: str) -> dict[str, object]:
        """List a folder again."""
        await run_sync(self._reviewing.folder(key).collection.refresh)
        return await self.folders()

    async def queue(self, key: str, reviewer: Reviewer, state: _State = "all") -> dict[str, object]:
        """The ids of cases, first those that the reviewer has not decided on, and how many these are.

        Of these the ones that training can use come first, then those that the gates rejected.

        state: what all reviewers together say, or what the gates said; "mine" are those that the reviewer has decided
        on.
        """
        folder = self._reviewing.folder(key)

        def listed() -> dict[str, object]:
            self._reviewing.check_reviewer(reviewer)
            reviews = self._reviewing.reviews(folder)
            found = []
            for name, case_id in folder.names.items():
                rejected, review = bool(folder.collection[case_id].reason), reviews.get(name)
                decided = review is not None and _own(review, reviewer).decision is not None
                states = {"all", "gates_rejected" if rejected else "gates_accepted"}
                states |= {"open" if review is None else review.state} | ({"mine"} if decided else set())
                if state in states:
                    found.append((decided, rejected, case_id))
            found.sort(key=lambda each: each[:2])  # stable: otherwise in the order of the folder
            return {"ids": [each[2] for each in found], "undecided": sum(not each[0] for each in found)}

        return await run_sync(listed)

    async def opened(self, key: str, case_id: str, reviewer: Reviewer) -> dict[str, Any]:
        """A case at large; with the reviewer's own corrected mask, if there is one."""
        folder = self._reviewing.folder(key)
        return await self._decoding(lambda: self._open(folder, case_id, reviewer))

    async def picture(self, key: str, case_id: str) -> Response:
        """The picture."""
        folder = self._reviewing.folder(key)
        return Response(await self._decoding(lambda: folder.picture(case_id)), media_type="image/jpeg")

    async def mask(self, key: str, case_id: str, reviewer: Reviewer) -> Response:
        """The mask as a grey PNG of 0 and 255, the reviewer's own corrected one if there is one.

        Raises Refusal (422) for a mask of several classes.
        """
        folder = self._reviewing.folder(key)

        def found() -> bytes:
            self._reviewing.check_reviewer(reviewer)
            check_correctable(folder.collection[case_id])
            mine = self._reviewing.corrected(folder.subject(case_id), reviewer)
            return folder.mask(case_id) if mine is None else mine.read_bytes()

        return Response(await self._decoding(found), media_type="image/png")

    async def decided(self, key: str, case_id: str, decision: Decision) -> dict[str, Any]:
        """Keep a decision; the answer comes when it is on the disk."""
        folder = self._reviewing.folder(key)
        return await run_sync(self._decide, folder, case_id, decision)

    async def undone(
        self, key: str, reviewer: Annotated[str, Body()], event: Annotated[Id, Body()], id: Annotated[Id, Body()]
    ) -> dict[str, Any]:
        """Take back the reviewer's last decision, which the page names."""
        folder = self._reviewing.folder(key)
        return await run_sync(self._undo, folder, reviewer, event, id)

    async def progress(self, key: str, reviewer: Reviewer) -> dict[str, Any]:
        """How far the reviewer is, what all say, and the decision that an undo would take back."""
        folder = self._reviewing.folder(key)
        return await run_sync(self._progress, folder, reviewer)

    async def agreement(self, key: str) -> dict[str, Any]:
        """Who decided on how many cases, and the reviewers' kappa with its interval."""
        folder = self._reviewing.folder(key)
        return await run_sync(lambda: _agreed(list(self._reviewing.reviews(folder).values())))

    async def _decoding(self, work: Callable[[], _T]) -> _T:
        return await run_sync(work, limiter=self._turn)

    def _open(self, folder: ReviewFolder, case_id: str, reviewer: str) -> dict[str, Any]:
        self._reviewing.check_reviewer(reviewer)
        case = folder.collection[case_id]
        found = folder.shown(case_id)
        subject = Subject("", "", case.name, found.content, (found.height, found.width))
        mine = self._reviewing.opinion(subject, reviewer)
        if mine.mask is not None:
            found = folder.shown(case_id, self._reviewing.corrected(subject, reviewer))
        return {
            "id": case_id,
            "name": case.name,
            "width": found.width,
            "height": found.height,
            "content": found.content,
            "mask": found.contour.told,
            "placed": case.placed,
            "correctable": not case.targets.several,
            "empty": found.empty,
            "facts": case.facts,
            "reason": case.reason,
            "base": mine.mask or "",
            "mine": opinion_told(mine),
        }

    def _decide(self, folder: ReviewFolder, case_id: str, decision: Decision) -> dict[str, Any]:
        self._reviewing.check_reviewer(decision.reviewer)
        kept = self._reviewing.present.event(decision.id)
        if kept is None:
            subject = self._reviewing.shown_subject(folder, case_id, decision.content)
        else:  # it was kept, and its answer got lost; the case may have changed since
            subject = Subject(kept.dataset, kept.name, kept.case, decision.content, (0, 0))
        event = self._reviewing.add(decision.reviewer, subject, decision.kind, decision.value, id=decision.id)
        return self.answer(folder, subject, event)

    def answer(self, folder: ReviewFolder, subject: Subject, event: Event) -> dict[str, Any]:
        """What the page is told once an event is kept: what the reviewer says of the case now, and the progress."""
        return {
            "event": event.id,
            "mine": opinion_told(self._reviewing.opinion(subject, event.reviewer)),
            **self._progress(folder, event.reviewer),
        }

    def _undo(self, folder: ReviewFolder, reviewer: str, event: str, id: str) -> dict[str, Any]:
        self._reviewing.check_reviewer(reviewer)
        if self._reviewing.present.event(id) is None:  # else it was done, and its answer got lost
            last = self._reviewing.last(folder, reviewer, _DECISIONS)
            if last is None or last.id != event:
                raise Refusal(409, "You have decided something else since, perhaps in another tab; undo that first.")
            self._reviewing.undo(reviewer, last, id=id)
        return self._progress(folder, reviewer)

    def _progress(self, folder: ReviewFolder, reviewer: str) -> dict[str, Any]:
        self._reviewing.check_reviewer(reviewer)
        reviews = self._reviewing.reviews(folder)
        states = count_states(reviews)
        states["open"] += len(folder.names) - len(reviews)
        last = self._reviewing.last(folder, reviewer, _DECISIONS)
        return {
            "decided": sum(_own(review, reviewer).decision is not None for review in reviews.values()),
            "cases": len(folder.names),
            "states": states,
            "last": None
            if last is None
            else {
                "event": last.id,
                "id": folder.names[last.case],
                "name": last.case,
                "kind": last.kind,
                "value": "" if last.kind == "correct" else last.value,
            },
        }


def check_correctable(case: BrowseCase) -> None:
    """Raise Refusal (422) for a case of several classes: a mask that is drawn does not say which class it is of."""
    if case.targets.several:
        raise Refusal(
            422,
            f"The mask of {case.name} holds {case.targets}, and only masks of one class are corrected here; reject the "
            "case as mask, or mend its file.",
        )


def opinion_told(opinion: Opinion) -> dict[str, object]:
    """What the page is told of a reviewer's own opinion: nothing of a blind test."""
    return {
        "decision": opinion.decision,
        "reason": opinion.reason,
        "rating": opinion.rating,
        "corrected": opinion.mask is not None,
    }


def _own(review: CaseReview, reviewer: str) -> Opinion:
    return next((each for each in review.opinions if each.reviewer == reviewer), Opinion(reviewer))


def _agreed(reviews: list[CaseReview]) -> dict[str, Any]:
    decided = Counter(each.reviewer for case in reviews for each in case.opinions if each.decision)
    found = agreement(reviews)
    told = None
    if found is not None:
        told = {
            "method": found.method,
            "kappa": found.kappa.mean,
            "low": found.kappa.low,
            "high": found.kappa.high,
            "cases": found.kappa.cases,
            "why": found.why,
            "note": found.kappa.note,
        }
    return {"decided": dict(sorted(decided.items())), "agreement": told}
