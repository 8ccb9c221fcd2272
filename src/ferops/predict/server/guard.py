"""What holds for every request: who may ask, the headers of the answer, and that it is counted."""

import hmac
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from fastapi.responses import JSONResponse

Message: TypeAlias = MutableMapping[str, Any]
App: TypeAlias = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]
"""An ASGI application: it takes scope, receive and send."""

_OPEN: Final = ("/", "/health", "/ready", "/page/")
"""Paths that need no token: a page cannot send one before it is there, and a probe has none."""

_HEADERS: Final = [
    (b"content-security-policy", b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
     b"img-src 'self' blob: data:; media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(self)"),
    (b"cache-control", b"no-store"),
]  # fmt: skip


def guarded(app: App, token: str | None, hosts: frozenset[str] | None, count: Callable[[str, int, float], None]) -> App:
    """Return the application behind its checks.

    Args:
        app: the application.
        token: that a request must bear; None where it needs none.
        hosts: names by which the server may be addressed; None for any. Without this a page elsewhere, whose name
            leads to this machine, could read the answers.
        count: called with route, status and seconds of each request.
    """

    async def call(scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[..., Any]) -> None:
        started, status = time.perf_counter(), 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        try:
            await (_refusal(scope, token, hosts) or app)(scope, receive, answer)
        finally:
            route = scope.get("route")
            count(getattr(route, "path", "other"), status, time.perf_counter() - started)

    return call


def _refusal(scope: Message, token: str | None, hosts: frozenset[str] | None) -> App | None:
    headers = dict(scope["headers"])
    if hosts and _host(headers) not in hosts:
        return JSONResponse({"detail": "this server answers on its own machine, under localhost"}, 400)
    path = scope["path"]
    if token and path not in _OPEN and not path.startswith(_OPEN[-1]):
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(given, token.encode()):
            reason = "the token of this server is missing or wrong: send it as `Authorization: Bearer TOKEN`"
            return JSONResponse({"detail": reason}, 401, {"WWW-Authenticate": "Bearer"})
    return None


def _host(headers: dict[bytes, bytes]) -> str | None:
    try:
        return urlsplit(b"//" + headers.get(b"host", b"")).hostname.decode()  # type: ignore[union-attr]
    except (ValueError, AttributeError):
        return None
