"""The JSON API: answers, limits, refusals, batching, and that no path leaves the server."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

import featx
from featx.demo import sample_data_dir
from featx.errors import BackboneError, FingerprintMismatchError, ParameterError
from featx.estimators import save_model
from featx.serve import ServeOptions, create_app, open_service
from featx.serve._batcher import Batcher
from featx.serve._limits import TokenBuckets

CLASSES = ("apple", "car", "clock", "fish")
TOKEN = "s3cret-and-long"
JPEG = {"content-type": "image/jpeg"}
HERE = "http://127.0.0.1:8000"


class World:
    """An index and a model of 56 sample images, in a folder whose name must never be answered."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in CLASSES:
            shutil.copytree(sample_data_dir() / "objects" / name, root / "images" / name)
        self.index, self.model = str(root / "index"), str(root / "model")
        store = featx.extract(root / "images", root / "f.h5", workers=0, progress=False)
        featx.RetrievalIndex().fit(store).save(self.index)
        self.paths = [Path(p) for p in store.paths]
        clf = featx.LinearProbeClassifier().fit(store[:], store.labels)
        save_model(clf, self.model, recipe=store.recipe)
        self.answers: list[bytes] = []

    def client(self, *, model: bool = True, index: str | None = None, **options) -> TestClient:
        options = ServeOptions(**({"rate": 0} | options))
        service = open_service(
            index or self.index, model=self.model if model else None, options=options
        )
        client = TestClient(create_app(service), base_url=HERE, raise_server_exceptions=False)
        client.event_hooks["response"] = [self._check]
        return client

    def _check(self, response) -> None:
        """Every answer whatsoever: no path in it, refusals are JSON, headers are there."""
        body = response.read()
        whole = body + repr(response.headers).encode()
        assert str(self.root).encode() not in whole
        assert self.root.name.encode() not in whole
        assert b"Traceback" not in body
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "unsafe" not in response.headers["content-security-policy"]
        if response.status_code >= 400 and response.request.method != "HEAD":
            assert list(json.loads(body)) == ["error"]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("secret-place"))


@pytest.fixture(scope="module")
def client(world):
    with world.client() as client:
        yield client


def ask(client, data: bytes, query: str = "", headers=JPEG, **more):
    return client.post(f"/api/query{query}", content=data, headers=headers, **more)


def test_query_answers_as_the_library_does(world, client) -> None:
    image = sample_data_dir() / "objects" / "chair" / "chair_00.jpg"
    expected = featx.RetrievalIndex.load(world.index).query(str(image), k=7)
    found = ask(client, image.read_bytes(), "?k=7").json()
    assert [m["row"] for m in found["matches"]] == expected.indices.tolist()
    assert [m["label"] for m in found["matches"]] == expected.labels.tolist()
    distances = [m["distance"] for m in found["matches"]]
    np.testing.assert_allclose(distances, expected.distances, atol=1e-6)
    assert {m["name"] for m in found["matches"]} == {None}


def test_an_image_of_infinite_features_spoils_no_other_of_its_batch(world, monkeypatch) -> None:
    images = [path.read_bytes() for path in world.paths[:2]]
    with world.client(wait_ms=500) as client:
        loaded = type(client.app.state.service.network)
        real = loaded.embed_views

        def embed_views(self, images):
            vectors = real(self, images)
            vectors[0, 3] = np.inf
            return vectors

        monkeypatch.setattr(loaded, "embed_views", embed_views)
        with ThreadPoolExecutor(2) as threads:
            answers = list(threads.map(lambda data: ask(client, data), images))
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [200, 422]
    (refused,) = [answer for answer in answers if answer.status_code == 422]
    assert "not finite" in refused.json()["error"]


def test_the_model_labels_the_query(world, client) -> None:
    found = ask(client, world.paths[0].read_bytes()).json()["prediction"]
    assert found["labels"] == ["apple"]
    assert found["scores"][0]["label"] == "apple"
    assert sum(s["probability"] for s in found["scores"]) == pytest.approx(1)
    with world.client(model=False) as without:
        assert ask(without, world.paths[0].read_bytes()).json()["prediction"] is None


