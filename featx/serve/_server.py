"""uvicorn around the application: listen, report the address, stop cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable
from typing import Any, cast

import uvicorn

from featx.errors import ParameterError
from featx.serve._connections import Connection, connection_class
from featx.serve._options import ServeOptions

__all__ = ["listen", "make_server", "serve_until_stopped"]

logger = logging.getLogger(__name__)

BACKLOG = 256
FINISH_S = 10
ACCEPT_LOG_S = 60.0


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started
        self._accept_error_at = float("-inf")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(self._handle_fault)
        await super().startup(sockets=sockets)
        self._on_started()

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:  # once per second
            for connection in cast("list[Connection]", list(self.server_state.connections)):
                connection.check()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets=sockets)
        for connection in list(
            self.server_state.connections
        ):  # those with answers that nobody reads
            connection.transport.abort()
        await asyncio.sleep(0)

    def _handle_fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log that no connection can be accepted once per minute, not for each that waits."""
        if "accept" not in context.get("message", "") or "exception" not in context:
            loop.default_exception_handler(context)
        elif loop.time() - self._accept_error_at > ACCEPT_LOG_S:
            self._accept_error_at = loop.time()
            logger.warning("no connection can be taken now: %s", context["exception"])


def serve_until_stopped(app: Any, options: ServeOptions, on_ready: Callable[[str], None]) -> None:
    """Do what `featx.serve.run_server` says."""
    listening = listen(options.host, options.port)
    host = f"[{options.host.strip('[]')}]" if ":" in options.host else options.host
    address = f"http://{host}:{listening.getsockname()[1]}/"
    server = make_server(app, options, lambda: on_ready(address))
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        # uvicorn has finished the running requests, and raises the signal again
        if not server.should_exit:
            raise
    finally:
        listening.close()


def make_server(app: Any, options: ServeOptions, on_started: Callable[[], None]) -> uvicorn.Server:
    """Return uvicorn with this server's limits; its `should_exit` stops it."""
    config = uvicorn.Config(
        app,
        http=connection_class(options),
        ws="none",
        lifespan="on",
        backlog=BACKLOG,
        log_config=None,
        log_level="error",  # else clients could fill the log with warnings
        access_log=False,
        server_header=False,
        # else a client could claim any address
        proxy_headers=bool(options.trusted_proxies),
        forwarded_allow_ips=list(options.trusted_proxies),
        timeout_graceful_shutdown=FINISH_S,
    )
    return _Server(config, on_started)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address.

    Raises
    ------
    ParameterError
        If the address is not this machine's, or taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )[0]
        with contextlib.ExitStack() as opened:
            # Not socket.create_server, whose sockets do not say that they are TCP: asyncio then
            # leaves out TCP_NODELAY, and every answer on an open connection comes 40 ms late.
            listening = opened.enter_context(socket.socket(family, kind, protocol))
            if os.name == "posix":  # elsewhere it would let a second server take the port
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(BACKLOG)
            opened.pop_all()
    except OSError as err:
        raise ParameterError(
            f"host {host!r}, port {port}: cannot be listened on ({err.strerror or err}), expected "
            "an address of this machine and a free port; choose another, or 0 for any port"
        ) from err
    return listening
