"""Checks of every request before its route (host, token, rate, load), and headers of every answer.

Clients with the token have a rate of their own, which strangers cannot use up.

Plain ASGI, so that the body of a refused request is never read.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
import traceback
from collections import Counter

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from featx.errors import hide_secrets
from featx.serve._limits import TokenBuckets, network_of
from featx.serve._metrics import Metrics
from featx.serve._options import ServeOptions, is_loopback
from featx.serve._refusal import RefusalError

__all__ = ["CLOSE", "RETRY", "Guard", "response_to"]

logger = logging.getLogger(__name__)

MAX_IN_FLIGHT = 128
MAX_OF_ONE_CLIENT = 64
CLIENT_GONE = 499  # as nginx counts it
SMALL_COST = 0.1  # of a thumbnail, or a file of the page
# The page itself, which comes before the token: it reads that from its own address.
OPEN_PATHS = ("/", "/docs", "/map", "/openapi.json")
OPEN_FOLDER = "/static/"
PICTURES = ("/thumbnails/", "/api/map/sheets/")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors "
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",  # unless the route says more
}
RETRY = {"Retry-After": "1"}
CLOSE = {"Connection": "close"}
CHANGES = ("DELETE", "PATCH", "PUT")  # methods, and with POST one path
ADD_PATH = "/api/add"


class Guard:
    """ASGI middleware around the routes.

    Parameters
    ----------
    app : ASGI application
        The routes.
    options : ServeOptions
        Token and host.
    buckets : TokenBuckets
        What each client may still ask.
    metrics : Metrics
        Counts every request.
    """

    def __init__(
        self, app: ASGIApp, *, options: ServeOptions, buckets: TokenBuckets, metrics: Metrics
    ) -> None:
        self._app, self._options = app, options
        self._buckets, self._metrics = buckets, metrics
        self._strangers = TokenBuckets(options.rate)
        self._token = _encode_token(options.token)
        self._write_token = _encode_token(options.write_token)
        self._headers = _fixed_headers(options)
        self._cross_origin = CORSMiddleware(
            self._admit,
            allow_origins=options.cors_origins,
            allow_methods=["GET", "POST", *CHANGES],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Retry-After"],
            max_age=600,
        )
        self._in_flight: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or a lifespan event."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status, client = time.monotonic(), 0, _client(scope)
        is_friend = self._comes_from_friend(scope)

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status, headers = message["status"], message.get("headers", [])
                given = {name for name, _ in headers}
                place = b"cross-origin" if is_friend else b"same-origin"
                fixed = [*self._headers, (b"cross-origin-resource-policy", place)]
                message["headers"] = [*headers, *(h for h in fixed if h[0] not in given)]
            await send(message)

        async def refuse(err: RefusalError) -> None:
            await response_to(err)(scope, receive, send_guarded)

        self._in_flight[client] += 1
        try:
            self._check_host(Headers(scope=scope).get("host", ""))
            app = self._cross_origin if is_friend else self._admit
            await app(scope, receive, send_guarded)
        except RefusalError as err:
            await refuse(err)
        except ClientDisconnect:  # while it sent its body
            status = CLIENT_GONE
        except asyncio.CancelledError:  # the server stops, and the request took too long
            if status == 0:
                await refuse(RefusalError(503, "the server is being stopped"))
        except Exception:  # noqa: BLE001 - whatever it is, the client gets an answer
            fault = hide_secrets(traceback.format_exc())
            logger.error("fault while answering %s %s\n%s", scope["method"], _route(scope), fault)  # noqa: TRY400
            if status == 0:
                await refuse(RefusalError(500, "a fault in featx; its log has it"))
        finally:
            self._in_flight[client] -= 1
            if not self._in_flight[client]:
                del self._in_flight[client]
            self._metrics.count(_route(scope), status, time.monotonic() - start)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that may be made; a page of another site can read a refusal, too."""
        try:
            self._check(scope, _client(scope))
            await self._app(scope, receive, send)
        except RefusalError as err:
            await response_to(err)(scope, receive, send)

    def _comes_from_friend(self, scope: Scope) -> bool:
        """Tell whether a page of an allowed origin asks: an image says so in its referrer."""
        headers = Headers(scope=scope)
        asked = headers.get("origin") or "/".join(headers.get("referer", "").split("/")[:3])
        return asked in self._options.cors_origins

    def _check(self, scope: Scope, client: str) -> None:
        headers = dict(scope["headers"])
        if b"transfer-encoding" in headers and b"content-length" in headers:
            # a proxy may have gone by the other of the two lengths: RFC 9112, section 6.3
            raise RefusalError(
                400, "got content-length and transfer-encoding, expected one of them", CLOSE
            )
        path = scope["path"]
        if path == "/health":
            return
        if self._in_flight[client] > MAX_OF_ONE_CLIENT or self._in_flight.total() > MAX_IN_FLIGHT:
            raise RefusalError(503, "too many requests at the same time; try again", RETRY)
        if path in OPEN_PATHS or path.startswith(OPEN_FOLDER):
            self._strangers.take(client, SMALL_COST)
            return
        changes = scope["method"] in CHANGES or path == ADD_PATH
        self._check_token(headers.get(b"authorization", b""), client, changes=changes)
        self._buckets.take(client, SMALL_COST if path.startswith(PICTURES) else 1.0)

    def _check_host(self, host: str) -> None:
        """Refuse other hosts' names.

        A page of another site can point its own name at 127.0.0.1, and the browser would then let
        it read the answers. Where a token is needed, that page does not know it.
        """
        if not is_loopback(self._options.host):
            return
        name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
        if not is_loopback(name.lower()):
            raise RefusalError(
                421, f"host {host[:100]!r}: is not this server, expected localhost or 127.0.0.1"
            )

    def _check_token(self, given: bytes, client: str, *, changes: bool) -> None:
        """Refuse a request without the token; that for changes opens everything."""
        # each compared, whatever the other is: the time tells nothing
        writes = _is_same(given, self._write_token)
        reads = _is_same(given, self._token)
        if writes or (reads and not (changes and self._write_token)):
            return
        if self._token is None and not (changes and self._write_token):
            return
        self._strangers.take(client, 1.0)
        if reads:
            raise RefusalError(403, "this token may only read; changes need the write token")
        kind = "the write token" if changes and self._write_token else "a token"
        raise RefusalError(
            401,
            f"{kind} is needed: send the header Authorization: Bearer TOKEN",
            {"WWW-Authenticate": "Bearer"},
        )


def _encode_token(token: str | None) -> bytes | None:
    return None if token is None else f"Bearer {token}".encode()


def _is_same(given: bytes, token: bytes | None) -> bool:
    return token is not None and hmac.compare_digest(given, token)


def _fixed_headers(options: ServeOptions) -> list[tuple[bytes, bytes]]:
    """Return what every answer has; X-Frame-Options could name no other site."""
    headers = {**HEADERS, "Content-Security-Policy": POLICY + "'none'", "X-Frame-Options": "DENY"}
    if options.cors_origins:
        headers["Content-Security-Policy"] = POLICY + " ".join(options.cors_origins)
        headers["Vary"] = "Origin"
        del headers["X-Frame-Options"]
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def _client(scope: Scope) -> str:
    return network_of((scope.get("client") or ("",))[0])


def _route(scope: Scope) -> str:
    """Return the route's pattern, so that there are only a few, whatever is asked for."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else "other"


def response_to(err: RefusalError) -> JSONResponse:
    """Return the answer to a refused request."""
    headers = {"Cache-Control": "no-store", **err.headers}
    return JSONResponse({"error": err.message}, err.status, headers)