def test_a_label_filters_as_a_search_of_these_rows_alone(world, client) -> None:
    index = featx.RetrievalIndex.load(world.index)
    image = world.paths[0]
    every = index.query(str(image), k=len(world.paths))
    expected = [int(r) for r, n in zip(every.indices, every.labels, strict=True) if n == "fish"]
    found = ask(client, image.read_bytes(), "?k=100&label=fish").json()["matches"]
    assert [m["row"] for m in found] == expected
    response = ask(client, image.read_bytes(), "?label=fisch")
    assert response.status_code == 422
    assert "Did you mean 'fish'?" in response.json()["error"]


def test_neighbours_of_a_row_leave_it_out(world, client) -> None:
    index = featx.RetrievalIndex.load(world.index)
    expected = index.kneighbors(None, 5, return_distance=False)
    for row in (0, 20, 55):
        found = client.get(f"/api/neighbours/{row}?k=5").json()
        assert [m["row"] for m in found["matches"]] == expected[row].tolist()
        assert found["prediction"]["labels"]
    assert client.get("/api/neighbours/56").status_code == 404
    assert client.get("/api/neighbours/9223372036854775808").status_code == 422
    assert client.get(f"/api/neighbours/{'9' * 5000}").status_code == 422
    assert client.get("/api/neighbours/-1").status_code == 422


def test_near_duplicates_are_marked_and_grouped(tmp_path) -> None:
    """Copies of the query, and copies of another match, each under the first of its kind."""
    vectors = np.zeros((6, 1280), np.float32)
    vectors[:, 0] = 1
    vectors[1, 1] = 1e-3
    vectors[2:5, 2] = 1
    vectors[3, 3] = 1e-3
    vectors[5, 4] = 5
    from featx.serve._database import Database

    database = Database(featx.RetrievalIndex().fit(vectors), "index", copy_distance=0.001)
    found = database.nearest(vectors[0], 5, leave_out=0)
    assert [(m.row, m.is_copy, m.copy_of) for m in found] == [
        (1, True, None), (2, False, None), (4, False, 2), (3, False, 2), (5, False, None),
    ]  # fmt: skip


def test_thumbnails_are_small_jpegs_by_row(world, client) -> None:
    response = client.get("/thumbnails/3")
    assert response.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(response.content)) as image:
        assert max(image.size) <= 288
    for path in ("/thumbnails/..%2f..%2findex", "/thumbnails/index", "/static/..%2fapp.py"):
        assert client.get(path).status_code in (404, 422)


def test_a_missing_image_has_no_thumbnail_and_no_path(world, tmp_path) -> None:
    store = featx.open_store(world.root / "f.h5")
    gone = [f"{world.root}/gone/{i}.jpg" for i in range(len(world.paths))]
    featx.RetrievalIndex().fit(store, ids=gone).save(tmp_path / "index")
    with world.client(index=str(tmp_path / "index")) as client:
        response = client.get("/thumbnails/0")
        assert response.status_code == 404
        assert response.json()["error"] == "row 0: its image cannot be shown: No such file"


def test_names_are_shown_on_request_without_folders(world) -> None:
    with world.client(show_names=True) as client:
        found = ask(client, world.paths[0].read_bytes()).json()["matches"]
    assert found[0]["name"] == world.paths[0].name


def test_a_batch_answers_in_order_and_names_the_bad(world, client) -> None:
    data = [world.paths[i].read_bytes() for i in (0, 20)]
    images = [base64.b64encode(d).decode() for d in (data[0], b"nothing", data[1])]
    found = client.post("/api/query/batch?k=3", json={"images": images}).json()["results"]
    assert found[0]["matches"][0]["row"] == 0
    assert found[1]["error"].startswith("image: not a JPEG")
    assert found[2]["matches"][0]["row"] == 20


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422), (b"{", 422), (b"[]", 422), (b"{}", 422), (b'{"images": []}', 422),
        (b'{"images": "AAAA"}', 422), (b'{"images": [1]}', 422), (b'{"images": ["!"]}', 422),
        (b'{"images": ["AAAA"]}', 422), (b'{"images": ["AAAA"], "k": 1}', 422),
        (b'{"images": [' + b",".join([b'"AAAA"'] * 33) + b"]}", 422),
        (b"[" * 100_000, 422), (b"\xff\xfe", 422), (b"1" * 5000, 422), (b"NaN", 422),
        (b'{"images": ["' + b"A" * 3_000_000 + b'"]}', 413),
    ],
)  # fmt: skip
def test_a_bad_batch_is_refused(world, body, status) -> None:
    with world.client(max_upload_mb=1) as client:
        response = client.post(
            "/api/query/batch", content=body, headers={"content-type": "application/json"}
        )
        as_text = client.post("/api/query/batch", content=body)
    assert response.status_code == status
    assert as_text.status_code == 415


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = [
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def header(width: int, height: int) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)


