"""Corrected masks: a PNG from the browser, decoded apart, kept for the very case that the reviewer saw."""

from pathlib import Path
from typing import Annotated, Any

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request

from syndiff.errors import SyndiffError
from syndiff.inference.serve.decoding import renamed
from syndiff.inference.serve.refusal import Refusal
from syndiff.inference.serve.review_folder import ReviewFolder
from syndiff.inference.serve.review_view import Content, Id, Reviewer, ReviewView, check_correctable
from syndiff.inference.serve.reviewing import Reviewing
from syndiff.inference.serve.uploads import Uploads
from syndiff.reviews.events import Subject


class Corrections:
    """The route for corrected masks."""

    def __init__(self, reviewing: Reviewing, view: ReviewView, uploads: Uploads) -> None:
        self._reviewing, self._view, self._uploads = reviewing, view, uploads
        self._turn = anyio.CapacityLimiter(1)  # who waits for the decoder holds no thread

    def router(self) -> APIRouter:
        """The route; `security.UPLOADS` lets its body be large."""
        router = APIRouter(prefix="/api/review")
        router.add_api_route("/{key}/cases/{case_id}/mask", self.corrected, methods=["POST"])
        return router

    async def corrected(
        self,
        key: str,
        case_id: str,
        request: Request,
        reviewer: Reviewer,
        content: Annotated[Content, Query()],
        id: Annotated[Id, Query()],
        base: Annotated[str, Query(pattern="^([0-9a-f]{64})?$")],
    ) -> dict[str, Any]:
        """Keep the body, a grey PNG of 0 and 255 as large as the picture, as the reviewer's mask of a case.

        `content` is what the case showed (`Subject.content`), `base` the reviewer's own corrected mask that this one
        was drawn on, "" for none. `id` names the correction: sent again under the same one it is kept once. The answer
        is that to a decision, and comes when the mask is on the disk. Raises Refusal for a case that shows something
        else now, or was corrected by the same reviewer since (409), a case of several classes (422), a full disk (507),
        and as `Uploads.received` does; SyndiffError for a file that is not such a mask.
        """
        folder = self._reviewing.folder(key)
        async with self._uploads.received(request, "mask.png") as path:
            return await run_sync(
                lambda: self._keep(folder, case_id, path, reviewer, content, id, base), limiter=self._turn
            )

    def _keep(
        self, folder: ReviewFolder, case_id: str, path: Path, reviewer: str, content: str, id: str, base: str
    ) -> dict[str, Any]:
        self._reviewing.check_reviewer(reviewer)
        kept = self._reviewing.present.event(id)
        seen = self._reviewing.shown_subject(folder, case_id, content) if kept is None else None
        if kept is None:
            check_correctable(folder.collection[case_id])
        try:
            mask = self._reviewing.decoder.drawn_mask(path, None if seen is None else seen.shape)
        except SyndiffError as error:
            raise renamed(error, path, "The corrected mask") from None
        if kept is not None:  # and its answer got lost; the case may have changed since
            seen = Subject(kept.dataset, kept.name, kept.case, content, mask.shape)
        assert seen is not None
        if kept is None and (self._reviewing.opinion(seen, reviewer).mask or "") != base:
            raise Refusal(
                409,
                f"You have corrected {seen.case} since, perhaps in another tab, and this mask was not drawn on that "
                "one; it was not saved. Look at the case again, then correct it.",
            )
        if folder.collection.kind == "synthetic" and not mask.any():
            raise Refusal(
                422,
                f"The corrected mask of {seen.case} is empty, but a lesion was painted into this picture; if none "
                "is to be seen, reject the case instead.",
            )
        with self._reviewing.kept():
            event = self._reviewing.store.correct(reviewer, seen, mask, id=id)
        return self._view.answer(folder, seen, event)
