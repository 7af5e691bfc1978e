"""Who may ask the server what: host names, the token, the origin of writing requests, and the headers of answers."""

import hmac
import ipaddress
import json
import re
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from syndiff.errors import SyndiffError
from syndiff.inference.serve.refusal import Refusal

COOKIE = "syndiff_token"
OWN_HEADER, OWN_VALUE = "x-requested-with", "syndiff"
"""On every writing request of the page; no form and no link of another site can send it."""

MIN_TOKEN = 16
MAX_BODY = 2**16
"""Bytes that a request may send that is no upload; uploads have their own limit."""

SECONDS = 30.0
"""Within this time the body of such a request is to be there."""

UPLOADS = re.compile(r"/api/pictures|/api/review/[0-9a-f]+/cases/[0-9a-f]+/mask")
"""Addresses to which a file may be posted; `Uploads.received` limits it."""

_SAFE = frozenset({"GET", "HEAD"})
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Access:
    """Who may ask.

    hosts: names that the Host header may give, in lower case, without port; numeric addresses pass if `any_address`.
    token: what every request must show; None asks for none.
    """

    hosts: frozenset[str] = _LOCAL
    any_address: bool = False
    token: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, host: str, token: str | None) -> "Access":
        """Access to a server that listens on `host`; beyond this machine it has a token, made if none is given.

        Raises SyndiffError for a token that is short or could not stand in an address.
        """
        if token is not None and not re.fullmatch(rf"[A-Za-z0-9_-]{{{MIN_TOKEN},200}}", token):
            raise SyndiffError(
                f"--token has {len(token)} characters, or others than letters, digits, - and _; expected {MIN_TOKEN} "
                "to 200 of these. Leave it out and one is made."
            )
        if is_local(host):
            return cls(_LOCAL | {host.lower()}, token=token)
        names = {host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}
        return cls(_LOCAL | names, any_address=True, token=token or secrets.token_urlsafe(24))

    def allows_host(self, header: str | None) -> bool:
        """Whether a Host header names this server: another name that leads here is that of a foreign page."""
        name = _host_name(header or "")
        if name in self.hosts:
            return True
        try:
            return self.any_address and bool(ipaddress.ip_address(name))
        except ValueError:
            return False

    def allows_token(self, shown: str | None) -> bool:
        """Whether the token is right; compared in a time that does not depend on it."""
        return self.token is None or hmac.compare_digest((shown or "").encode(), self.token.encode())


def is_local(host: str) -> bool:
    """Whether a host name or address is of this machine alone. Raises SyndiffError for one that is not known."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise SyndiffError(f"--host {host} is not known here; give an address of this machine, or 127.0.0.1.") from None
    return all(ipaddress.ip_address(str(each[4][0]).partition("%")[0]).is_loopback for each in found)


class Guard:
    """ASGI middleware in front of everything: refuses what `Access` does not allow, and adds the headers."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no web sockets
            await send({"type": "websocket.close", "code": 1008})
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        headers = Headers(scope=scope)
        try:
            self._check_host(headers)
            if token := self._token_in_address(scope):
                await _enter(token, with_headers)
                return
            self._check_token(headers)
            self._check_origin(scope["method"], headers)
            uploads = scope["method"] == "POST" and UPLOADS.fullmatch(scope["path"])
            limited = receive if uploads else _limited(receive, headers)
        except Refusal as refusal:
            closing = [(b"connection", b"close")]  # who may not ask holds no connection
            await _answer(with_headers, refusal.status, {"error": str(refusal)}, closing)
            return
        await self.app(scope, limited, with_headers)

    def _check_host(self, headers: Headers) -> None:
        if len(headers.getlist("host")) != 1 or not self.access.allows_host(headers["host"]):
            raise Refusal(403, "This server is not called so; open the address that syndiff serve printed.")

    def _token_in_address(self, scope: Scope) -> str | None:
        """The right token of the address that was printed, /?token=..."""
        if self.access.token is None or scope["method"] != "GET" or scope["path"] != "/":
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        return self.access.token if self.access.allows_token(given) else None

    def _check_token(self, headers: Headers) -> None:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        shown = bearer.strip() if scheme.lower() == "bearer" else _cookie(headers.get("cookie", ""))
        if not self.access.allows_token(shown):
            raise Refusal(401, "The token is missing or wrong; open the whole address that syndiff serve printed.")

    def _check_origin(self, method: str, headers: Headers) -> None:
        """A request comes from the page itself, or from a person who opens it.

        A writing one shows it by three signs, of which a foreign page can forge none.
        """
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if method in _SAFE:
            if site in ("cross-site", "same-site") and headers.get("sec-fetch-mode") != "navigate":
                raise Refusal(403, "This request comes from another page; open this one by itself.")
            return
        foreign = origin is not None and urlsplit(origin).netloc.lower() != headers["host"].lower()
        if foreign or site not in (None, "same-origin") or headers.get(OWN_HEADER) != OWN_VALUE:
            raise Refusal(403, "This request comes from another page; reload this one and try again.")


def _limited(receive: Receive, headers: Headers) -> Receive:
    """The body of a request, up to `MAX_BODY` bytes, within `SECONDS`. Raises Refusal (413) for a longer one."""
    told, size, whole, until = headers.get("content-length", ""), 0, False, anyio.current_time() + SECONDS
    if told.isdigit() and int(told) > MAX_BODY:
        raise Refusal(413, f"The request is larger than {MAX_BODY // 1024} KB; reload the page.")

    async def counted() -> Message:
        nonlocal size, whole
        if whole:  # what comes now is that the client has gone
            return await receive()
        try:
            with anyio.fail_after(until - anyio.current_time()):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408) from None
        whole = not message.get("more_body", False)
        size += len(message.get("body", b""))
        if size > MAX_BODY:
            raise HTTPException(413)  # FastAPI passes on no other exception of a body
        return message

    return counted


def _host_name(header: str) -> str:
    """The name in a Host header, without port and brackets."""
    found = re.fullmatch(r"\[([0-9a-fA-F:.]+)\](?::\d+)?|([^:\[\]/@\s]+)(?::\d+)?", header)
    return (found[1] or found[2]).lower() if found else ""


def _cookie(header: str) -> str | None:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return None
    return found.value if found else None


async def _enter(token: str, send: Send) -> None:
    """Keep the token in a cookie that no script reads, and lead to the address without it."""
    cookie = f"{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/"
    await _answer(send, 303, {}, [(b"location", b"/"), (b"set-cookie", cookie.encode())])


async def _answer(send: Send, status: int, content: Any, more: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """A whole answer in JSON."""
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