def malformed() -> dict[str, bytes]:
    """Uploads that are no image, or one that is not to be decoded."""
    file = io.BytesIO()
    Image.effect_noise((200, 150), 80).convert("RGB").save(file, "JPEG")
    jpeg = file.getvalue()
    found = {
        "text": b"hello", "html": b"<html><script>alert(1)</script>", "zero byte": b"\0",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        "json": b'{"image": 1}', "pickle": b"\x80\x04\x95", "zip": b"PK\x03\x04" + b"\0" * 99,
        "pdf": b"%PDF-1.7", "eps": b"%!PS-Adobe-3.0 EPSF-3.0", "elf": b"\x7fELF" + b"\0" * 99,
        "hdf5": b"\x89HDF\r\n\x1a\n", "spaces": b" " * 10_000, "zeros": b"\0" * 100_000,
        "ones": b"\xff" * 100_000, "path": b"/etc/passwd", "url": b"http://169.254.169.254/",
        "jpeg magic": b"\xff\xd8\xff", "png magic": b"\x89PNG\r\n\x1a\n", "gif magic": b"GIF89a",
        "webp magic": b"RIFF\x10\0\0\0WEBPVP8 ", "bmp magic": b"BM", "tiff magic": b"II*\0",
        "ppm magic": b"P6", "ppm of text": b"P6 a b 255\n", "avif magic": b"\0\0\0\x1cftypavif",
        "png bomb": png(header(2**31 - 1, 2**31 - 1), (b"IDAT", zlib.compress(b"\0" * 10**6))),
        "png too large": png(header(20_000, 20_000), (b"IDAT", zlib.compress(b"\0" * 10**6))),
        "png of no pixels": png(header(0, 5)), "png without data": png(header(5, 5)),
        "png text bomb": png(
            header(5, 5), (b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 50_000_000))
        ),
        "gif bomb": b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x80\0\0" + b"\0" * 99,
        "bmp bomb": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 99, 0, 0, 54, 40, 2**30, 2**30, 1, 24,
                                          0, 0, 0, 0, 0, 0),
        "ppm bomb": b"P6 99999999 99999999 255\n", "pgm of huge numbers": b"P5 " + b"9" * 5000,
        "tiff loop": b"II*\0\x08\0\0\0\x01\0\0\x01\x04\0\x01\0\0\0\x05\0\0\0\x08\0\0\0",
        "elongated": png(header(100_000_000, 1), (b"IDAT", zlib.compress(b"\0" * 10))),
    }  # fmt: skip
    for i in (1, 20, 200, len(jpeg) // 2):
        found[f"jpeg cut at {i}"] = jpeg[:i]
    found["jpeg in jpeg header"] = jpeg[:30] + jpeg[: len(jpeg) // 3]
    return found


MALFORMED = malformed()


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_upload_is_refused_in_json(client, name) -> None:
    response = ask(client, MALFORMED[name])
    assert response.status_code == 422, response.text
    assert len(response.content) < 600


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 415),
        ({"content-type": ""}, 415),
        ({"content-type": "text/html"}, 415),
        ({"content-type": "image/svg+xml"}, 415),
        ({"content-type": "multipart/form-data; boundary=x"}, 422),
        ({"content-type": "image/" + "j" * 8000}, 415),
        (JPEG | {"content-length": "99999999999"}, 413),
        (JPEG | {"content-length": "9" * 4000}, 413),
        (JPEG | {"content-length": "-1"}, 413),
        (JPEG | {"content-length": "many"}, 413),
        (JPEG | {"host": "evil.example"}, 421),
        (JPEG | {"host": "evil.example:8000"}, 421),
        (JPEG | {"host": "127.0.0.1.evil.example"}, 421),
        (JPEG | {"host": ""}, 421),
    ],
    ids=str,
)
def test_odd_headers_are_refused(client, headers, status) -> None:
    response = client.post("/api/query", content=b"\xff\xd8\xff", headers=headers)
    assert response.status_code == status, response.text
    assert len(response.content) < 600


