"""What comes from a URL may be endless, packed, cut short or somebody else's by now."""

from __future__ import annotations

import gzip
import http.server
import importlib.util
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featx.errors import FeatxError, FileFormatError, ImageDecodeError, StoreWriteError
from featx.files import http as _http
from featx.files import remote as _remote
from featx.images import ImageManifest, decode_image
from featx.images.labels import read_labels
from featx.store import StoreWriter, open_store, write_features
from featx.store import remote as store_remote
from featx.store.remote import working_copy

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("fsspec") is None or importlib.util.find_spec("aiohttp") is None,
        reason="needs fsspec and aiohttp (featx[remote])",
    ),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # fsspec leaves its session to the end
]
MIB = 2**20


@pytest.fixture(autouse=True)
def _limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("MAX_FILE_BYTES", "MAX_UNTOLD_BYTES", "MAX_PAGE_BYTES"):
        monkeypatch.setattr(_http, name, 4 * MIB)
    monkeypatch.setattr(_remote, "MAX_FILE_BYTES", 4 * MIB)


class Server(http.server.ThreadingHTTPServer):
    """Answers with `parts` under `headers`, and counts the bytes that it got rid of."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.headers: dict[str, str] = {}
        self.parts: list[bytes] = []
        self.n_sent = 0
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer([])

    def do_GET(self) -> None:
        self.answer(self.server.parts)

    def answer(self, parts: list[bytes]) -> None:
        self.close_connection = True
        if self.path == "/loop":
            self.send_response(302)
            self.send_header("Location", "/loop")
        else:
            self.send_response(200)
            for name, value in self.server.headers.items():
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            for part in parts:
                self.wfile.write(part)
                self.server.n_sent += len(part)
        except OSError:
            pass


@pytest.fixture
def server():
    server = Server()
    yield server
    server.shutdown()
    server.server_close()


ENDLESS = [bytes(MIB)] * 500
BOMB = bytes(64 * MIB)  # sixteen times the limit
ANSWERS: dict[str, tuple[dict[str, str], list[bytes]]] = {
    "endless": ({}, ENDLESS),
    "a terabyte by its header": ({"Content-Length": str(2**40)}, ENDLESS),
    "zeros by gzip": ({"Content-Encoding": "gzip"}, [gzip.compress(BOMB)]),
    "zeros by deflate": ({"Content-Encoding": "deflate"}, [zlib.compress(BOMB)]),
    "an unknown packing": ({"Content-Encoding": "br"}, [b"xyz"]),
    "less than its header says": ({"Content-Length": "1000"}, [b"\xff\xd8\xff" + bytes(100)]),
}
USES = {
    "image": lambda url: decode_image(f"{url}/a.jpg"),
    "CSV": lambda url: read_labels(f"{url}/labels.csv"),
    "CSV of images": lambda url: ImageManifest.from_csv(f"{url}/images.csv"),
    "listing": lambda url: ImageManifest.from_folder(f"{url}/photos/"),
    "store": lambda url: open_store(f"{url}/f.h5"),
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("use", USES)
def test_an_answer_ends_in_one_line_before_it_fills_the_memory(
    server: Server, use: str, answer: str, tmp_path: Path
) -> None:
    headers, server.parts = ANSWERS[answer]
    server.headers = {"Content-Type": "text/html", **headers}
    with pytest.raises(FeatxError) as caught:
        USES[use](server.url)
    assert "\n" not in str(caught.value)
    assert server.n_sent < 60 * MIB  # the system's buffers included
    kept = [path.stat().st_size for path in (tmp_path / "cache").rglob("*")]
    assert max(kept, default=0) < MIB


def test_a_circle_of_redirections_is_one_line(server: Server) -> None:
    with pytest.raises(ImageDecodeError):
        decode_image(f"{server.url}/loop")


@pytest.mark.parametrize("packing", ["gzip", "deflate", "identity"])
def test_what_comes_packed_all_the_same_is_unpacked(
    server: Server, packing: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 6), "red").save(path)
    data = path.read_bytes()
    packed = {"gzip": gzip.compress(data), "deflate": zlib.compress(data), "identity": data}
    server.parts, server.headers = [packed[packing]], {"Content-Encoding": packing}
    assert decode_image(f"{server.url}/a.png").getpixel((0, 0)) == (255, 0, 0)


def test_what_the_user_configures_for_http_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    configured = {"client_kwargs": {"headers": {"Authorization": "me"}, "trust_env": True}}
    monkeypatch.setitem(fsspec.config.conf, "http", configured)
    kwargs = _remote.filesystem("https://127.0.0.1/x").client_kwargs
    assert kwargs["headers"] == {"Accept-Encoding": "identity", "Authorization": "me"}
    assert (kwargs["trust_env"], kwargs["auto_decompress"]) == (True, False)


# -- a store at a URL ---------------------------------------------------------------------------


@pytest.fixture
def url() -> str:
    return f"memory://bucket-{time.monotonic_ns()}/f.h5"


def add(writer: StoreWriter, *paths: str) -> None:
    n = len(paths)
    if n:
        writer.table(None, has_labels=False, n_features=2).append(
            list(paths), np.ones((n, 2)), digests=[""] * n, sizes=[0] * n, mtimes=[0] * n
        )


def write_more(url: str, *paths: str) -> None:
    with working_copy(url) as copy, StoreWriter(copy) as writer:
        add(writer, *paths)


def at(url: str) -> bytes:
    fs = _remote.filesystem(url)
    return bytes(fs.cat_file(fs._strip_protocol(url)))


def others_store(tmp_path: Path) -> bytes:
    path = tmp_path / "other.h5"
    write_features(path, np.eye(2), paths=["x", "y"]).close()
    return path.read_bytes()


def interfere(monkeypatch: pytest.MonkeyPatch, url: str, change) -> None:
    """Change what arrives at the URL, after it was put there."""
    kind = type(_remote.filesystem(url))
    put_file = kind.put_file

    def put_and_change(self, local, remote, **options):
        put_file(self, local, remote, **options)
        data = bytes(self.cat_file(remote))
        self.pipe_file(remote, change(data))

    monkeypatch.setattr(kind, "put_file", put_and_change)


@pytest.mark.parametrize("is_as_long", [False, True])
def test_another_machines_store_is_not_taken_for_our_upload(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_as_long: bool
) -> None:
    write_more(url, "a")
    theirs = others_store(tmp_path)
    with monkeypatch.context() as patch:
        interfere(
            patch, url, lambda ours: theirs.ljust(len(ours), b"\0") if is_as_long else theirs
        )
        with pytest.raises(StoreWriteError, match=r"somebody else.*everything is committed in"):
            write_more(url, "b")
    for _ in range(2):
        with pytest.raises(StoreWriteError, match="somebody else has changed it since the copy"):
            write_more(url, "c")
    assert at(url).startswith(theirs)
    (copy,) = (tmp_path / "cache").rglob("f.h5")
    assert open_store(copy).paths.tolist() == ["a", "b"]


def test_a_store_that_comes_between_the_two_looks_is_noticed(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, real = others_store(tmp_path), store_remote.fetch_head

    def look_and_put(url: str, n_bytes: int) -> bytes:
        head = real(url, n_bytes)
        fs = _remote.filesystem(url)
        fs.pipe_file(fs._strip_protocol(url), theirs)
        return head

    with monkeypatch.context() as patch:
        patch.setattr(store_remote, "fetch_head", look_and_put)
        with pytest.raises(StoreWriteError, match="somebody else has put another store there"):
            write_more(url, "a")
    assert at(url) == theirs


@pytest.mark.parametrize("n_left", [0, 100, 3000, -1])
def test_an_upload_that_was_cut_short_is_not_believed_and_made_again(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_left: int
) -> None:
    write_more(url, "a")
    with monkeypatch.context() as patch:
        interfere(patch, url, lambda ours: ours[:n_left])
        with pytest.raises(StoreWriteError, match="bytes were put there, and"):
            write_more(url, "b")
    if n_left in (0, 100):  # what is there could be anybody's
        with pytest.raises(StoreWriteError, match="somebody else has changed it"):
            write_more(url, "c")
        return
    write_more(url)  # also where there is no more to write
    assert at(url) == next((tmp_path / "cache").rglob("f.h5")).read_bytes()
    write_more(url, "c")
    assert open_store(url).paths.tolist() == ["a", "b", "c"]


def test_without_etag_and_time_another_store_is_still_noticed(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same size: what a server tells of it does not change at all."""
    monkeypatch.setattr(_remote, "_stamp", lambda _: 0)
    write_more(url, "a")
    size = len(at(url))
    theirs = others_store(tmp_path).ljust(size, b"\0")
    assert len(theirs) == size

    def write_while_another_puts() -> None:
        with working_copy(url) as copy, StoreWriter(copy) as writer:
            add(writer, "b")
            fs = _remote.filesystem(url)
            fs.pipe_file(fs._strip_protocol(url), theirs)

    with pytest.raises(StoreWriteError, match="somebody else has changed it"):
        write_while_another_puts()
    assert at(url) == theirs


