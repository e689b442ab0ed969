"""featx serve as a process: what it refuses, what it prints, how it stops; and its description."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks
from starlette.testclient import TestClient

import featx
from featx.cli.main import build_parser, main
from featx.cli.serve import _read
from featx.demo import sample_data_dir
from featx.serve import ServeOptions, create_app, open_service

FEATX = [sys.executable, "-c", "from featx.cli.main import main; raise SystemExit(main())"]
TOKEN = "s3cret-and-long"
# Not that whatever fits is accepted: it may still be no image, or no label of the index.
CHECKS = (
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
)
# Routes without parameters, of which nothing can be wrong.
BARE = ("/health", "/metrics", "/api/index")
FOLDER = sample_data_dir() / "objects" / "apple"


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> str:
    root = tmp_path_factory.mktemp("serve")
    store = featx.extract(FOLDER, root / "f.h5", workers=0, progress=False)
    featx.RetrievalIndex().fit(store).save(root / "index")
    return str(root / "index")


def refused(capsys, *words) -> str:
    capsys.readouterr()
    assert main(["serve", *map(str, words)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


def test_another_host_without_a_token_is_refused(index, capsys, monkeypatch) -> None:
    monkeypatch.delenv("FEATX_TOKEN", raising=False)
    for host in ("0.0.0.0", "::", "example.org"):
        assert f"host: got {host!r} without a token" in refused(capsys, index, "--host", host)
    assert "writable: got no token" in refused(capsys, index, "--writable")


def test_what_cannot_be_served_is_one_line(index, capsys, tmp_path) -> None:
    assert "there is no such file" in refused(capsys, tmp_path / "none")
    featx.RetrievalIndex().fit(np.eye(2)).save(tmp_path / "foreign")
    assert "made outside featx" in refused(capsys, tmp_path / "foreign")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port}: cannot be listened on" in refused(capsys, index, "--port", port)


def test_a_missing_package_is_named_with_its_install_command(index, capsys, monkeypatch) -> None:
    for package in ("fastapi", "uvicorn", "prometheus_client", "python_multipart"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            message = refused(capsys, index)
        assert f"needs the package '{package}'" in message
        assert "pip install 'featx[serve]'" in message


def test_defaults_are_those_of_the_library(monkeypatch) -> None:
    monkeypatch.delenv("FEATX_TOKEN", raising=False)

    def options(*words) -> ServeOptions:
        return _read(build_parser("serve").parse_args(["serve", "index", *words]))

    assert options() == ServeOptions()
    monkeypatch.setenv("FEATX_TOKEN", "from-outside")
    assert options().token == "from-outside"
    given = {"host": "0.0.0.0", "port": 1, "token": "at-the-command", "batch_size": 2,
             "wait_ms": 3.5, "max_upload_mb": 4.5, "max_pixels": 5, "rate": 6.5,
             "copy_distance": 0.75, "write_token": "another-at-the-command",
             "link_column": "page", "keep_uploads_mb": 7.5}  # fmt: skip
    words = [w for n, v in given.items() for w in (f"--{n.replace('_', '-')}", str(v))]
    words += ["--writable", "--show-names", "--trusted-proxies", "10.0.0.1, 10.0.0.2"]
    words += ["--cors-origin", "https://a.example", "--cors-origin", "http://localhost:3000"]
    words += ["--show-paths", "--columns", "price, page"]
    expected = ServeOptions(
        writable=True,
        show_names=True,
        show_paths=True,
        trusted_proxies=("10.0.0.1", "10.0.0.2"),
        cors_origins=("https://a.example", "http://localhost:3000"),
        columns=("price", "page"),
        **given,
    )
    assert options(*words) == expected
    monkeypatch.setenv("FEATX_WRITE_TOKEN", "writes-from-outside")
    assert options().write_token is None  # nothing may be changed there
    assert options("--writable").write_token == "writes-from-outside"


@contextmanager
def serving(*words):
    """A real process; its first line says where."""
    process = subprocess.Popen(
        [*FEATX, "serve", *map(str, words), "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def post(address: str, data: bytes) -> socket.socket:
    """Send the head of a query and half of its body."""
    host, port = re.fullmatch(r"http://([\d.]+):(\d+)/", address).groups()
    connection = socket.create_connection((host, int(port)), timeout=60)
    head = (
        f"POST /api/query?k=1 HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: image/jpeg\r\n"
        f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    )
    connection.sendall(head.encode() + data[: len(data) // 2])
    return connection


def answer(connection: socket.socket) -> tuple[int, dict]:
    received = b""
    while more := connection.recv(65536):
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


@pytest.mark.slow
def test_sigterm_finishes_what_is_running_and_exits_with_0(index) -> None:
    data = sorted(FOLDER.glob("*.jpg"))[3].read_bytes()
    with serving(index) as (process, ready):
        assert sorted(ready) == ["address", "n_samples"]
        assert ready["n_samples"] == 14
        with urllib.request.urlopen(ready["address"]) as page:
            assert b"What looks like this?" in page.read()
        with post(ready["address"], b"GET nonsense") as connection:
            connection.sendall(b"x" * 1000)
            assert answer(connection)[0] == 422
        for head in (
            b"no HTTP\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 66_000,
        ):
            with socket.create_connection(connection_of(ready), timeout=60) as connection:
                connection.sendall(head)
                status, body = answer(connection)
            assert (status, list(body)) == (400, ["error"])
        with post(ready["address"], data) as connection:
            process.send_signal(signal.SIGTERM)
            connection.sendall(data[len(data) // 2 :])
            status, body = answer(connection)
        assert (status, body["matches"][0]["row"]) == (200, 3)
        assert process.wait(60) == 0
        rest, said = process.communicate()
    assert rest == ""
    assert f"featx serve: 14 images at {ready['address']}; Ctrl-C stops" in said
    assert "Traceback" not in said


def connection_of(ready: dict) -> tuple[str, int]:
    host, port = re.fullmatch(r"http://([\d.]+):(\d+)/", ready["address"]).groups()
    return host, int(port)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_every_answer_is_as_the_description_says(index, tmp_path, mode) -> None:
    """Requests made up from openapi.json, fitting it and not, for every route."""
    copy = tmp_path / "index"
    copy.write_bytes(Path(index).read_bytes())
    options = ServeOptions(token=TOKEN, writable=True, rate=0)
    app = create_app(open_service(str(copy), options=options))
    statuses: dict[str, set[int]] = {}
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        described = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
        for operation in (found.ok() for found in described.get_all_operations()):
            if mode == "positive" or operation.path not in BARE:
                try_out(operation, GenerationMode(mode), client, statuses)
    assert set(statuses) == {
        f"{method.upper()} {path}"
        for path, methods in app.openapi()["paths"].items()
        for method in methods
        if mode == "positive" or path not in BARE
    }
    assert all(status < 500 for found in statuses.values() for status in found)


def try_out(operation, mode, client, statuses) -> None:
    # the same requests in every run: seldom a request made up to violate a form's schema is sent
    # as one that fits it, and to accept that would be called an error
    @settings(max_examples=12, deadline=None, database=None, derandomize=True,
              suppress_health_check=HealthCheck)  # fmt: skip
    @given(case=operation.as_strategy(mode))
    def check(case) -> None:
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {TOKEN}"}
        request = case.as_transport_kwargs(base_url="http://localhost")
        del request["cookies"]  # there are none here, and the client warns about them
        if isinstance(request.get("data"), bytes):
            request["content"] = request.pop("data")
        sent = client.build_request(**request)
        sent.read()  # a form is a stream, and the checks look at it once more
        response = client.send(sent)
        case.validate_response(response, checks=list(CHECKS))
        statuses.setdefault(operation.label, set()).add(response.status_code)

    check()


def test_answers_are_not_held_back_by_the_system() -> None:
    """Without TCP_NODELAY each answer on an open connection came 40 ms late."""
    from featx.serve._server import listen

    async def accepted() -> int:
        found = asyncio.get_running_loop().create_future()

        def connected(_, writer: asyncio.StreamWriter) -> None:
            sock = writer.get_extra_info("socket")
            found.set_result(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with listen("127.0.0.1", 0) as listening:
            async with await asyncio.start_server(connected, sock=listening):
                _, writer = await asyncio.open_connection(*listening.getsockname())
                try:
                    return await asyncio.wait_for(found, 10)
                finally:
                    writer.close()

    assert asyncio.run(accepted()) != 0