def test_names_of_this_machine_are_let_in(client) -> None:
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1:8000", "[::1]:8000", "[::1]"):
        assert client.get("/health", headers={"host": host}).status_code == 200


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from(
        [b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"P6 "]
    ),
    rest=st.binary(max_size=300),
)
def test_any_bytes_are_answered_in_json(client, start, rest) -> None:
    response = ask(client, start + rest)
    assert response.status_code in (200, 422), response.text


def test_uploads_over_the_limit_are_refused_with_and_without_a_length(world) -> None:
    with world.client(max_upload_mb=0.01) as client:
        assert ask(client, b"\0" * 10_001).status_code == 413
        assert ask(client, iter([b"\0" * 5000] * 3)).status_code == 413  # chunked
        assert ask(client, iter([b"\0" * 5000] * 30)).status_code == 413
        assert ask(client, b"\0" * 10_000).status_code == 422
    with world.client(max_pixels=100) as client:
        error = ask(client, world.paths[0].read_bytes()).json()["error"]
        assert "expected at most 100" in error


def test_a_token_guards_everything_but_the_page(world) -> None:
    with world.client(token=TOKEN) as client:
        for path in ("/api/index", "/api/neighbours/0", "/thumbnails/0", "/metrics", "/nope"):
            for header in (
                None,
                "",
                TOKEN,
                f"Bearer {TOKEN[:-1]}",
                f"Bearer {TOKEN}x",
                "Bearer é",
            ):
                headers = {} if header is None else {"authorization": header.encode("utf-8")}
                response = client.get(path, headers=headers)
                assert response.status_code == 401
                assert response.headers["www-authenticate"] == "Bearer"
        assert ask(client, world.paths[0].read_bytes()).status_code == 401
        headers = {"authorization": f"Bearer {TOKEN}"}
        assert client.get("/api/index", headers=headers).status_code == 200
        for path in ("/", "/static/app.js", "/health", "/openapi.json"):
            assert client.get(path).status_code == 200


def test_a_client_that_asks_too_often_has_to_wait(world) -> None:
    with world.client(rate=0.2) as client:
        codes = [client.get("/api/index").status_code for _ in range(4)]
        response = client.get("/api/index")
    assert codes == [200, 200, 429, 429]
    assert int(response.headers["retry-after"]) <= 6


def test_wrong_tokens_count_against_the_rate(world) -> None:
    with world.client(rate=0.2, token=TOKEN) as client:
        assert [client.get("/api/index").status_code for _ in range(3)] == [401, 401, 429]


def test_a_batch_counts_as_many_requests_as_it_has_images(world) -> None:
    data = base64.b64encode(world.paths[0].read_bytes()).decode()
    with world.client(rate=0.5) as client:
        statuses = [
            client.post("/api/query/batch", json={"images": [data] * 4}).status_code
            for _ in range(2)
        ]
    assert statuses == [200, 429]


def test_addresses_of_one_ipv6_network_share_a_bucket() -> None:
    buckets = TokenBuckets(rate=0.1, clock=lambda: 0.0)
    assert buckets.wait_s("2001:db8::1", 1) == 0
    assert buckets.wait_s("2001:db8::2", 1) == 10
    assert buckets.wait_s("2001:db8:0:1::1", 1) == 0
    for i in range(20_000):
        buckets.wait_s(f"client {i}", 1)
    assert len(buckets._buckets) == 10_000


def test_concurrent_queries_share_passes_and_answer_as_single_ones(world) -> None:
    """Else each would run alone, or one would get another's answer."""
    chosen = [world.paths[i].read_bytes() for i in range(0, 56, 2)]
    with world.client(batch_size=8, wait_ms=100) as client:
        single = [ask(client, data).json() for data in chosen]
        service = client.app.state.service
        before = sum(service.batcher.sizes)
        assert before == len(chosen)
        with ThreadPoolExecutor(len(chosen)) as pool:
            together = list(pool.map(lambda data: ask(client, data).json(), chosen))
        n_batches = sum(service.batcher.sizes) - before
        metrics = client.get("/metrics").text
    assert n_batches < len(chosen) / 2
    assert f"featx_batches_total {before + n_batches}.0\n" in metrics
    assert f"featx_batched_total {2 * len(chosen)}.0\n" in metrics
    for one, other in zip(single, together, strict=True):
        assert one["matches"][0]["row"] == other["matches"][0]["row"]
        np.testing.assert_allclose(
            [m["distance"] for m in one["matches"]],
            [m["distance"] for m in other["matches"]],
            atol=2e-3,  # bfloat16: a batch of another size rounds otherwise
        )


