"""Connections with limits of time, and of their number per address.

uvicorn's HTTP/1.1 with the limits that it leaves to a proxy: of time for a request's head and for
an answer that nobody reads, and of the number of connections. As in nginx, a new connection
replaces the one that has been idle longest.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable
from typing import Any, cast

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from featx.serve._guard import CLOSE, RETRY, response_to
from featx.serve._limits import network_of
from featx.serve._options import ServeOptions
from featx.serve._refusal import RefusalError

__all__ = ["Connection", "connection_class", "max_connections"]

HEAD_S = 10.0
SEND_S = 20.0
PARSE_S = 0.5  # of processor time per request: 20 MB take 0.05 s, unless in chunks of one byte
READ_BYTES = 2**14  # parsed before the next connection's turn
MAX_CONNECTIONS = 512
MAX_OF_ONE_ADDRESS = 64
# Descriptors that are not for connections: files, pipes to the readers, and a few to spare.
OTHER_DESCRIPTORS = 64


class Connection(H11Protocol):
    """One connection, with the times since which it has been waiting."""

    options: ServeOptions
    max_connections: int

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new connection, if need be in the place of an idle one."""
        super().connection_made(transport)
        cast(Any, transport).max_size = READ_BYTES
        self.parsed_s, self.is_refused = 0.0, False
        self.idle_since: float = self.loop.time()
        self.unread_since: float | None = None
        others = [c for c in self._all() if c._address == self._address]
        if len(others) > MAX_OF_ONE_ADDRESS and not self.options.is_trusted_proxy(self._host):
            self.app = _refuse_connection
        alive = [c for c in self._all() if not c.transport.is_closing()]
        if len(alive) > self.max_connections:
            idle = [c for c in alive if c.is_idle]
            min(idle, key=lambda c: c.idle_since, default=self).transport.abort()

    @property
    def is_idle(self) -> bool:
        """Whether no request has come, or all are answered."""
        cycle: Any = self.cycle  # None before the first request, whatever uvicorn's type says
        return cycle is None or bool(cycle.response_complete)

    @property
    def _host(self) -> str:
        return self.client[0] if self.client else ""

    @property
    def _address(self) -> str:
        return network_of(self._host)

    def _all(self) -> Iterable[Connection]:
        return cast(Iterable[Connection], self.connections)

    def data_received(self, data: bytes) -> None:
        """Parse the received bytes, and abort a request that is expensive to parse."""
        if self.is_refused:
            return
        start = time.thread_time()
        super().data_received(data)
        self.parsed_s += time.thread_time() - start
        if self.parsed_s > PARSE_S:
            self.transport.abort()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self.idle_since, self.parsed_s = self.loop.time(), 0.0
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Note that the client does not read."""
        self.unread_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        self.unread_since = None
        super().resume_writing()

    def check(self) -> None:
        """Close the connection if it has waited too long; called every second."""
        now = self.loop.time()
        if self.transport.is_closing():  # it waits until what was sent is taken
            self.unread_since = self.unread_since or now
        if self.unread_since is not None and now - self.unread_since > SEND_S:
            self.transport.abort()
        elif self.is_idle and now - self.idle_since > HEAD_S:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are no HTTP, in JSON like every refusal, and close the connection."""
        body = json.dumps({"error": msg}).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        if self.is_idle and self.transport.can_write_eof():
            # closed with bytes unread, the system would throw the answer away: read on for a while
            self.transport.write_eof()
            self.is_refused, self.idle_since = True, self.loop.time()
        else:
            self.transport.close()


def connection_class(options: ServeOptions) -> type[Connection]:
    """Return the protocol of a server with these options."""
    limits = {"options": options, "max_connections": max_connections()}
    return type("LimitedConnection", (Connection,), limits)


def max_connections() -> int:
    """Return how many connections the system lets this process have, beside its files."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return MAX_CONNECTIONS
    n_open, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if n_open == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, n_open - OTHER_DESCRIPTORS))


async def _refuse_connection(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer in place of the application."""
    text = f"more than {MAX_OF_ONE_ADDRESS} connections from one address; close some, or try again"
    await response_to(RefusalError(503, text, RETRY | CLOSE))(scope, receive, send)
