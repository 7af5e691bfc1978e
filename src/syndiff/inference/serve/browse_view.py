"""The view *Browse*: pages of names, thumbnails made when they are asked for, and a case at large."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Response

from syndiff.errors import SyndiffError
from syndiff.inference.serve.collections import RATING, BrowseCase, Collection, Wanted
from syndiff.inference.serve.decoding import Decoder, renamed
from syndiff.inference.serve.models import distinct_names
from syndiff.inference.serve.refusal import Refusal
from syndiff.reviews.state import CaseReview

KEPT_BYTES = 32 * 2**20
"""Of thumbnails, the newest: a few thousand."""

_Part = Literal["image", "thumbnail", "source"]


class Thumbnails:
    """JPEGs by path, made once; those unused for longest go where all take more than `most` bytes."""

    def __init__(self, decoder: Decoder, most: int = KEPT_BYTES) -> None:
        self._decoder, self._most, self._lock, self._bytes = decoder, most, threading.Lock(), 0
        self._held: OrderedDict[tuple[Path, int, int], bytes] = OrderedDict()

    def __call__(self, path: Path) -> bytes:
        """The thumbnail of a file as it is now. Raises SyndiffError for a file that cannot be read."""
        try:
            now = path.stat()
        except OSError:
            raise SyndiffError(f"{path} does not exist any more.") from None
        key = (path, now.st_mtime_ns, now.st_size)
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        made = self._decoder.thumbnail(path)
        with self._lock:
            self._bytes += len(made) - len(self._held.get(key, b""))
            self._held[key] = made
            while self._bytes > self._most and len(self._held) > 1:
                self._bytes -= len(self._held.popitem(last=False)[1])
        return made


States = Callable[[Collection], Mapping[str, CaseReview]]


class BrowseView:
    """The routes below /api/browse; `decoder` is none that a prediction waits for.

    states: what reviewers say of a folder's cases now, by name; None where nobody reviews.
    """

    def __init__(self, collections: list[Collection], decoder: Decoder, states: States | None = None) -> None:
        self._collections, self._decoder, self._states = collections, decoder, states
        self._names = distinct_names([each.root for each in collections])
        self._thumbnails, self._turn = Thumbnails(decoder), anyio.CapacityLimiter(1)

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(prefix="/api/browse")
        router.add_api_route("", self.collections, methods=["GET"])
        router.add_api_route("/{key}", self.listed, methods=["GET"])
        router.add_api_route("/{key}/refresh", self.refreshed, methods=["POST"])
        router.add_api_route("/{key}/{case_id}", self.opened, methods=["GET"])
        router.add_api_route("/{key}/{case_id}/{part}.jpg", self.picture, methods=["GET"], response_class=Response)
        return router

    async def collections(self) -> list[dict[str, object]]:
        """What there is to browse."""
        return [
            {
                "key": each.key,
                "name": name,
                "kind": each.kind,
                "cases": len(each),
                "scores": [*each.scores, *([RATING] if self._is_reviewed(each) else [])],
                "rejected": each.has_rejected,
                "reviewed": self._is_reviewed(each),
            }
            for name, each in zip(self._names, self._collections, strict=True)
        ]

    async def listed(
        self,
        key: str,
        offset: Annotated[int, Query(ge=0)] = 0,
        text: Annotated[str, Query(max_length=200)] = "",
        sort: Annotated[str, Query(max_length=60)] = "name",
        descending: bool = False,
        low: float | None = None,
        high: float | None = None,
        gates: Literal["all", "accepted", "rejected"] = "all",
        review: Literal["all", "open", "accepted", "corrected", "rejected"] = "all",
        near: Annotated[str, Query(max_length=40)] = "",
    ) -> dict[str, object]:
        """A page of cases, and the place of the case `near` among them."""
        one = self._collection(key)
        wanted = Wanted(text, sort, descending, low, high, gates, review)
        return await run_sync(lambda: one.page(wanted, offset, reviews=self._reviews(one), near=near))

    async def refreshed(self, key: str) -> list[dict[str, object]]:
        """List a folder again."""
        await run_sync(self._collection(key).refresh)
        return await self.collections()

    async def opened(self, key: str, case_id: str) -> dict[str, Any]:
        """A case at large: its size, contours, facts and scores, and whether its source frame can be shown."""
        one, case = self._collection(key), self._collection(key)[case_id]
        return await run_sync(self._open, one, case, limiter=self._turn)

    async def picture(self, key: str, case_id: str, part: _Part) -> Response:
        """The image, its thumbnail, or the frame that it was painted into."""
        case = self._collection(key)[case_id]
        content = await run_sync(self._jpeg, case, part, limiter=self._turn)
        return Response(content, media_type="image/jpeg")

    def _is_reviewed(self, one: Collection) -> bool:
        return self._states is not None and one.kind != "run"

    def _reviews(self, one: Collection) -> Mapping[str, CaseReview] | None:
        return self._states(one) if self._states is not None and one.kind != "run" else None

    def _open(self, one: Collection, case: BrowseCase) -> dict[str, Any]:
        masks = [case.mask] if case.prediction is None else [case.mask, case.prediction]
        try:
            found = self._decoder.case(case.image, masks, case.threshold, case.targets)
        except SyndiffError as error:
            raise _without_paths(error, case) from None
        return {
            "name": case.name,
            "width": found.width,
            "height": found.height,
            "mask": found.contours[0].told,
            "placed": case.placed,
            "prediction": None if case.prediction is None else found.contours[1].told,
            "facts": {**case.facts, **_said(case, self._reviews(one))},
            "scores": case.scores,
            "source": self._fitting_source(one, case, found.width, found.height),
        }

    def _fitting_source(self, one: Collection, case: BrowseCase, width: int, height: int) -> bool:
        """Whether the source frame is there and the very picture that was painted into."""
        if case.source is None:
            return False
        try:
            found = self._decoder.case(case.source.image, (), None)
        except SyndiffError:
            return False
        known = None if one.seen is None else {**one.seen.learned, **one.seen.chosen}
        return (found.width, found.height) == (width, height) and (known is None or found.content in known)

    def _jpeg(self, case: BrowseCase, part: _Part) -> bytes:
        path = case.image
        if part == "source":
            if case.source is None:
                raise Refusal(404, "The source frame of this case is not known; give its dataset with --data.")
            path = case.source.image
        try:
            return self._thumbnails(path) if part == "thumbnail" else self._decoder.jpeg(path)
        except SyndiffError as error:
            raise _without_paths(error, case) from None

    def _collection(self, key: str) -> Collection:
        for each in self._collections:
            if each.key == key:
                return each
        raise Refusal(404, "This folder is not browsed here; reload the page, the server was started anew.")


def _said(case: BrowseCase, reviews: Mapping[str, CaseReview] | None) -> dict[str, str]:
    """What the reviewers say, in words."""
    if reviews is None:
        return {}
    review = reviews.get(case.name)
    if review is None:
        return {"reviewers": "open"}
    told = [
        f"{each.reviewer} {'accepts it' if each.decision == 'accept' else f'rejects it ({each.reason})'}"
        for each in review.opinions
        if each.decision is not None
    ]
    told += [] if review.rating is None else [f"{RATING} {review.rating:.2g} of 5"]
    return {"reviewers": ": ".join([review.state, *([", ".join(told)] if told else [])])}


def _without_paths(error: SyndiffError, case: BrowseCase) -> SyndiffError:
    """The sentence with names in place of paths."""
    paths = [case.image, case.mask, case.prediction, None if case.source is None else case.source.image]
    for path in filter(None, paths):
        error = renamed(error, path, path.name)
    return error