def test_the_batcher_outlives_errors_and_finishes_before_it_ends() -> None:
    gate = threading.Event()

    def run(items):
        gate.wait(5)
        if "bad" in items:
            raise ValueError("bad item")
        return [item.upper() for item in items]

    batcher = Batcher(run, size=1, wait_s=0)
    futures = [batcher.submit(item) for item in ("a", "bad", "b", "c")]
    assert futures[3].cancel()
    threading.Timer(0.1, gate.set).start()
    batcher.close()
    assert futures[0].result(0) == "A"
    assert futures[2].result(0) == "B"
    with pytest.raises(ValueError, match="bad item"):
        futures[1].result(0)
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit("late")


def test_images_are_added_and_removed_with_a_token_only(world, tmp_path) -> None:
    shutil.copy(world.index, tmp_path / "index")
    image = (sample_data_dir() / "objects" / "chair" / "chair_00.jpg").read_bytes()
    index, mine = str(tmp_path / "index"), JPEG | {"authorization": f"Bearer {TOKEN}"}
    with world.client(index=index, writable=True, token=TOKEN) as client:
        assert client.post("/api/add?label=chair", content=image, headers=JPEG).status_code == 401
        assert client.delete("/api/images/0").status_code == 401
        add = {"content": image, "headers": mine}
        assert "expected one" in client.post("/api/add", **add).json()["error"]
        added = client.post("/api/add?label=chair", **add).json()
        assert (added["row"], added["n_samples"]) == (56, 57)
        again = client.post("/api/add?label=chair", **add)
        assert (again.status_code, again.json()["error"][-6:]) == (409, "row 56")
        bad = client.post("/api/add?label=chair", content=b"no", headers=mine)
        assert bad.status_code == 422
        assert ask(client, image, "?k=1&label=chair", mine).json()["matches"][0]["row"] == 56
        assert client.get("/thumbnails/56", headers=mine).status_code == 200
        assert client.delete("/api/images/3", headers=mine).status_code == 204
        assert client.delete("/api/images/3", headers=mine).status_code == 404
        # rows keep their numbers
        assert ask(client, image, "?k=1", mine).json()["matches"][0]["row"] == 56
        found = ask(client, world.paths[4].read_bytes(), "?k=1", mine).json()
        assert found["matches"][0]["row"] == 4
        assert client.get("/health").json()["n_samples"] == 56
    after = featx.RetrievalIndex.load(index)
    assert str(world.paths[3]) not in after.ids_.tolist()
    kept = Path(after.ids_[-1])
    assert (kept.parent, kept.read_bytes()) == (tmp_path / "index.images", image)
    with world.client(index=index, writable=True, token=TOKEN) as client:
        assert client.delete("/api/images/55", headers=mine).status_code == 204
    assert not kept.exists()


def test_a_full_disk_changes_nothing(world, tmp_path, monkeypatch) -> None:
    from featx.errors import StoreWriteError

    shutil.copy(world.index, tmp_path / "index")
    headers = JPEG | {"authorization": f"Bearer {TOKEN}"}
    image = (sample_data_dir() / "objects" / "chair" / "chair_01.jpg").read_bytes()

    def full(*_):
        raise StoreWriteError(f"index {tmp_path}: cannot be written (No space left on device)")

    monkeypatch.setattr("featx.retrieval.RetrievalIndex.save", full)
    with world.client(index=str(tmp_path / "index"), writable=True, token=TOKEN) as client:
        response = client.post("/api/add?label=chair", content=image, headers=headers)
        assert response.status_code == 507
        assert str(tmp_path) not in response.text
        assert client.delete("/api/images/0", headers=headers).status_code == 507
        assert client.get("/health").json()["n_samples"] == 56
        assert client.get("/thumbnails/0", headers=headers).status_code == 200
    assert list((tmp_path / "index.images").iterdir()) == []


