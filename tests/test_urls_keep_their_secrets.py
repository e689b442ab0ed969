"""What signs a URL, or says whose it is, is in no message, warning, log, record or file name."""

from __future__ import annotations

import http.server
import importlib
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

import featx
from featx.cli.main import main
from featx.errors import FeatxError, ImageDecodeError, StoreWriteError, hide_secrets
from featx.files.formats import MissingFileError
from featx.images import decode_image
from featx.store import write_features

pytest.importorskip("fsspec")
SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h/a.jpg", "https://h/a.jpg"),
        ("https://h:8080/a@2x.jpg", "https://h:8080/a@2x.jpg"),
        (f"https://me:{SECRET}@h/a.jpg", "https://***@h/a.jpg"),
        (f"https://{SECRET}@h/a.jpg", "https://***@h/a.jpg"),
        (f"sftp://me:{SECRET}/a?b#{SECRET}@h/a.jpg", "sftp://***@h/a.jpg"),
        (f"s3://KEY:{SECRET}@bucket/a.jpg", "s3://***@bucket/a.jpg"),
        ("abfss://box@account.dfs.core.windows.net/a", "abfss://box@account.dfs.core.windows.net/a"),
        (f"https://h/a.jpg?sig={SECRET}&v={SECRET}==", "https://h/a.jpg?sig=***&v=***"),
        (f"https://h/a.jpg?{SECRET}", "https://h/a.jpg?***"),
        (f"https://h/a.jpg#token={SECRET}", "https://h/a.jpg#***"),
        (f"http://h/?q={SECRET}#{SECRET}", "http://h/?q=***#***"),
    ],
)  # fmt: skip
def test_a_url_is_shown_without_its_secrets(url, shown) -> None:
    for text in ("{}", "{}: not found", "URL('{}')", '"{}", or', "at {}, and {}."):
        expected = text.replace("{}", shown)
        assert hide_secrets(text.replace("{}", url)) == expected
        assert hide_secrets(expected) == expected


@pytest.mark.parametrize("text", ["x" * 10**6, "http://" + "," * 10**5 + "x y", "a." * 10**5])
def test_a_long_text_takes_no_long_time(text: str) -> None:
    start = time.monotonic()
    assert hide_secrets(text) == text
    assert time.monotonic() - start < 5


def test_every_error_of_featx_shows_urls_without_their_secrets() -> None:
    def classes(kind: type) -> Iterator[type]:
        yield kind
        for below in kind.__subclasses__():
            yield from classes(below)

    for room in ("estimators", "retrieval", "store"):  # which have classes of their own
        importlib.import_module(f"featx.{room}")
    found = list(classes(FeatxError))
    assert {ImageDecodeError, StoreWriteError, MissingFileError} <= {*found}
    for kind in found:
        if kind.__module__.startswith("featx."):
            assert str(kind(f"at 'https://h/a?sig={SECRET}'")) == "at 'https://h/a?sig=***'", kind


@pytest.fixture
def web():
    """A server that has nothing."""

    class Nothing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(403 if "forbidden" in self.path else 404)

        do_HEAD = do_GET

        def log_message(self, *_) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nothing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_failures_are_kept_without_the_secrets_of_their_urls(tmp_path, web) -> None:
    pytest.importorskip("aiohttp")
    names = [f"{web}/{name}.jpg?sig={SECRET}" for name in ("gone", "forbidden")]
    (tmp_path / "m.csv").write_text("path\n" + "\n".join(names) + "\n")
    store = featx.extract(tmp_path / "m.csv", tmp_path / "f.h5", workers=0, progress=False)
    reasons = [failure.reason for failure in store.failures]
    assert len(reasons) == 2
    assert not any(SECRET in reason for reason in reasons)
    for name in names:
        with pytest.raises(ImageDecodeError) as caught:
            decode_image(name)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        ("extract", "{}/photos/?sig={secret}", "--store", "{tmp}/g.h5"),
        ("extract", "nosuch://me:{secret}@h/photos", "--store", "{tmp}/g.h5"),
        ("info", "{}/forbidden.h5?sig={secret}"),
        ("verify", "{}/f.h5?sig={secret}"),
        ("index", "{}/f.h5?sig={secret}", "--out", "{tmp}/i"),
        ("train", "{}/f.h5?sig={secret}", "--out", "{tmp}/m"),
        ("train", "{tmp}/f.h5", "--labels", "{}/l.csv?sig={secret}", "--out", "{tmp}/m"),
        ("predict", "{}/m?sig={secret}", "{tmp}/f.h5"),
        ("query", "{}/i?sig={secret}", "{tmp}/f.h5"),
        ("serve", "{}/i?sig={secret}"),
        ("export", "{tmp}/f.h5", "{}/out.csv?sig={secret}"),
    ],
    ids=lambda words: words[0],
)
def test_no_command_prints_a_secret(tmp_path, web, capsys, monkeypatch, words) -> None:
    pytest.importorskip("aiohttp")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_features(tmp_path / "f.h5", np.eye(4), paths=list("abcd"), labels=list("xyxy")).close()
    filled = [w.replace("{}", web).replace("{tmp}", str(tmp_path)) for w in words]
    assert main([word.replace("{secret}", SECRET) for word in filled]) == 1
    printed = capsys.readouterr()
    assert printed.err
    assert SECRET not in printed.err + printed.out
    assert not [p for p in tmp_path.rglob("*") if SECRET in p.name]
