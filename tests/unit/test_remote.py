"""Images and stores at URLs: what a folder gives, over a real S3 server and in memory."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from _encoders import load_encoder
from PIL import Image

import featx
from featx.cli.main import main
from featx.errors import (
    FileFormatError,
    ImageDecodeError,
    ManifestError,
    MissingDependencyError,
    ParameterError,
    StoreWriteError,
)
from featx.extraction.embed import embed_images
from featx.files import remote as _remote
from featx.files.remote import RemoteFile, is_url, look, look_at_all, plain_path
from featx.images import ImageManifest, decode_image
from featx.images.loader import default_workers
from featx.store import StoreWriter, verify_store, write_features
from featx.store import remote as store_remote
from featx.store.remote import working_copy

has_s3 = all(importlib.util.find_spec(name) for name in ("moto", "s3fs", "flask"))
needs_s3 = pytest.mark.skipif(not has_s3, reason="needs s3fs and moto[server] (featx[dev])")
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("fsspec") is None, reason="needs fsspec (featx[remote])"
)
NET = {"device": "cpu", "precision": "float32", "engine": "torch", "progress": False}


class Server:
    """An S3 server on loopback that counts what it is asked, and fails where it is told to."""

    def __init__(self) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.asked: list[tuple[str, str]] = []
        self.broken: set[str] = set()
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def __call__(self, environ, start_response):
        self.asked.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        if environ["PATH_INFO"] in self.broken:
            start_response("400 Bad Request", [("Content-Type", "text/plain")])
            return [b"no"]
        return self._app(environ, start_response)

    def gets(self) -> list[str]:
        """Return the objects that were fetched or asked for since the last call, and forget."""
        asked, self.asked = self.asked, []
        return [p for m, p in asked if m in ("GET", "HEAD") and p.endswith((".png", ".h5"))]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def s3():
    if not has_s3:
        pytest.skip("needs s3fs and moto[server] (featx[dev])")
    import s3fs

    server = Server()
    words = {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in words}
    os.environ.update(words)
    s3fs.S3FileSystem.clear_instance_cache()
    yield server
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    server.close()


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def picture(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Nine images in folders, hidden ones, and a file that is no image."""
    folder = tmp_path / "photos"
    for i in range(9):
        path = folder / ("a/deep", "b", "c")[i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(i).save(path)
    (folder / ".hidden").mkdir()
    picture(9).save(folder / ".hidden" / "x.png")
    picture(9).save(folder / "b" / ".x.png")
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture(params=["memory", "s3"])
def bucket(request: pytest.FixtureRequest, photos: Path) -> str:
    """The same files at a URL."""
    if request.param == "s3":
        request.getfixturevalue("s3")
    url = f"{request.param}://bucket-{time.monotonic_ns()}"
    fs = _remote.filesystem(url)
    root = fs._strip_protocol(url)
    fs.mkdir(root)
    for path in photos.rglob("*"):
        if path.is_file():
            fs.pipe_file(f"{root}/photos/{path.relative_to(photos)}", path.read_bytes())
    return url


def put(url: str, data: bytes) -> None:
    fs = _remote.filesystem(url)
    fs.pipe_file(fs._strip_protocol(url), data)


def png(tmp_path: Path, seed: int) -> bytes:
    picture(seed).save(tmp_path / "one.png")
    return (tmp_path / "one.png").read_bytes()


# -- sources ----------------------------------------------------------------------------------


def test_rows_are_those_of_the_folder(bucket: str, photos: Path, tmp_path: Path) -> None:
    here = featx.extract(photos, tmp_path / "here.h5", **NET)
    there = featx.extract(f"{bucket}/photos/", tmp_path / "there.h5", **NET)
    assert there.summary.failed == 0
    np.testing.assert_array_equal(there[:], here[:])
    assert there.labels.tolist() == here.labels.tolist()
    assert there.digests.tolist() == here.digests.tolist()
    relative = [str(Path(path).relative_to(photos)) for path in here.paths]
    assert there.paths.tolist() == [f"{bucket}/photos/{path}" for path in relative]
    assert ".hidden" not in "".join(there.paths)


@needs_s3
def test_what_has_not_changed_is_not_fetched(s3: Server, photos: Path, tmp_path: Path) -> None:
    url = "s3://unchanged"
    fs = _remote.filesystem(url)
    fs.mkdir("unchanged")
    for path in sorted(photos.rglob("[0-9].png")):
        fs.pipe_file(f"unchanged/{path.name}", path.read_bytes())
    s3.gets()
    first = featx.extract(url, tmp_path / "f.h5", workers=2, **NET)
    before = first[:]
    assert sorted(s3.gets()) == [f"/unchanged/{i}.png" for i in range(9)]  # each once
    again = featx.extract(url, tmp_path / "f.h5", workers=2, **NET)
    assert (again.summary.reused, s3.gets()) == (9, [])
    put(f"{url}/4.png", png(tmp_path, 99))
    put(f"{url}/new.png", png(tmp_path, 98))
    fs.rm_file("unchanged/7.png")
    last = featx.extract(url, tmp_path / "f.h5", workers=2, **NET)
    assert set(s3.gets()) == {"/unchanged/4.png", "/unchanged/new.png"}
    assert (last.summary.extracted, last.summary.reused, last.summary.elsewhere) == (2, 7, 1)
    changed = last.paths[:9][(before != last[:9]).any(axis=1)]
    assert changed.tolist() == [f"{url}/4.png"]


@needs_s3
def test_an_object_that_cannot_be_had_is_a_failure(
    s3: Server, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "s3://broken"
    fs = _remote.filesystem(url)
    fs.mkdir("broken")
    for i, path in enumerate(sorted(photos.rglob("[0-9].png"))):
        fs.pipe_file(f"broken/{i}.png", path.read_bytes())
    put(f"{url}/text.png", b"<html>")
    s3.broken = {"/broken/3.png"}
    found = featx.extract(url, tmp_path / "f.h5", workers=2, **NET)
    assert (found.summary.extracted, found.summary.failed) == (8, 2)
    reasons = {failure.path: failure.reason for failure in found.failures}
    assert reasons[f"{url}/text.png"].startswith("not a JPEG")
    assert "400" in reasons[f"{url}/3.png"] or "Bad Request" in reasons[f"{url}/3.png"]
    words = ["extract", url, "--store", str(tmp_path / "g.h5"), "--on-error", "raise"]
    assert main(words) == 1
    assert capsys.readouterr().err.count("\n") == 1
    s3.broken = set()
    again = featx.extract(url, tmp_path / "f.h5", workers=2, **NET)
    assert (again.summary.extracted, again.summary.reused) == (1, 8)
    assert [failure.path for failure in again.failures] == [f"{url}/text.png"]


def test_lists_globs_files_and_csvs(bucket: str, photos: Path, tmp_path: Path) -> None:
    root = f"{bucket}/photos"
    assert ImageManifest.from_source(f"{root}/b/*.png").paths == tuple(
        f"{root}/b/{i}.png" for i in (1, 4, 7)
    )
    assert len(ImageManifest.from_source(f"{root}/**/*.png")) == 9
    beside = [f"{root}/b/", f"{root}/c"]  # as of folders on a disk
    assert ImageManifest.from_source(beside).labels == ("b",) * 3 + ("c",) * 3
    one = ImageManifest.from_source(f"{root}/c/2.png")
    assert (one.paths, one.labels) == ((f"{root}/c/2.png",), None)
    rows = "path,label,shiny\nb/1.png,x,1\n./a/../c/2.png,y,0\nnone.png,y,0\n"
    put(f"{root}/list.csv", f"{rows}{photos}/b/4.png,x,1\n".encode())
    table = ImageManifest.from_source(f"{root}/list.csv")
    assert table.paths[:3] == (f"{root}/b/1.png", f"{root}/c/2.png", f"{root}/none.png")
    (tmp_path / "list.csv").write_text(f"path,label\n{root}/b/1.png,x\nphotos/b/4.png,y\n")
    mixed = ImageManifest.from_source(tmp_path / "list.csv")
    assert mixed.paths == (f"{root}/b/1.png", str(photos / "b" / "4.png"))
    several = featx.extract(
        [f"{root}/b", str(photos / "c"), f"{root}/a/deep/0.png", f"{root}/none.png"],
        tmp_path / "f.h5",
        **NET,
    )
    assert (several.summary.extracted, several.summary.failed) == (7, 1)
    assert several.failures[0].reason == "no such file"
    with pytest.raises(ManifestError, match=r"found no images at any depth, expected files"):
        ImageManifest.from_source(f"{root}/nothing-here")


def test_a_file_url_is_a_path(photos: Path, tmp_path: Path) -> None:
    assert plain_path(f"file://{photos}") == str(photos)
    assert not is_url(f"file://{photos}")
    assert not is_url("C://x")
    store = featx.extract(f"file://{photos}", f"file://{tmp_path}/f.h5", **NET)
    assert store.paths[0] == str(photos / "a" / "deep" / "0.png")
    assert (tmp_path / "f.h5").is_file()
    assert featx.open_store(f"file://{tmp_path}/f.h5").shape == store.shape


def test_queries_and_pictures_come_from_urls_too(bucket: str, photos: Path) -> None:
    url = f"{bucket}/photos/b/4.png"
    assert decode_image(url).tobytes() == decode_image(photos / "b" / "4.png").tobytes()
    loaded = load_encoder(device="cpu", precision="float32", engine="torch")
    far = embed_images(loaded, [url, f"{bucket}/none.png"])
    near = embed_images(loaded, [str(photos / "b" / "4.png")])
    np.testing.assert_array_equal(far.features, near.features)
    assert far.failures == ((1, "no such file"),)
    extractor = featx.FeatureExtractor(device="cpu", precision="float32", engine="torch")
    np.testing.assert_array_equal(extractor.fit_transform([url]), near.features)


def test_many_names_of_one_folder_cost_one_listing(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = [f"{bucket}/many/{i:02}.png" for i in range(20)]
    for url in urls:
        put(url, b"x" * 7)
    single = {url: look(url) for url in urls}
    monkeypatch.setattr(_remote, "look", lambda url: 1 / 0)
    found = look_at_all([*urls, f"{bucket}/many/none.png"])
    assert found == single
    assert {file.size_bytes for file in found.values()} == {7}
    before = found[urls[3]]
    put(urls[3], b"y" * 7)
    after = look_at_all(urls)[urls[3]]
    assert (after.size_bytes, after.mtime_ns == before.mtime_ns) == (7, False)


def test_sizes_that_disagree_are_no_image(bucket: str) -> None:
    url = f"{bucket}/photos/b/4.png"
    from featx.images.decode import read_remote_file

    told = look(url)
    data, _ = read_remote_file(told)
    assert len(data) == told.size_bytes
    longer = RemoteFile(url, told.size_bytes + 1, told.mtime_ns)
    with pytest.raises(ImageDecodeError, match=r"bytes came of .* changed while it was read"):
        read_remote_file(longer)
    with pytest.raises(ImageDecodeError, match="expected at most 2147483648"):
        read_remote_file(RemoteFile(url, 2**31 + 1, 0))


def test_readers_wait_for_far_images_and_cannot_see_this_process_memory() -> None:
    far = [RemoteFile(f"s3://b/{i}.png", 1, 1) for i in range(100)]
    near = [f"/x/{i}.png" for i in range(100)]
    assert default_workers(far) == min(16, 4 * default_workers(near))
    assert default_workers([RemoteFile(f"memory://b/{i}.png", 1, 1) for i in range(100)]) == 0


@needs_s3
@pytest.mark.slow
def test_a_ray_cluster_and_shards_read_from_urls(s3: Server, photos: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("needs ray (featx[ray])")
    code = (
        "import sys, featx; url, folder = sys.argv[1:];"
        f"net = {NET!r};"
        "one = featx.extract(url, folder + '/one.h5', workers=0, **net);"
        "ray = featx.extract(url, folder + '/ray.h5', **{**net, 'engine': 'ray'},"
        "                    ray=featx.extraction.RayOptions(actors=1, images_per_shard=4));"
        "shards = [f'{i}/2' for i in (0, 1)];"
        "[featx.extract(url, folder + '/two.h5', shard=s, workers=0, **net) for s in shards];"
        "two = featx.open_store(folder + '/two.h5');"
        "print(*(repr((s.paths.tolist(), s.digests.tolist(), s[:].tolist())) == "
        "repr((one.paths.tolist(), one.digests.tolist(), one[:].tolist())) for s in (ray, two)));"
        "print(featx.extract(url, folder + '/ray.h5', **net).summary.reused)"
    )
    url = "s3://cluster"
    fs = _remote.filesystem(url)
    fs.mkdir("cluster")
    for path in sorted(photos.rglob("[0-9].png")):
        fs.pipe_file(f"cluster/{path.name}", path.read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", code, url, str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.stdout.split() == ["True", "True", "9"], done.stderr[-2000:]


# -- what is wrong with a URL -----------------------------------------------------------------


class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # fsspec leaves its session to the end
def test_an_http_server_is_listed_or_said_to_be_missing(photos: Path, tmp_path: Path) -> None:
    (photos / "b" / "x #1.png").write_bytes((photos / "b" / "1.png").read_bytes())
    (photos / "b" / ".x.png").unlink()
    handler = functools.partial(Files, directory=str(photos))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        found = featx.extract(f"{url}/b/", tmp_path / "f.h5", workers=0, **NET)
        here = featx.extract(photos / "b", tmp_path / "here.h5", workers=0, **NET)
        np.testing.assert_array_equal(found[:], here[:])
        with pytest.raises(
            ManifestError, match="cannot be listed \\(404, message='File not found'"
        ):
            ImageManifest.from_source(f"{url}/none.png")
        server.shutdown()
    with pytest.raises(ManifestError, match=r"cannot be listed \(Cannot connect to host 127"):
        ImageManifest.from_source(url)


def test_protocols_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ParameterError, match=r"protocol 'memry', expected one .*'memory'"):
        ImageManifest.from_source("memry://bucket/photos")
    with pytest.raises(ParameterError, match="in a chain"):
        ImageManifest.from_source("zip://x.zip::s3://bucket/photos")
    if importlib.util.find_spec("gcsfs") is None:
        with pytest.raises(MissingDependencyError, match=r"gs://b/photos.*gcsfs"):
            ImageManifest.from_source("gs://b/photos")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'featx\[remote\]'"):
        ImageManifest.from_source("s3://bucket/photos")


@needs_s3
def test_a_bucket_that_is_not_there_is_one_line(
    s3: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (
        ["extract", "s3://no-such-bucket/x", "--store", str(tmp_path / "f.h5")],
        ["extract", "s3://no-such-bucket/x.csv", "--store", str(tmp_path / "f.h5")],
        ["info", "s3://no-such-bucket/f.h5"],
        ["extract", str(tmp_path), "--store", "s3://no-such-bucket/f.h5"],
    ):
        picture(1).save(tmp_path / "one.png")
        assert main(words) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1, said
        assert "no-such-bucket" in said
        assert "expected" in said
    assert not (tmp_path / "f.h5").exists()


@needs_s3
def test_a_server_that_does_not_answer_ends_soon(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"  # nobody listens there
    run = "import sys; from featx.cli.main import main; sys.exit(main())"
    words = [sys.executable, "-c", run, "extract", "s3://b/x"]
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_REGION": "us-east-1"}
    start = time.monotonic()
    done = subprocess.run(
        [*words, "--store", str(tmp_path / "f.h5")],
        env={**os.environ, **keys, "AWS_ENDPOINT_URL": address},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert time.monotonic() - start < 60
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "cannot be listed (Could not connect" in done.stderr


# -- stores -----------------------------------------------------------------------------------


def test_a_store_at_a_url_from_the_command_line(
    bucket: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"{bucket}/out/f.h5"
    net = ["--device", "cpu", "--precision", "float32", "--engine", "torch"]
    assert main(["extract", f"{bucket}/photos", "--store", url, *net, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["extracted"], first["failed"]) == (9, 0)
    local = tmp_path / "local.h5"
    _remote.filesystem(url).get_file(_remote.filesystem(url)._strip_protocol(url), str(local))
    assert verify_store(local).ok
    here = featx.extract(photos, tmp_path / "here.h5", **NET)
    np.testing.assert_array_equal(featx.open_store(local)[:], here[:])
    for words, key, value in (
        (["extract", f"{bucket}/photos", "--store", url, *net], "reused", 9),
        (["info", url], "n_samples", 9),
        (["verify", url], "ok", True),
        (["export", url, str(tmp_path / "x.npz")], None, None),
        (["index", url, "--out", str(tmp_path / "i")], "n_samples", 9),
        (["train", url, "--out", str(tmp_path / "m")], "classes", ["a/deep", "b", "c"]),
    ):
        assert main([*words, "--json"]) == 0, words
        said = json.loads(capsys.readouterr().out)
        assert key is None or said[key] == value
    image = f"{bucket}/photos/b/4.png"
    assert main(["query", str(tmp_path / "i"), image, "-k", "1", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["matches"][0]["path"] == image


def copies(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").rglob("f.h5"))


def test_a_reading_downloads_only_what_has_changed(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pickle

    url = f"{bucket}/f.h5"
    write_features(url, np.eye(3), paths=["a", "b", "c"]).close()
    calls, real = [], store_remote.Copy.download
    monkeypatch.setattr(
        store_remote.Copy, "download", lambda *args: (calls.append(1), real(*args))
    )
    with featx.open_store(url) as store:
        np.testing.assert_array_equal(store[:], np.eye(3))
        assert pickle.loads(pickle.dumps(store)).path == url
    assert calls == []  # this machine wrote it
    (copy,) = copies(tmp_path)
    copy.unlink()
    for _ in range(2):
        np.testing.assert_array_equal(featx.open_store(url)[1], [0, 1, 0])
    assert calls == [1]
    other = tmp_path / "other.h5"
    write_features(other, np.eye(2), paths=["x", "y"]).close()
    put(url, other.read_bytes())
    assert featx.open_store(url).paths.tolist() == ["x", "y"]
    assert calls == [1, 1]
    put(url, other.read_bytes()[:3000])
    assert not verify_store(url).ok
    with pytest.raises(FileFormatError, match=r"f\.h5"):
        featx.open_store(url)
    with pytest.raises(FileNotFoundError, match=r"none\.h5': not found, expected a store"):
        featx.open_store(f"{bucket}/none.h5")


def test_what_was_not_put_there_is_put_there_by_the_next_run(
    bucket: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    url = f"{bucket}/f.h5"
    featx.extract(photos / "b", url, **NET).close()
    monkeypatch.setattr(store_remote.Copy, "upload", lambda _: (_ for _ in ()).throw(SystemExit))
    with pytest.raises(SystemExit):  # as if killed
        featx.extract(photos, url, **NET)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert len(featx.open_store(url)) == 9
    assert "there is more than at the URL" in caplog.text
    again = featx.extract(photos, url, **NET)
    assert (again.summary.extracted, again.summary.reused) == (0, 9)
    (copy,) = copies(tmp_path)
    copy.unlink()
    caplog.clear()
    assert len(featx.open_store(url)) == 9
    assert "featx" not in {record.name.partition(".")[0] for record in caplog.records}


def test_a_run_that_was_killed_after_it_put_the_store_there_is_believed(
    bucket: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{bucket}/f.h5"
    featx.extract(photos / "b", url, **NET).close()
    monkeypatch.setattr(
        store_remote.Copy, "write_down", lambda *_: (_ for _ in ()).throw(SystemExit)
    )
    with pytest.raises(SystemExit):
        featx.extract(photos, url, **NET)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    again = featx.extract(photos, url, **NET)
    assert (again.summary.extracted, again.summary.reused) == (0, 9)
    (copy,) = copies(tmp_path)
    copy.unlink()
    assert len(featx.open_store(url)) == 9


def test_two_processes_of_one_machine_take_turns(bucket: str, photos: Path) -> None:
    url = f"{bucket}/f.h5"
    featx.extract(photos / "b", url, **NET).close()
    with working_copy(url) as copy:
        with pytest.raises(StoreWriteError, match="another writer has it open"):
            featx.extract(photos, url, **NET)
        other = copy.with_name("other.h5")
        write_features(other, np.eye(2), paths=["x", "y"]).close()
        put(url, other.read_bytes())  # which would replace the copy under the writer's feet
        assert len(featx.open_store(url)) == 3
    assert featx.open_store(url).paths.tolist() == ["x", "y"]


def test_two_machines_do_not_overwrite_each_other(
    bucket: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{bucket}/f.h5"
    featx.extract(photos / "b", url, **NET).close()
    other = tmp_path / "other.h5"
    write_features(other, np.eye(2), paths=["x", "y"]).close()
    real = StoreWriter.close

    def meanwhile(writer: StoreWriter) -> None:
        real(writer)
        put(url, other.read_bytes())

    monkeypatch.setattr(StoreWriter, "close", meanwhile)
    with pytest.raises(StoreWriteError, match="somebody else has changed it since the copy"):
        featx.extract(photos, url, **NET)
    monkeypatch.setattr(StoreWriter, "close", real)
    with pytest.raises(StoreWriteError, match=r"remove it, and run again"):
        featx.extract(photos, url, **NET)
    (copy,) = copies(tmp_path)
    assert len(featx.open_store(copy)) == 9  # nothing of this machine's is lost
    copy.unlink()
    merged = featx.extract(photos, url, **NET)
    assert sorted(t.n_samples for t in merged.tables) == [2, 9]


@pytest.mark.parametrize("cut", [0, 2000, -1], ids=["empty", "cut short", "a byte less"])
def test_a_damaged_copy_never_replaces_what_is_at_the_url(
    bucket: str, photos: Path, tmp_path: Path, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"{bucket}/f.h5"
    featx.extract(photos / "b", url, **NET).close()
    whole = _remote.filesystem(url).cat_file(url)
    (copy,) = copies(tmp_path)
    copy.write_bytes(whole[:cut])
    assert len(featx.open_store(url)) == len(featx.open_store(copy)) > 0
    assert f"is damaged; it is kept as {copy}.damaged" in caplog.text
    copy.write_bytes(whole[:cut])
    found = featx.extract(photos / "b", url, **NET)
    assert (found.summary.extracted, found.summary.reused) == (0, len(found))
    assert _remote.filesystem(url).cat_file(url) == whole
    assert Path(f"{copy}.damaged").read_bytes() == whole[:cut]


def test_a_store_that_is_damaged_at_the_url_is_said_and_left_there(
    bucket: str, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"{bucket}/f.h5"
    featx.extract(photos / "b", url, **NET).close()
    put(url, b"\x89HDF\r\n\x1a\n and no more")
    for read in (featx.open_store, lambda url: featx.extract(photos / "b", url, **NET)):
        for _ in range(2):
            with pytest.raises(FileFormatError, match=r"f\.h5"):
                read(url)
    assert _remote.filesystem(url).cat_file(url) == b"\x89HDF\r\n\x1a\n and no more"
    assert "is kept as" not in caplog.text  # the copy is what is there


def test_a_place_that_cannot_be_written_keeps_the_copy(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs = _remote.filesystem("memory://x")

    def denied(*_, **__):
        raise PermissionError

    monkeypatch.setattr(type(fs), "put_file", denied)
    with pytest.raises(StoreWriteError, match=r"\(access denied\).*everything is committed in"):
        featx.extract(photos, "memory://denied/f.h5", **NET)
    (copy,) = copies(tmp_path)
    assert len(featx.open_store(copy)) == 9
    with pytest.raises(ParameterError, match="extraction by several processes, expected a path"):
        featx.extract(photos, "memory://denied/f.h5", shard="0/2", **NET)
