"""`serve`: the application on a socket, until somebody ends it."""

import contextlib
import errno
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from syndiff.errors import SyndiffError, listed
from syndiff.inference.options import EngineName
from syndiff.models.settings import Refine

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp


def serve(
    runs: tuple[Path, ...],
    *,
    images: Path | None = None,
    browse: tuple[Path, ...] = (),
    data: Path | None = None,
    reviews: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8601,
    token: str | None = None,
    engine: EngineName = "auto",
    refine: Refine = "none",
    tell: Callable[[str], None] = print,
) -> None:
    """Serve the page until SIGINT or SIGTERM; `tell` is given the sentence with its address, once it can be opened.

    `runs` are run folders, checkpoints, exports, or folders of `syndiff run`, whose segmenters are all offered;
    `engine` and `refine` are those of `load`. `images` is a folder to choose pictures from. `browse` are datasets,
    synthetic datasets and run folders to look through; `data` is the dataset that their source frames and test cases
    are from. `reviews` is the file that keeps what is said of the cases of these datasets, made where it is not there.
    A `host` beyond this machine has a `token`, made if none is given. Port 0 takes a free one.

    Raises SyndiffError for a folder without a model or without images, a host that is not of this machine, a port that
    is in use, a token that is too short, and a file that is no file of reviews.
    """
    from syndiff.data.dataset import Dataset
    from syndiff.inference.serve.app import make_app
    from syndiff.inference.serve.collections import collections_of
    from syndiff.inference.serve.folder import ImageFolder
    from syndiff.inference.serve.models import Models
    from syndiff.inference.serve.reviewing import Reviewing, check_reviewable
    from syndiff.inference.serve.security import Access
    from syndiff.reviews.store import ReviewStore

    if not (runs or browse):
        raise SyndiffError("There is nothing to serve; give a trained run with --run, or a folder with --browse.")
    if data is not None and not browse:
        raise SyndiffError("--data has no effect without --browse; leave it out.")
    if reviews is not None and not browse:
        raise SyndiffError("--reviews has no effect without --browse; give the folders whose cases are to be reviewed.")
    access = Access.of(host, token)
    models = Models(runs, engine, refine)
    folder = None if images is None else ImageFolder(images)
    dataset = None if data is None else Dataset.open(data)
    collections = [each for root in browse for each in collections_of(root, dataset)]
    with contextlib.ExitStack() as opened:
        listening = opened.enter_context(listening_socket(host, port))
        reviewing = None
        if reviews is not None:
            check_reviewable(collections)
            reviewing = Reviewing(opened.enter_context(ReviewStore(reviews)), collections)
        app = make_app(models, folder, access, collections, reviewing)
        tell(_announcement(listening, host, access.token, len(models), len(collections), reviews))
        server_of(app).run(sockets=[listening])


def server_of(app: "ASGIApp") -> "uvicorn.Server":
    """uvicorn for an application: no traces in the log, and limits that keep one client from keeping out others."""
    import uvicorn

    from syndiff.inference.serve.connections import SECONDS, Connection

    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, date_header=False, ws="none", http=Connection,
        timeout_graceful_shutdown=3, timeout_keep_alive=round(SECONDS), limit_concurrency=256,
    )  # fmt: skip
    return uvicorn.Server(config)


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one. Raises SyndiffError where that is not possible."""
    if not 0 <= port <= 65535:
        raise SyndiffError(f"--port is {port}; expected a number from 0 to 65535.")
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(family, kind, socket.IPPROTO_TCP)  # named so, asyncio sends without a delay of 40 ms
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        why = {
            errno.EADDRINUSE: f"port {port} is in use, perhaps by another syndiff serve; end that, or give --port 0",
            errno.EACCES: f"port {port} needs the rights of an administrator; give a port above 1023",
            errno.EADDRNOTAVAIL: f"{host} is no address of this machine; give one, or 127.0.0.1",
        }.get(error.errno or 0, f"{host}:{port} cannot be used ({error.strerror})")
        raise SyndiffError(f"{why[0].upper()}{why[1:]}.") from None
    return listening


def _announcement(
    listening: socket.socket, host: str, token: str | None, models: int, folders: int, reviews: Path | None
) -> str:
    port = listening.getsockname()[1]
    name = socket.gethostname() if host in ("0.0.0.0", "::") else host
    address = f"http://{f'[{name}]' if ':' in name else name}:{port}/{f'?token={token}' if token else ''}"
    served = [f"{models} model{'s' if models > 1 else ''}"] if models else []
    served += [f"{folders} folder{'s' if folders > 1 else ''} to browse"] if folders else []
    lines = [f"SynDiff serves {listed(served)}. Open {address}", "Ctrl-C ends it."]
    if reviews is not None:
        lines.insert(1, f"Reviews are kept in {reviews}.")
    if token:
        lines.insert(1, "Whoever has this address sees the images. They travel unencrypted: use a network you trust.")
    return "\n".join(lines)