def test_a_reader_that_downloads_keeps_no_writer_out(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_more(url, "a")
    (copy,) = (tmp_path / "cache").rglob("f.h5")
    copy.unlink()
    real, started = store_remote.download, threading.Event()

    def slow(*args: object) -> None:
        started.set()
        time.sleep(0.3)
        real(*args)

    monkeypatch.setattr(store_remote, "download", slow)
    reader = threading.Thread(target=open_store, args=[url])
    reader.start()
    started.wait()
    write_more(url, "b")
    reader.join()
    assert open_store(url).paths.tolist() == ["a", "b"]


def test_a_link_in_the_place_of_the_copy_is_not_followed(url: str, tmp_path: Path) -> None:
    write_more(url, "a")
    (copy,) = (tmp_path / "cache").rglob("f.h5")
    victim = tmp_path / "victim"
    victim.write_bytes(copy.read_bytes())
    before = victim.read_bytes()
    copy.unlink()
    copy.symlink_to(victim)
    for use in (open_store, lambda url: write_more(url, "b")):
        with pytest.raises(StoreWriteError, match="is a link"):
            use(url)
    assert victim.read_bytes() == before


def test_a_download_that_ends_early_leaves_the_copy(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_more(url, "a")
    kind = type(_remote.filesystem(url))

    def short(self, remote, local, **_: object) -> None:
        Path(local).write_bytes(bytes(self.cat_file(remote))[:2000])

    write_features(tmp_path / "n.h5", np.eye(3), paths=["x", "y", "z"]).close()
    fs = _remote.filesystem(url)
    fs.pipe_file(fs._strip_protocol(url), (tmp_path / "n.h5").read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr(kind, "get_file", short)
        with pytest.raises(FileFormatError, match="2000 bytes came, expected"):
            open_store(url)
    (copy,) = (tmp_path / "cache").rglob("f.h5")
    assert open_store(copy).paths.tolist() == ["a"]
    assert open_store(url).paths.tolist() == ["x", "y", "z"]
