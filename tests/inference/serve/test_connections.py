"""Slow and silent clients: they are cut off, and the others are answered meanwhile."""

import contextlib
import socket
import threading
import urllib.request
from collections.abc import Iterator

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from syndiff.inference.serve import connections, security, uploads
from syndiff.inference.serve.app import make_app
from syndiff.inference.serve.models import Models
from syndiff.inference.serve.security import Access
from syndiff.inference.serve.server import listening_socket, server_of

HALF = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
POST = (
    b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Requested-With: syndiff\r\nX-Name: a.png\r\n"
    b"Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
)


@contextlib.contextmanager
def running(app: ASGIApp) -> Iterator[int]:
    """The port of a server in a thread."""
    with listening_socket("127.0.0.1", 0) as listening:
        server = server_of(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] in ("http", "lifespan")
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


def read(connection: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(4096):
            found += part
    return found


@pytest.mark.parametrize("sent", [b"", HALF, HALF + b"\r\n" + HALF], ids=["nothing", "a half", "one and a half"])
def test_a_connection_without_a_whole_request_is_closed(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(connections, "SECONDS", 0.2)
    with running(plain) as port, socket.create_connection(("127.0.0.1", port), timeout=10) as one:
        one.sendall(sent)
        assert read(one).endswith(b"ok") == (sent.count(b"GET") == 2)


def test_half_requests_keep_nobody_out() -> None:
    """More of them than uvicorn takes at all."""
    with running(plain) as port, contextlib.ExitStack() as opened:
        for _ in range(300):
            one = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            one.sendall(HALF)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            assert answer.read() == b"ok"


def test_bodies_that_stand_still_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "SECONDS", 0.2)
    monkeypatch.setattr(uploads, "STALLED", 0.2)
    with running(make_app(Models(()), None, Access())) as port:
        for address, said in ((b"/api/pictures/x/prediction", b"took too long"), (b"/api/pictures", b"stood still")):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as one:
                one.sendall(POST % address)
                found = one.recv(4096)
                while b"}" not in found:
                    found += one.recv(4096)
                assert found.startswith(b"HTTP/1.1 408") and said in found, found


def test_who_has_no_token_holds_no_connection() -> None:
    access = Access.of("127.0.0.1", "a-token-of-24-characters")
    with (
        running(make_app(Models(()), None, access)) as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as one,
    ):
        one.sendall(HALF + b"\r\n")
        assert read(one).startswith(b"HTTP/1.1 401")
