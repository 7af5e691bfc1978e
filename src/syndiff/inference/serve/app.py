"""The application: the guard, the static page, the routes, and every mistake as a sentence in JSON."""

import contextlib
import os
import threading
from collections.abc import AsyncIterator, Sequence
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from syndiff.errors import SyndiffError
from syndiff.inference.serve.blind_view import BlindView
from syndiff.inference.serve.browse_view import BrowseView
from syndiff.inference.serve.collections import Collection
from syndiff.inference.serve.corrections import Corrections
from syndiff.inference.serve.decoding import Decoder
from syndiff.inference.serve.folder import ImageFolder
from syndiff.inference.serve.models import Models
from syndiff.inference.serve.refusal import Refusal
from syndiff.inference.serve.review_view import ReviewView
from syndiff.inference.serve.reviewing import Reviewing
from syndiff.inference.serve.security import Access, Guard
from syndiff.inference.serve.try_view import TryView
from syndiff.inference.serve.uploads import Uploads, own_folder
from syndiff.reviews.store import Unavailable

_KINDS = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
_VIEWS = {"": "index.html", "browse": "browse.html", "review": "review.html", "blind": "blind.html"}
_FILES = (
    *("app.js", "browse.js", "grid.js", "viewer.js", "common.js", "keys.js", "style.css"),
    *("review.js", "queue.js", "outbox.js", "unsent.js", "agreement.js", "decisions.js", "blind.js", "review.css"),
    *("mask.js", "layer.js", "editor.js", "editing.js", "correct.js", "editor.css"),
)
PAGE = {
    address: (name, f"{_KINDS[name.rpartition('.')[2]]}; charset=utf-8")
    for address, name in {**_VIEWS, **{name: name for name in _FILES}}.items()
}
"""Every file of the page by its address; there are no others."""


def make_app(
    models: Models,
    folder: ImageFolder | None,
    access: Access,
    collections: Sequence[Collection] = (),
    reviewing: Reviewing | None = None,
) -> ASGIApp:
    """The application of `syndiff serve`; uploads and the decoding processes live as long as it runs.

    Without models its first page is the one to browse `collections`. With `reviewing` their cases can be reviewed.
    """
    decoder, other = Decoder(), Decoder()
    temporary = own_folder()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        threading.Thread(target=_prepare, args=(models, decoder), daemon=True).start()
        try:
            yield
        finally:
            decoder.close()
            other.close()
            if reviewing is not None:
                reviewing.close()
            temporary.cleanup()

    roots = [path for each in collections for path in each.roots]
    roots += [*models.folders, *([folder.root] if folder else []), Path(temporary.name)]
    # its own pages about itself would load scripts from elsewhere
    app = FastAPI(title="SynDiff", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    uploads = Uploads(Path(temporary.name))
    view = TryView(models, folder, uploads, decoder, browse=bool(collections), review=reviewing is not None)
    app.include_router(view.router())
    states = None if reviewing is None else reviewing.states
    app.include_router(BrowseView(list(collections), other, states).router())
    if reviewing is not None:
        review = ReviewView(reviewing)
        app.include_router(review.router())
        app.include_router(Corrections(reviewing, review, uploads).router())
        app.include_router(BlindView(reviewing).router())
    _add_page(app, first="" if len(models) else "browse")
    app.add_exception_handler(SyndiffError, _Mistake([*([reviewing.store.path] if reviewing else []), *roots]))
    app.add_exception_handler(RequestValidationError, _wrong_request)
    app.add_exception_handler(HTTPException, _other)
    app.add_exception_handler(Exception, _fault)
    return Guard(app, access)  # outermost, so that no answer lacks its headers


def _prepare(models: Models, decoder: Decoder) -> None:
    """Start and load what the first prediction needs; what goes wrong is told when it is asked for."""
    with contextlib.suppress(SyndiffError):
        if len(models):
            decoder.start()
            models.load(0)


def _add_page(app: FastAPI, first: str) -> None:
    folder = files("syndiff.inference.serve") / "page"
    for address, (name, kind) in {**PAGE, "": PAGE[first]}.items():
        content = (folder / name).read_bytes()

        async def answer(content: bytes = content, kind: str = kind) -> Response:
            return Response(content, media_type=kind)

        app.add_api_route(f"/{address}", answer, methods=["GET"], response_class=Response)


_SENTENCES = {
    404: "There is nothing at this address.",
    408: "The request took too long; try again.",
    413: "The request is too large; reload the page.",
}


def _sentence(status: int, text: str) -> JSONResponse:
    return JSONResponse({"error": text.encode("utf-8", "backslashreplace").decode()}, status)


class _Mistake:
    """A mistake as a sentence, in which files below the folders of `known` paths stand without these folders."""

    def __init__(self, known: Sequence[Path]) -> None:
        every = [path for each in known for path in (each, each.absolute(), each.resolve()) if len(path.parts) > 2]
        self._folders = sorted({f"{path.parent}{os.sep}" for path in every}, key=len, reverse=True)

    async def __call__(self, _: Request, error: Exception) -> JSONResponse:
        status = error.status if isinstance(error, Refusal) else 503 if isinstance(error, Unavailable) else 422
        text = str(error)
        for folder in self._folders:
            text = text.replace(folder, "")
        return _sentence(status, text)


async def _wrong_request(_: Request, error: Exception) -> JSONResponse:
    return _sentence(422, "The request does not have the form that this page sends; reload the page.")


async def _other(_: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return _sentence(status, _SENTENCES.get(status, "This cannot be asked here."))


async def _fault(_: Request, error: Exception) -> JSONResponse:
    return _sentence(500, f"SynDiff has made a mistake ({type(error).__name__}); the other pictures are not concerned.")