def test_without_writable_there_is_nothing_to_write_with(world) -> None:
    with world.client(token=TOKEN) as client:
        headers = JPEG | {"authorization": f"Bearer {TOKEN}"}
        assert client.post("/api/add", content=b"x", headers=headers).status_code == 404
        assert client.delete("/api/images/0", headers=headers).status_code == 404
        assert "/api/add" not in client.get("/openapi.json").json()["paths"]


def test_the_page_asks_no_other_host_and_has_nothing_inline(client) -> None:
    for path in ("/", "/docs"):
        page = client.get(path).text
        assert not re.search(r"<script(?![^>]*src=)|<style|style=|\son\w+=", page)
    for path in ("/", "/docs", "/static/app.js", "/static/docs.js", "/static/app.css"):
        response = client.get(path)
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", response.text)
        tag = {"if-none-match": response.headers["etag"]}
        assert client.get(path, headers=tag).status_code == 304
        whole = client.get(path, headers={"range": "x" * 999})
        assert (whole.status_code, whole.content) == (200, response.content)
    assert client.get("/redoc").status_code == 404
    for name in ("app.py", "%2e%2e", "%2e%2e%2f_app.py", "..%5c_app.py"):
        assert client.get(f"/static/{name}").status_code == 404
    assert client.put("/api/query").status_code == 405


def test_a_fault_is_a_500_in_json_without_a_traceback(world, monkeypatch, caplog) -> None:
    with world.client() as client:
        service = client.app.state.service
        monkeypatch.setattr(type(service.network), "embed_views", lambda *_: 1 / 0)
        response = ask(client, world.paths[0].read_bytes())
        monkeypatch.undo()
        assert response.status_code == 500
        assert "ZeroDivisionError" not in response.text
        assert ask(client, world.paths[0].read_bytes()).status_code == 200
    assert "fault while answering POST /api/query" in caplog.text


def test_metrics_count_by_route_not_by_address(client) -> None:
    client.get("/some/secret/address")
    client.get("/api/neighbours/7")
    text = client.get("/metrics").text
    assert "secret" not in text
    assert 'featx_requests_total{route="/api/neighbours/{row}",status="200"}' in text
    for line in text.splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) \w+ .+|\w+(\{(\w+="[^"]*",?)+\})? [\d.e+-]+', line), (
            line
        )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"host": "0.0.0.0"}, "host: got '0.0.0.0' without a token"),
        ({"host": "example.org"}, "host: got 'example.org' without a token"),
        ({"writable": True}, "writable: got no token"),
        ({"token": ""}, "token: got 0 characters"),
        ({"token": "a b"}, "token: got 3 characters"),
        ({"port": 70_000}, "port: got 70000, expected a number from 0 to 65535"),
        ({"batch_size": 0}, "batch_size: got 0"),
        ({"rate": float("nan")}, "rate: got nan"),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused(options, says) -> None:
    with pytest.raises(ParameterError, match=re.escape(says)):
        ServeOptions(**options)


def test_an_index_of_unknown_origin_is_refused(tmp_path) -> None:
    featx.RetrievalIndex().fit(np.eye(3)).save(tmp_path / "index")
    with pytest.raises(BackboneError, match="made outside featx"):
        open_service(str(tmp_path / "index"))


def test_a_model_of_other_features_is_refused(world, tmp_path) -> None:
    clf = featx.LinearProbeClassifier().fit(np.eye(4), ["a", "b", "a", "b"])
    save_model(clf, tmp_path / "model")
    with pytest.raises(FingerprintMismatchError, match="4 features, expected 1280"):
        open_service(world.index, model=str(tmp_path / "model"))


def test_attributes_are_all_that_are_more_probable_than_not(world, tmp_path) -> None:
    from featx.serve._labeller import Labeller
    from featx.store import open_store

    store = open_store(world.root / "f.h5")
    Y = np.stack([store.labels == "apple", store.labels != "car", store.labels == "fish"], 1)
    clf = featx.AttributeClassifier().fit(store[:], Y.astype(int))
    save_model(clf, tmp_path / "model", recipe=store.recipe)
    label = Labeller(str(tmp_path / "model"), store.recipe)
    for row, found in zip(clf.predict_proba(store[::9]), label(store[::9]), strict=True):
        likely = [i for i in np.argsort(-row) if row[i] > 0.5]
        assert found.labels == [label.names[i] for i in likely]
        assert [s.probability for s in found.scores] == pytest.approx(sorted(row, reverse=True))
