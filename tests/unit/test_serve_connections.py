"""Connections: slow ones are closed, nobody has all, and none fills the log or stops the loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import resource
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.requests import Request

from featx.serve import ServeOptions, _connections, _server
from featx.serve._guard import Guard
from featx.serve._limits import TokenBuckets, read_body
from featx.serve._metrics import Metrics
from featx.serve._server import listen, make_server

pytestmark = pytest.mark.skipif(not hasattr(resource, "RLIMIT_NOFILE"), reason="POSIX")
BODY = b"x" * 2**20


async def app(scope, receive, send) -> None:
    """Answer with a megabyte; of a POST read the body first."""
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    if scope["method"] == "POST":
        while (await receive()).get("more_body"):
            pass
    body = json.dumps(scope["client"]).encode() if scope["path"] == "/who" else BODY
    head = {"type": "http.response.start", "status": 200}
    await send(head | {"headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@contextlib.contextmanager
def running(**options):
    listening = listen("127.0.0.1", 0)
    started = threading.Event()
    server = make_server(app, ServeOptions(**options), started.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    assert started.wait(20)
    try:
        yield server, listening.getsockname()
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()
        assert not thread.is_alive()


@contextlib.contextmanager
def connected(address, data: bytes = b"", **options):
    with socket.socket() as connection:
        connection.settimeout(20)
        for name, value in options.items():
            connection.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        connection.connect(address)
        connection.sendall(data)
        yield connection


def rest(connection: socket.socket) -> bytes:
    """Return what comes until the other side closes."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while more := connection.recv(2**16):
            found += more
    return found


def request(path: str = "/", *lines: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


def ask(address, path: str = "/who", *lines: str) -> tuple[int, bytes]:
    with connected(address, request(path, "Connection: close", *lines)) as connection:
        head, _, body = rest(connection).partition(b"\r\n\r\n")
    return int(head.split()[1]), body


@pytest.fixture
def hasty(monkeypatch) -> None:
    """All limits of time, shortened."""
    monkeypatch.setattr(_connections, "HEAD_S", 1.0)
    monkeypatch.setattr(_connections, "SEND_S", 1.0)
    monkeypatch.setattr(_server, "FINISH_S", 3)


@pytest.mark.parametrize("begun", [[], [b"half of"]])
def test_an_upload_that_is_cut_is_no_fault(caplog, begun) -> None:
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in begun]
    messages.append({"type": "http.disconnect"})
    scope = {"type": "http", "method": "POST", "path": "/api/query", "client": ("127.0.0.1", 1)}
    scope["headers"] = [(b"host", b"localhost")]
    answers, metrics = [], Metrics()

    async def receive() -> dict:
        return messages.pop(0)

    async def send(message) -> None:
        answers.append(message)

    async def reading(scope, receive, send) -> None:
        await read_body(Request(scope, receive), 1000)

    guard = Guard(reading, options=ServeOptions(), buckets=TokenBuckets(0), metrics=metrics)
    asyncio.run(guard(scope, receive, send))
    assert answers == caplog.records == []
    assert 'featx_requests_total{route="other",status="499"} 1.0\n' in metrics.page().decode()


@pytest.mark.slow
@pytest.mark.parametrize("sent", [b"", b"GET / HT", request()[:-2], b"POST / HTTP/1.1\r\nHost:"])
def test_a_request_that_does_not_come_is_given_up(hasty, sent) -> None:
    with running() as (server, address), connected(address, sent) as connection:
        start = time.monotonic()
        assert b"200" not in rest(connection)
        assert time.monotonic() - start < 8
        assert not server.server_state.connections


@pytest.mark.slow
def test_a_head_that_comes_byte_by_byte_is_given_up(hasty) -> None:
    def trickle(connection: socket.socket) -> None:
        for byte in request("/", "X-Long: " + "x" * 200):
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    closed = pytest.raises(OSError, match=r"reset|Broken pipe")
    with running() as (_, address), connected(address) as connection, closed:
        trickle(connection)


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 50], ids=["one answer", "pipelined"])
def test_answers_that_nobody_reads_are_dropped(hasty, n) -> None:
    with running() as (server, address), contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(connected(address, request() * n, SO_RCVBUF=4096))
        time.sleep(0.3)
        assert len(server.server_state.connections) == 5
        end = time.monotonic() + 10
        while server.server_state.connections and time.monotonic() < end:
            time.sleep(0.1)
        assert not server.server_state.connections
        assert not server.server_state.tasks


@pytest.mark.slow
def test_a_slow_reader_gets_its_answer(hasty) -> None:
    with running() as (_, address), connected(address, request(), SO_RCVBUF=2**16) as connection:
        found = 0
        while found < len(BODY):
            found += len(connection.recv(2**16))
            time.sleep(0.02)


@pytest.mark.slow
def test_unread_answers_do_not_keep_a_server_from_stopping(monkeypatch) -> None:
    monkeypatch.setattr(_server, "FINISH_S", 1)
    with contextlib.ExitStack() as stack:
        with running() as (_, address):
            for _ in range(3):
                stack.enter_context(connected(address, request() * 9, SO_RCVBUF=4096))
            time.sleep(0.3)
            start = time.monotonic()
        assert time.monotonic() - start < 8


