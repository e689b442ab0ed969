"""What every request passes before any route: host, token, rate, load; and what every answer gets.

Plain ASGI, so that a body is never read for a request that is refused.
"""

from __future__ import annotations

import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from featx.serve._limits import TokenBuckets
from featx.serve._metrics import Metrics
from featx.serve._options import ServeOptions, is_loopback
from featx.serve._refusal import RefusalError

__all__ = ["Guard"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

logger = logging.getLogger(__name__)

MAX_IN_FLIGHT = 128
THUMBNAIL_COST = 0.1
# The page itself, which has to come before the token that it reads from its own address.
OPEN_PATHS = ("/", "/health", "/openapi.json")
OPEN_FOLDER = "/static/"

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
ENCODED = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]


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
        self, app: Any, *, options: ServeOptions, buckets: TokenBuckets, metrics: Metrics
    ) -> None:
        self._app, self._options = app, options
        self._buckets, self._metrics = buckets, metrics
        self._token = None if options.token is None else f"Bearer {options.token}".encode()
        self._n_in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or a lifespan event."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.monotonic(), 0

        async def send_guarded(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *ENCODED]
            await send(message)

        self._n_in_flight += 1
        try:
            self._check(scope)
            await self._app(scope, receive, send_guarded)
        except RefusalError as err:
            await _refuse(send_guarded, err)
        except Exception:
            logger.exception("fault while answering %s %s", scope["method"], _route(scope))
            if status == 0:
                await _refuse(send_guarded, RefusalError(500, "a fault in featx; its log has it"))
        finally:
            self._n_in_flight -= 1
            self._metrics.count(_route(scope), status, time.monotonic() - start)

    def _check(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        self._check_host(headers.get(b"host", b"").decode("latin-1"))
        path = scope["path"]
        if path in OPEN_PATHS or path.startswith(OPEN_FOLDER):
            return
        client = (scope.get("client") or ("",))[0]
        # Before the token, so that guesses count too.
        self._buckets.take(client, THUMBNAIL_COST if path.startswith("/thumbnails/") else 1.0)
        self._check_token(headers.get(b"authorization", b""))
        if self._n_in_flight > MAX_IN_FLIGHT:
            raise RefusalError(503, "too many requests at the same time; try again", RETRY)

    def _check_host(self, host: str) -> None:
        """Refuse names that are not ours.

        A page of another site can point its own name at 127.0.0.1 and would then be allowed to
        read what we answer. Where a token is asked for, that page does not know it.
        """
        if not is_loopback(self._options.host):
            return
        name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
        if not is_loopback(name.lower()):
            raise RefusalError(
                421, f"host {host[:100]!r}: is not this server, expected localhost or 127.0.0.1"
            )

    def _check_token(self, given: bytes) -> None:
        if self._token is not None and not hmac.compare_digest(given, self._token):
            raise RefusalError(
                401,
                "a token is needed: send the header Authorization: Bearer TOKEN",
                {"WWW-Authenticate": "Bearer"},
            )


RETRY = {"Retry-After": "1"}


def _route(scope: Scope) -> str:
    """Return the route's pattern, so that there are only a few, whatever is asked for."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else "other"


async def _refuse(send: Send, err: RefusalError) -> None:
    body = json.dumps({"error": err.message}).encode()
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        **err.headers,
    }
    await send(
        {
            "type": "http.response.start",
            "status": err.status,
            "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
