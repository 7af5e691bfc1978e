"""The view *Try*: a picture from the browser or from the folder, and what the models answer."""

from pathlib import Path
from typing import Annotated, Any

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Body, Header, Query, Request, Response

from syndiff.data.listing import printable
from syndiff.errors import SyndiffError
from syndiff.inference.formats.opening import without_ending
from syndiff.inference.serve.decoding import Decoded, Decoder, renamed
from syndiff.inference.serve.folder import ImageFolder
from syndiff.inference.serve.layers import answer_content
from syndiff.inference.serve.models import Models
from syndiff.inference.serve.pictures import Picture, Pictures
from syndiff.inference.serve.refusal import Refusal
from syndiff.inference.serve.uploads import Uploads, shown_name

MAX_WAITING = 64
"""Predictions that may wait for their turn; one is computed at a time, with all cores."""

_Frame = Annotated[int | None, Query(ge=1, le=100_000)]


class TryView:
    """The routes, and what they share: models, pictures in memory, a decoder, and the turn to predict."""

    def __init__(
        self,
        models: Models,
        folder: ImageFolder | None,
        uploads: Uploads,
        decoder: Decoder,
        *,
        browse: bool = False,
        review: bool = False,
    ) -> None:
        self.models, self.folder, self.uploads, self.decoder = models, folder, uploads, decoder
        self.pictures, self._browse, self._review = Pictures(), browse, review
        self._turn, self._waiting = anyio.CapacityLimiter(1), 0
        self._decoding = anyio.CapacityLimiter(1)  # who waits for the decoder holds no thread

    def router(self) -> APIRouter:
        """The routes below /api."""
        router = APIRouter(prefix="/api")
        router.add_api_route("/models", self.offered, methods=["GET"])
        router.add_api_route("/folder", self.listed, methods=["GET"])
        router.add_api_route("/folder/refresh", self.refreshed, methods=["POST"])
        router.add_api_route("/folder/{file_id}/picture", self.opened, methods=["POST"])
        router.add_api_route("/pictures", self.uploaded, methods=["POST"])
        router.add_api_route("/pictures/{picture_id}.jpg", self.jpeg, methods=["GET"], response_class=Response)
        router.add_api_route("/pictures/{picture_id}/prediction", self.predicted, methods=["POST"])
        return router

    async def offered(self) -> dict[str, Any]:
        """The models, and whether there are a folder of images, something to browse and something to review."""
        models = await run_sync(self.models.described)
        there = {"folder": self.folder is not None, "browse": self._browse, "review": self._review}
        return {"models": models, **there}

    async def listed(
        self, offset: Annotated[int, Query(ge=0)] = 0, text: Annotated[str, Query(max_length=200)] = ""
    ) -> dict[str, object]:
        """A page of the folder's names."""
        return self._own_folder().page(offset, text)

    async def refreshed(self) -> dict[str, object]:
        """The first page of the names that are there now."""
        await run_sync(self._own_folder().refresh)
        return self._own_folder().page(0, "")

    async def opened(self, file_id: str, frame: _Frame = None) -> dict[str, object]:
        """A picture of the folder, decoded and held."""
        file = self._own_folder()[file_id]
        return await self._hold(file.path, printable(Path(file.source).name), frame)

    async def uploaded(
        self, request: Request, frame: _Frame = None, x_name: Annotated[str, Header(max_length=2000)] = ""
    ) -> dict[str, object]:
        """A picture that the browser sends as the body, decoded and held; X-Name is its name, encoded."""
        name = shown_name(x_name)
        async with self.uploads.received(request, name) as path:
            return await self._hold(path, name, frame)

    async def jpeg(self, picture_id: str) -> Response:
        """A held picture for the eye."""
        return Response(await run_sync(self.pictures[picture_id].jpeg), media_type="image/jpeg")

    async def predicted(self, picture_id: str, model: Annotated[int, Body(embed=True)]) -> dict[str, Any]:
        """What a model answers for a held picture."""
        picture = self.pictures[picture_id]
        if self._waiting >= MAX_WAITING:
            raise Refusal(429, f"{MAX_WAITING} predictions are waiting already; try again in a moment.")
        self._waiting += 1
        try:
            return await run_sync(self._predict, model, picture, limiter=self._turn)
        finally:
            self._waiting -= 1

    def _predict(self, model: int, picture: Picture) -> dict[str, Any]:
        answer = self.models.predict(model, picture.image, picture.case_id)
        return {"model": model, "name": picture.name, **answer_content(answer)}

    async def _hold(self, path: Path, name: str, frame: int | None) -> dict[str, object]:
        try:
            decoded: Decoded = await run_sync(self.decoder.read, path, frame, limiter=self._decoding)
        except SyndiffError as error:
            raise renamed(error, path, name) from None
        stem = without_ending(name)
        case_id = f"{stem}/{decoded.name}" if decoded.name else stem
        picture = Picture(decoded.image, name, case_id, decoded.frame, decoded.frames)
        height, width = decoded.image.shape[:2]
        return {
            "id": self.pictures.add(picture),
            "name": name,
            "width": width,
            "height": height,
            "frame": decoded.frame,
            "frames": decoded.frames,
        }

    def _own_folder(self) -> ImageFolder:
        if self.folder is None:
            raise Refusal(404, "No folder was given at start; start again with --images FOLDER.")
        return self.folder
