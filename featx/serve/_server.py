"""uvicorn around the application: listen, say so, stop well."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from featx.errors import ParameterError
from featx.serve._options import ServeOptions

__all__ = ["serve_until_stopped"]

BACKLOG = 256
FINISH_S = 30


class _JsonProtocol(H11Protocol):
    """Answers what is not even HTTP with JSON, as everything else."""

    def send_400_response(self, msg: str) -> None:
        """Refuse, and close the connection."""
        body = json.dumps({"error": msg}).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._on_started()


def serve_until_stopped(app: Any, options: ServeOptions, on_ready: Callable[[str], None]) -> None:
    """Do what `featx.serve.run_server` says."""
    listening = _listen(options.host, options.port)
    host = f"[{options.host.strip('[]')}]" if ":" in options.host else options.host
    address = f"http://{host}:{listening.getsockname()[1]}/"
    config = uvicorn.Config(
        app,
        http=_JsonProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # else a client could name itself as it likes
        timeout_graceful_shutdown=FINISH_S,
    )
    server = _Server(config, lambda: on_ready(address))
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        # uvicorn has finished what was running, and hands the signal on; this is how it ends
        if not server.should_exit:
            raise
    finally:
        listening.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )[0]
        # Not socket.create_server, whose sockets do not say that they are TCP: asyncio then leaves
        # out TCP_NODELAY, and every answer on a connection that stays open comes 40 ms late.
        listening = socket.socket(family, kind, protocol)
    except OSError as err:
        raise _no_address(host, port, err) from err
    try:
        if os.name == "posix":  # elsewhere it would let a second server take the port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as err:
        listening.close()
        raise _no_address(host, port, err) from err
    return listening


def _no_address(host: str, port: int, err: OSError) -> ParameterError:
    return ParameterError(
        f"host {host!r}, port {port}: cannot be listened on ({err.strerror or err}), expected an "
        "address of this machine and a free port; choose another, or 0 for any port"
    )
