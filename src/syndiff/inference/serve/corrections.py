"""Corrected masks: a PNG from the browser, decoded apart, kept for the very case that the reviewer saw."""

from pathlib import Path
from typing import Annotated

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request

from syndiff.errors import SyndiffError
from syndiff.inference.serve.decoding import renamed
from syndiff.inference.serve.refusal import Refusal
from syndiff.inference.serve.review_folder import ReviewFolder
from syndiff.inference.serve.reviewing import Reviewing
from syndiff.inference.serve.uploads import Uploads
from syndiff.reviews.events import Event

_Hash = Query(pattern="^[0-9a-f]{64}$")
_Id = Query(pattern="^[0-9a-f]{32}$")
_Name = Query(max_length=255)


class Corrections:
    """The route for corrected masks."""

    def __init__(self, reviewing: Reviewing, uploads: Uploads) -> None:
        self._reviewing, self._uploads = reviewing, uploads
        self._turn = anyio.CapacityLimiter(1)  # who waits for the decoder holds no thread

    def router(self) -> APIRouter:
        """The route; `security.UPLOADS` lets its body be large."""
        router = APIRouter(prefix="/api/review")
        router.add_api_route("/{key}/{case_id}/mask", self.corrected, methods=["POST"])
        return router

    async def corrected(
        self,
        key: str,
        case_id: str,
        request: Request,
        reviewer: Annotated[str, _Name],
        content: Annotated[str, _Hash],
        id: Annotated[str, _Id],
    ) -> dict[str, str]:
        """Keep the body, a grey PNG of 0 and 255 as large as the picture, as the reviewer's mask of a case.

        `content` is what the case showed (`Subject.content`). `id` names the correction: sent again under the same one
        it is kept once. Raises Refusal for a case that shows something else now (409), a full disk (507), and as
        `Uploads.received` does, SyndiffError for a file that is not such a mask.
        """
        folder = self._reviewing.folder(key)
        async with self._uploads.received(request, "mask.png") as path:
            event = await run_sync(lambda: self._keep(folder, case_id, path, reviewer, content, id), limiter=self._turn)
        return {"id": event.id, "mask": event.value}

    def _keep(self, folder: ReviewFolder, case_id: str, path: Path, reviewer: str, content: str, id: str) -> Event:
        subject = self._reviewing.shown_subject(folder, case_id, content)
        try:
            mask = self._reviewing.decoder.drawn_mask(path, subject.shape)
        except SyndiffError as error:
            raise renamed(error, path, "The corrected mask") from None
        if folder.collection.kind == "synthetic" and not mask.any():
            raise Refusal(
                422,
                f"The corrected mask of {subject.case} is empty, but a lesion was painted into this picture; if none "
                "is to be seen, reject the case instead.",
            )
        with self._reviewing.kept():
            return self._reviewing.store.correct(reviewer, subject, mask, id=id)