def test_one_address_has_not_all_connections(monkeypatch) -> None:
    monkeypatch.setattr(_connections, "MAX_OF_ONE_ADDRESS", 3)
    with running() as (_, address), contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(connected(address))
        status, body = ask(address)
        assert status == 503
        assert "more than 3 connections from one address" in json.loads(body)["error"]


def test_a_trusted_proxy_has_as_many_as_it_needs_and_says_who_asks(monkeypatch) -> None:
    monkeypatch.setattr(_connections, "MAX_OF_ONE_ADDRESS", 3)
    with (
        running(trusted_proxies=("127.0.0.0/8",)) as (_, address),
        contextlib.ExitStack() as stack,
    ):
        for _ in range(5):
            stack.enter_context(connected(address))
        status, body = ask(address, "/who", "X-Forwarded-For: 6.6.6.6, 1.2.3.4")
        assert (status, json.loads(body)[0]) == (200, "1.2.3.4")
    with running() as (_, address):
        assert json.loads(ask(address, "/who", "X-Forwarded-For: 1.2.3.4")[1])[0] == "127.0.0.1"


def test_a_full_server_gives_up_the_connection_that_is_idle_longest(monkeypatch) -> None:
    monkeypatch.setattr(_connections, "max_connections", lambda: 4)
    with running() as (server, address), contextlib.ExitStack() as stack:
        idle = [stack.enter_context(connected(address)) for _ in range(3)]
        busy = stack.enter_context(connected(address, b"POST / HTTP/1.1\r\nHost: x\r\n"
                                             b"Content-Length: 5\r\n\r\n"))  # fmt: skip
        time.sleep(0.2)
        with ThreadPoolExecutor(3) as pool:
            assert {status for status, _ in pool.map(ask, [address] * 3)} == {200}
        assert rest(idle[0]) == b""
        busy.sendall(b"12345")
        assert busy.recv(100).startswith(b"HTTP/1.1 200")
        assert len(server.server_state.connections) <= 4


@pytest.mark.slow
def test_chunks_of_a_byte_do_not_stop_the_loop() -> None:
    """Parsing 256 KiB of them took 0.6 s, and there was no end to them."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with running() as (_, address), connected(address, head) as connection:
        worst, stop = [0.0], threading.Event()

        def send() -> None:
            with contextlib.suppress(OSError):
                while not stop.is_set():
                    connection.sendall(b"1\r\nx\r\n" * 10_000)

        thread = threading.Thread(target=send)
        thread.start()
        end = time.monotonic() + 6
        while thread.is_alive() and time.monotonic() < end:
            start = time.monotonic()
            assert ask(address)[0] == 200
            worst[0] = max(worst[0], time.monotonic() - start)
        assert not thread.is_alive()  # it was cut off
        assert worst[0] < 1
        stop.set()
        thread.join()


def test_what_is_no_http_is_refused_in_json_and_logs_nothing(caplog) -> None:
    odd = [b"no HTTP\r\n\r\n", request() + b"\0\1\2\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
           b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"\x16\x03\x01\x02\0\x01\0",
           b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
           b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
           b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
           request("/", "X: " + "x" * 70_000)]  # fmt: skip
    with caplog.at_level(logging.WARNING), running() as (_, address):
        for data in odd:
            with connected(address, data) as connection:
                connection.shutdown(socket.SHUT_WR)
                found = rest(connection)
            last = found[found.rindex(b"HTTP/1.1 ") :] if b"HTTP/1.1 " in found else b""
            if last:
                assert last.startswith((b"HTTP/1.1 400", b"HTTP/1.1 501")), data
                assert list(json.loads(last.partition(b"\r\n\r\n")[2])) == ["error"]
        upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
        with connected(address, request("/who", *upgrade)) as connection:
            assert re.match(rb"HTTP/1.1 200", connection.recv(100))
    assert caplog.text == ""


@pytest.mark.parametrize("n_bytes", [20_000, 66_000, 400_000])
def test_a_head_that_is_too_long_gets_its_answer(n_bytes) -> None:
    """Closed with bytes unread, the system throws the answer away."""
    with running() as (server, address):
        with connected(address, request("/who", "Connection: close", "X: " + "x" * n_bytes)) as c:
            found = rest(c)
        assert found.startswith(b"HTTP/1.1 200" if n_bytes < 60_000 else b"HTTP/1.1 400")
        end = time.monotonic() + 5
        while server.server_state.connections and time.monotonic() < end:
            time.sleep(0.02)
        assert not server.server_state.connections


def test_that_no_connection_can_be_taken_is_logged_once_a_minute(caplog) -> None:
    with running() as (server, _):
        loop = server.servers[0].get_loop()
        for _ in range(100):
            context = {"message": "socket.accept() out of system resource"}
            context["exception"] = OSError(24, "Too many open files")
            loop.call_soon_threadsafe(loop.call_exception_handler, context)
        time.sleep(0.2)
    assert caplog.text.count("no connection can be taken now: [Errno 24]") == 1
    assert "Traceback" not in caplog.text


def test_connections_leave_descriptors_for_everything_else(monkeypatch) -> None:
    for limit, expected in ((128, 64), (20, 1), (100_000, 512), (resource.RLIM_INFINITY, 512)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, n=limit: (n, n))
        assert _connections.max_connections() == expected
