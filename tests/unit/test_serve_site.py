"""The API on somebody's site: other origins, forms, columns, content ids, vectors, a new index."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import featx
from featx import RetrievalIndex
from featx.demo import sample_data_dir
from featx.errors import ParameterError
from featx.retrieval import InstanceIndex
from featx.serve import ServeOptions, _app, create_app, open_service
from featx.serve._bodies import image_of_form
from featx.serve._refusal import RefusalError

SHOP = "https://shop.example"
TOKEN, WRITE = "s3cret-and-long", "other-s3cret-and-long"
FOLDER = sample_data_dir() / "objects"
PRICES = ("5", "12.5", "20", "", "99")


class Site:
    """An index of 28 sample images with further columns."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = sorted((FOLDER / "apple").glob("*.jpg")) + sorted((FOLDER / "car").glob("*"))
        self.rows = [
            {
                "path": str(path),
                "label": path.parent.name,
                "price": PRICES[i % 5],
                "colour": ("red", "green")[i % 2],
                "page": f"https://shop.example/{i}",
            }
            for i, path in enumerate(self.paths)
        ]
        with (root / "images.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
        with featx.extract(root / "images.csv", root / "f.h5", workers=0, progress=False) as store:
            self.vectors = store[:]
            RetrievalIndex().fit(store).save(root / "index")

    def client(self, index: Path | None = None, **options) -> TestClient:
        service = open_service(
            str(index or self.root / "index"), options=ServeOptions(**({"rate": 0} | options))
        )
        return TestClient(
            create_app(service), base_url="http://127.0.0.1:8000", raise_server_exceptions=False
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def client(site):
    with site.client() as client:
        yield client


@pytest.fixture(scope="module")
def small(site):
    with site.client(max_upload_mb=0.01) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(_app, "LOOK_S", 0.05)


def until(condition) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


# -- columns, ids and filters ---------------------------------------------------------------------


def test_answers_have_the_columns_and_the_content_of_each_row(site, client) -> None:
    for match in client.get("/api/neighbours/0?k=20").json()["matches"]:
        row = site.rows[match["row"]]
        assert match["metadata"] == {k: row[k] for k in ("price", "colour", "page")}
        assert match["id"] == digest(Path(row["path"]).read_bytes())
        assert (match["path"], match["name"]) == (None, None)


def test_an_id_stands_wherever_a_row_does(site, client) -> None:
    name = digest(site.paths[3].read_bytes())
    by_row = client.get("/api/neighbours/3").json()
    assert client.get(f"/api/neighbours/{name}").json() == by_row
    assert (by_row["query"]["row"], by_row["query"]["id"]) == (3, name)
    assert client.get(f"/thumbnails/{name}").content == client.get("/thumbnails/3").content
    response = client.get(f"/api/neighbours/{'0' * 64}")
    assert (response.status_code, "is not in the index" in response.json()["error"]) == (404, True)


def test_paths_are_shown_on_request(site) -> None:
    with site.client(show_paths=True) as client:
        found = client.get("/api/neighbours/0?k=1").json()["matches"][0]
        path = str(site.paths[found["row"]])
        assert (found["path"], found["name"]) == (path, Path(path).name)
        chosen = client.get("/api/neighbours/0", params={"filter": f"id={path}"}).json()
        assert [m["row"] for m in chosen["matches"]] == [found["row"]]


def test_columns_that_are_not_shown_cannot_be_asked_about(site) -> None:
    with site.client(columns=("colour",)) as client:
        assert [c["name"] for c in client.get("/api/index").json()["columns"]] == ["colour"]
        found = client.get("/api/neighbours/0?k=1").json()["matches"][0]
        assert list(found["metadata"]) == ["colour"]
        for asked in ("price<=5", f"id={site.paths[0]}"):
            response = client.get("/api/neighbours/0", params={"filter": asked})
            assert response.status_code == 422
            assert "expected one of 'colour' or 'label'" in response.json()["error"]


def test_the_index_says_how_each_column_is_filtered(client) -> None:
    about = client.get("/api/index").json()
    columns = {c.pop("name"): c for c in about["columns"]}
    assert columns["price"] == {"kind": "number", "minimum": 5, "maximum": 99, "values": []}
    assert columns["colour"]["values"] == ["green", "red"]
    assert columns["page"]["kind"] == "link"
    assert about["link_column"] == "page"


@pytest.mark.parametrize(
    "filters",
    [
        ["price<=20"],
        ["price>12.5", "price<99"],
        ["colour=red", "label=car"],
        ["colour!=red", "price>=5"],
        ["price=5", "price=99"],
    ],
    ids=str,
)
def test_filters_are_those_of_the_library(site, client, filters) -> None:
    index = RetrievalIndex.load(site.root / "index")
    expected = index.query(str(site.paths[0]), k=100, filter=filters).indices.tolist()
    headers = {"content-type": "image/jpeg"}
    asked = {"content": site.paths[0].read_bytes(), "headers": headers}
    found = client.post("/api/query?k=100", params={"k": 100, "filter": filters}, **asked).json()
    assert [m["row"] for m in found["matches"]] == expected


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("prize<=20", "Did you mean 'price'?"),
        ("price<=cheap", "expected a number"),
        ("colour<3", "expected numbers alone"),
        ("price", "expected COLUMN=VALUE"),
    ],
)
def test_a_filter_that_cannot_be_is_refused(client, asked, says) -> None:
    response = client.get("/api/neighbours/0", params={"filter": asked})
    assert response.status_code == 422
    assert says in response.json()["error"]


def test_a_filter_that_nothing_fits_finds_nothing(client) -> None:
    response = client.get("/api/neighbours/0", params={"filter": "price>1000"})
    assert (response.status_code, response.json()["matches"]) == (200, [])


def test_a_wrong_column_is_refused_when_it_starts(site) -> None:
    for options in ({"link_column": "pgae"}, {"columns": ("prcie",)}):
        with pytest.raises(ParameterError, match="Did you mean 'p"):
            site.client(**options)


# -- uploads --------------------------------------------------------------------------------------


def form(data: bytes, name: str = "image", file: str = "a.jpg", kind: str = "image/jpeg"):
    return {"files": {name: (file, data, kind)}}


def test_a_form_asks_as_plain_bytes_do(site, client) -> None:
    data = site.paths[5].read_bytes()
    plain = client.post("/api/query", content=data, headers={"content-type": "image/jpeg"})
    assert client.post("/api/query", **form(data)).json() == plain.json()
    assert plain.json()["matches"][0]["row"] == 5


@pytest.mark.parametrize(
    ("sent", "status", "says"),
    [
        (form(b"x", name="picture"), 422, "its field is b'picture'"),
        (form(b"hello"), 422, "image: not a JPEG"),
        (form(b""), 422, "empty"),
        (form(b"<svg/>", kind="image/svg+xml"), 415, "content-type: got 'image/svg+xml'"),
        ({"data": {"image": "x"}, "files": {"b": ("b", b"", "image/png")}}, 422, "several fields"),
        ({"files": [("image", ("a", b"x", "image/png"))] * 2}, 422, "several fields"),
        (form(b"\xff" * 20_000), 413, "expected at most 14096 bytes"),
        (form(b"\xff" * 12_000), 413, "expected at most 10000 bytes"),
    ],
)
def test_a_form_of_another_shape_is_refused(small, sent, status, says) -> None:
    response = small.post("/api/query", **sent)
    assert response.status_code == status
    assert says in response.json()["error"]


HEAD = b'--x\r\ncontent-disposition: form-data; name="image"; filename="a"\r\n'
KIND = "multipart/form-data; boundary=x"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (HEAD + b"\r\n\r\nabc", KIND),
        (HEAD, KIND),
        (b"", KIND),
        (b"\r\n" * 10_000_000, KIND),
        (b"--x\r\n" + b"a" * 20_000_000, KIND),
        (b"--x\r\n" + b"a:b\r\n" * 4_000_000, KIND),
        (b"--x\r\n\r\n\r\n" * 2_000_000, KIND),
        (HEAD + b"\r\n\r\n" + b"\r\n--" * 5_000_000, KIND),
        (HEAD + b"\r\n\r\nabc\r\n--x--", "multipart/form-data"),
        (HEAD + b"\r\n\r\nabc\r\n--x--", "multipart/form-data; boundary=" + "x" * 99),
    ],
    ids=range(10),
)
def test_a_damaged_form_is_refused_at_once(body, kind, caplog) -> None:
    start = time.process_time()
    with pytest.raises(RefusalError, match="body: expected a form with one file"):
        image_of_form(body, kind, 10**9)
    assert time.process_time() - start < 0.5
    assert caplog.text == ""  # which clients could fill


def test_the_last_uploads_are_kept_to_be_asked_about_again(site) -> None:
    file = io.BytesIO()
    Image.new("RGB", (700, 300), (200, 30, 30)).save(file, "PNG")
    data, other = file.getvalue(), site.paths[0].read_bytes()[:-1] + b"\0"
    with site.client(keep_uploads_mb=(len(data) + len(other) - 1) / 1e6) as client:
        first = client.post("/api/query", **form(data, kind="image/png")).json()
        assert first["upload"] == f"upload-{digest(data)}"
        again = client.get(f"/api/neighbours/{first['upload']}").json()
        assert again["matches"] == first["matches"]
        sizes = {
            Image.open(
                io.BytesIO(client.get(f"/thumbnails/{first['upload']}{query}").content)
            ).size
            for query in ("", "?size=large")
        }
        assert sizes == {(288, 123), (700, 300)}
        client.post("/api/query", **form(other))
        assert client.get(f"/api/neighbours/{first['upload']}").status_code == 404
    with site.client(keep_uploads_mb=0) as client:
        assert client.post("/api/query", **form(data, kind="image/png")).json()["upload"] is None
        assert client.get(f"/thumbnails/upload-{digest(data)}").status_code == 404


def test_a_large_picture_is_larger(client) -> None:
    with Image.open(FOLDER / "apple" / "apple_00.jpg") as image:
        size = image.size
    with Image.open(io.BytesIO(client.get("/thumbnails/0?size=large").content)) as image:
        assert image.size == tuple(round(s * min(1, 1600 / max(size))) for s in size)
    assert client.get("/thumbnails/0?size=huge").status_code == 422


# -- vectors --------------------------------------------------------------------------------------


def test_a_vector_is_the_networks_in_the_form_that_clients_know(site, client) -> None:
    images = [path.read_bytes() for path in site.paths[:2]]
    one = client.post("/api/embed", **form(images[0])).json()
    documents = {"images": [base64.b64encode(data).decode() for data in images]}
    both = client.post("/api/embed", json=documents).json()
    assert (one["object"], one["data"][0]["object"]) == ("list", "embedding")
    assert one["model"].startswith("featx_base/")
    assert [d["index"] for d in both["data"]] == [0, 1]
    vectors = np.array([d["embedding"] for d in both["data"]])
    np.testing.assert_allclose(vectors, site.vectors[:2], rtol=0.02, atol=0.02)  # bfloat16
    np.testing.assert_allclose(one["data"][0]["embedding"], vectors[0], rtol=0.02, atol=0.02)


def test_only_images_have_vectors(client) -> None:
    assert client.post("/api/embed", **form(b"hello")).status_code == 422
    assert client.post("/api/embed", content=b"x").status_code == 415
    assert client.post("/api/embed", json={"images": ["!"]}).status_code == 422


# -- words ----------------------------------------------------------------------------------------


def test_words_find_what_the_library_finds(site, client) -> None:
    index = RetrievalIndex.load(site.root / "index")
    expected = index.query(text="car", k=28, filter=["price<=20"]).indices.tolist()
    asked = {"text": "car", "k": 28, "filter": "price<=20"}
    found = client.get("/api/search", params=asked).json()
    assert [m["row"] for m in found["matches"]] == expected
    assert (found["prediction"], found["query"], found["upload"]) == (None, None, None)
    assert not any(m["is_copy"] for m in found["matches"])
    [meant] = found["text"]
    assert (meant["text"], meant["is_wanted"], "cab" in meant["names"]) == ("car", True, True)
    data = site.paths[0].read_bytes()
    both = client.post("/api/query", params={"text": "car -wheel", "k": 3}, **form(data)).json()
    expected = index.query(str(site.paths[0]), text="car -wheel", k=3).indices.tolist()
    assert [m["row"] for m in both["matches"]] == expected
    assert client.get("/api/index").json()["has_words"]


def test_words_have_vectors_too(site, client) -> None:
    words = ["umbrella", "fire engine -red"]
    with featx.open_store(site.root / "f.h5") as store:
        expected = featx.Encoder(store.recipe.backbone).encode_text(words[0])
    found = client.post("/api/embed", json={"input": words[0]}).json()["data"]
    np.testing.assert_allclose(found[0]["embedding"], expected, rtol=1e-6)
    several = client.post("/api/embed", json={"input": [words[0], "fire engine"]}).json()["data"]
    assert [d["index"] for d in several] == [0, 1]


@pytest.mark.parametrize(
    ("text", "says"),
    [("umbrela", "umbrella"), ("-car", "what is to be absent"), ("!!", "expected words")],
)
def test_words_that_are_not_known_are_refused(client, text, says) -> None:
    response = client.get("/api/search", params={"text": text})
    assert response.status_code == 422
    assert says in response.json()["error"]
    assert client.get("/api/search").status_code == 422


@pytest.mark.parametrize(
    "body",
    [{}, {"input": []}, {"input": "a", "images": ["AAAA"]}, {"input": 3}, {"input": "x" * 201},
     {"text": "car"}],
)  # fmt: skip
def test_only_words_or_images_have_vectors(client, body) -> None:
    response = client.post("/api/embed", json=body)
    assert (response.status_code, response.json()["error"][:6]) == (422, "body: ")


def test_a_network_without_words_offers_none(site, tmp_path) -> None:
    with featx.extract(
        site.paths, tmp_path / "f.h5", augment="hflip:keep", workers=0, progress=False
    ) as store:
        RetrievalIndex().fit(store).save(tmp_path / "index")
    with site.client(tmp_path / "index") as client:
        assert client.get("/api/index").json()["has_words"] is False
        for response in (
            client.get("/api/search?text=car"),
            client.post("/api/query?text=car", **form(site.paths[0].read_bytes())),
            client.post("/api/embed", json={"input": "car"}),
        ):
            assert response.status_code == 422
            assert "has no words" in response.json()["error"]


# -- instances ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    """An index of instances of four drawn pictures, and the third of them turned."""
    root = tmp_path_factory.mktemp("things")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 12, 16, 3), np.uint8)
    paths = [root / f"{i}.png" for i in range(4)]
    for path, scene in zip(paths, pixels.repeat(20, 1).repeat(20, 2), strict=True):
        Image.fromarray(scene).save(path)
    index = InstanceIndex().fit(paths, labels=list("abab"), metadata={"price": [1, 2, 3, 4]})
    index.save(root / "index")
    file = io.BytesIO()
    Image.open(paths[2]).rotate(90, expand=True).save(file, "PNG")
    return root, file.getvalue()


def test_an_index_of_instances_is_asked_again_by_row_and_upload(site, things) -> None:
    root, turned = things
    with site.client(root / "index") as client:
        about = client.get("/api/index").json()
        assert (about["metric"], about["has_words"], about["n_samples"]) == ("instances", False, 4)
        found = client.post("/api/query?k=4", **form(turned, kind="image/png")).json()
        first, *rest = found["matches"]
        assert (first["row"], first["inliers"] > 30) == (2, True)
        # top left, top right, bottom right, bottom left of what was turned to the left
        np.testing.assert_allclose(first["region"], [[1, 0], [1, 1], [0, 1], [0, 0]], atol=0.02)
        assert {(m["inliers"], m["region"], m["outline"]) for m in rest} == {(0, None, None)}
        for name in ("outline", "outline_in_query"):  # each is the whole of the other
            corners = np.array(first[name])
            np.testing.assert_allclose(
                [corners.min(0), corners.max(0)], [[0, 0], [1, 1]], atol=0.03
            )
        again = client.get(f"/api/neighbours/{found['upload']}?k=4").json()
        assert again["matches"] == found["matches"]
        near = client.get("/api/neighbours/2?k=4&filter=price>2").json()
        assert [m["row"] for m in near["matches"]] == [3]
        assert near["query"]["label"] == "a"
        (root / "3.png").rename(root / "gone.png")
        gone = client.get("/api/neighbours/3")
        (root / "gone.png").rename(root / "3.png")
        assert (gone.status_code, str(root) in gone.text) == (404, False)


def test_an_index_of_instances_is_followed(site, things, tmp_path, quick) -> None:
    root, turned = things
    shutil.copy(root / "index", tmp_path / "index")
    with site.client(tmp_path / "index") as client:
        index = InstanceIndex.load(root / "index")
        index.remove([index.ids_[0]]).save(tmp_path / "index")
        until(lambda: client.get("/health").json()["n_samples"] == 3)
        found = client.post("/api/query?k=1", **form(turned, kind="image/png")).json()
        assert found["matches"][0]["metadata"] == {"price": "3"}
        shutil.copy(site.root / "index", tmp_path / "new")
        (tmp_path / "new").replace(tmp_path / "index")
        until(lambda: client.get("/health").json()["problem"])
        assert client.get("/health").json()["n_samples"] == 3


# -- other origins --------------------------------------------------------------------------------


def test_no_other_origin_is_let_in_unless_it_is_named(client) -> None:
    response = client.get("/api/index", headers={"origin": SHOP})
    assert "access-control-allow-origin" not in response.headers
    assert response.headers["cross-origin-resource-policy"] == "same-origin"
    assert response.headers["x-frame-options"] == "DENY"
    preflight = {"origin": SHOP, "access-control-request-method": "POST"}
    response = client.options("/api/query", headers=preflight)
    assert (response.status_code, list(response.json())) == (405, ["error"])


def test_named_origins_may_ask_show_and_frame(site) -> None:
    with site.client(cors_origins=(SHOP, "http://localhost:3000"), token=TOKEN) as client:
        for origin in (SHOP, "http://localhost:3000"):
            response = client.get("/api/index", headers=bearer(TOKEN) | {"origin": origin})
            assert response.headers["access-control-allow-origin"] == origin
            assert "origin" in response.headers["vary"].lower()
        preflight = {
            "origin": SHOP,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        }
        response = client.options("/api/query", headers=preflight)
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == SHOP
        refused = client.get("/api/index", headers={"origin": SHOP})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, SHOP)
        picture = client.get("/thumbnails/0", headers=bearer(TOKEN) | {"referer": f"{SHOP}/x/y"})
        assert picture.headers["cross-origin-resource-policy"] == "cross-origin"
        for headers in ({"origin": "https://evil.example"}, {"referer": f"{SHOP}.evil.example/"}):
            response = client.get("/thumbnails/0", headers=bearer(TOKEN) | headers)
            assert "access-control-allow-origin" not in response.headers
            assert response.headers["cross-origin-resource-policy"] == "same-origin"
        page = client.get("/").headers
        policy = page["content-security-policy"]
        assert policy.endswith(f"frame-ancestors {SHOP} http://localhost:3000")
        assert "x-frame-options" not in page


@pytest.mark.parametrize(
    "origin",
    ["*", "https://*.shop.example", "shop.example", "https://shop.example/", "ftp://shop.example",
     "https://shop.example/a", "https://SHOP.example", "https://shop.example:443", "", "null",
     "https://me@shop.example", "https://shop.example:x", "https://shöp.example",
     "https://a.example https://b.example", "https://a.example;"],
)  # fmt: skip
def test_what_is_no_origin_is_refused(origin) -> None:
    with pytest.raises(ParameterError, match=r"cors_origins: got .* expected the origin"):
        ServeOptions(cors_origins=(origin,))


def test_origins_as_browsers_send_them_are_taken() -> None:
    origins = (SHOP, "http://localhost:3000", "http://[::1]:8080", "https://xn--shp-sna.example")
    assert ServeOptions(cors_origins=origins).cors_origins == origins


# -- changes --------------------------------------------------------------------------------------


def changes(client, headers) -> list[int]:
    data = (FOLDER / "chair" / "chair_00.jpg").read_bytes()
    return [
        client.post("/api/add?label=car", **form(data), headers=headers).status_code,
        client.patch("/api/images/0?label=car", headers=headers).status_code,
        client.delete("/api/images/1", headers=headers).status_code,
    ]


def test_changes_need_the_write_token_where_there_is_one(site, tmp_path) -> None:
    shutil.copy(site.root / "index", tmp_path / "index")
    options = {"writable": True, "token": TOKEN, "write_token": WRITE}
    with site.client(tmp_path / "index", **options) as client:
        assert client.get("/api/index").status_code == 401
        assert changes(client, {}) == [401] * 3
        assert changes(client, bearer("wrong-and-long")) == [401] * 3
        assert changes(client, bearer(TOKEN)) == [403] * 3
        about = client.get("/api/index", headers=bearer(TOKEN)).json()
        assert (about["is_writable"], about["needs_write_token"]) == (True, True)
        assert client.get("/api/index", headers=bearer(WRITE)).status_code == 200
        assert changes(client, bearer(WRITE)) == [201, 204, 204]
    with site.client(tmp_path / "index", writable=True, write_token=WRITE) as client:
        assert client.get("/api/index").status_code == 200
        assert changes(client, {}) == [401] * 3


def test_an_added_image_has_its_columns_and_a_label_is_changed(site, tmp_path) -> None:
    shutil.copy(site.root / "index", tmp_path / "index")
    data = (FOLDER / "chair" / "chair_00.jpg").read_bytes()
    options = {"writable": True, "write_token": WRITE}
    with site.client(tmp_path / "index", **options) as client:
        before = client.get("/health").json()["collection"]
        values = {"label": "chair", "value": ["price=7.5", "page=https://shop.example/new"]}
        add = {**form(data), "headers": bearer(WRITE)}
        added = client.post("/api/add", params=values, **add).json()
        assert added["id"] == digest(data)
        assert added["collection"] == client.get("/health").json()["collection"] != before
        wrong = client.post("/api/add", params=values | {"value": "prcie=1"}, **form(b"\xff"))
        assert wrong.status_code == 401
        other = (FOLDER / "chair" / "chair_01.jpg").read_bytes()
        wrong = client.post(
            "/api/add", params=values | {"value": "prcie=1"}, **form(other), headers=bearer(WRITE)
        )
        assert (wrong.status_code, "Did you mean 'price'" in wrong.text) == (422, True)
        found = client.post("/api/query?k=1", **form(data)).json()["matches"][0]
        expected = {"price": "7.5", "colour": "", "page": "https://shop.example/new"}
        assert (found["metadata"], found["label"]) == (expected, "chair")
        relabel = client.patch(f"/api/images/{added['id']}?label=seat", headers=bearer(WRITE))
        assert relabel.status_code == 204
        found = client.post("/api/query?k=1&label=seat", **form(data)).json()["matches"][0]
        assert found["row"] == added["row"]
        missing = client.patch("/api/images/999?label=seat", headers=bearer(WRITE))
        assert missing.status_code == 404
    kept = RetrievalIndex.load(tmp_path / "index")
    assert (kept.labels_[-1], kept.digests_[-1]) == ("seat", digest(data))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"write_token": WRITE}, "write_token: got one for an index that may not be changed"),
        ({"writable": True, "token": TOKEN, "write_token": TOKEN}, "the same as token"),
        ({"writable": True, "write_token": "short"}, "write_token: got 5 characters"),
    ],
)
def test_write_tokens_that_guard_nothing_are_refused(options, says) -> None:
    with pytest.raises(ParameterError, match=says):
        ServeOptions(**options)


# -- another index --------------------------------------------------------------------------------


@pytest.mark.parametrize("writable", [False, True])
def test_a_new_index_is_served_without_a_restart(site, tmp_path, quick, writable) -> None:
    place = tmp_path / "index"
    shutil.copy(site.root / "index", place)
    options = {"writable": True, "write_token": WRITE} if writable else {}
    with site.client(place, **options) as client:
        old = client.get("/api/neighbours/3?k=3").json()
        gone = old["matches"][0]
        new = RetrievalIndex.load(site.root / "index")
        new.remove([new.ids_[gone["row"]]]).save(tmp_path / "new")
        (tmp_path / "new").replace(place)
        until(lambda: client.get("/health").json()["collection"] != old["collection"])
        assert client.get("/health").json()["n_samples"] == 27
        # a click on what was shown opens no other image
        assert client.get("/api/neighbours/3").status_code == 404
        assert client.get(f"/api/neighbours/{gone['id']}").status_code == 404
        again = client.get(f"/api/neighbours/{old['query']['id']}?k=2").json()
        assert [m["id"] for m in again["matches"]] == [m["id"] for m in old["matches"][1:]]
        if writable:
            row = again["matches"][0]["row"]
            removed = client.delete(f"/api/images/{row}", headers=bearer(WRITE))
            assert removed.status_code == 204
    if writable:
        assert len(RetrievalIndex.load(place).ids_) == 26


def test_a_damaged_index_is_not_served(site, tmp_path, quick, caplog) -> None:
    place = tmp_path / "index"
    shutil.copy(site.root / "index", place)

    def put(data: bytes) -> None:
        (tmp_path / "new").write_bytes(data)
        (tmp_path / "new").replace(place)

    whole = place.read_bytes()
    with site.client(place) as client:
        before = client.get("/api/neighbours/0").json()
        damaged = bytearray(whole)
        damaged[len(damaged) // 2 :] = b"\0" * len(damaged[len(damaged) // 2 :])
        put(bytes(damaged[: len(damaged) // 2]))
        until(lambda: client.get("/health").json()["problem"])
        assert "cannot be served" in client.get("/api/index").json()["problem"]
        assert str(tmp_path) not in client.get("/api/index").text
        assert client.get("/api/neighbours/0").json() == before
        time.sleep(0.5)
        assert caplog.text.count("the changed index is not served") == 1
        place.unlink()
        until(lambda: "is gone" in (client.get("/health").json()["problem"] or ""))
        assert client.get("/api/neighbours/0").json() == before
        put(whole)
        until(lambda: client.get("/health").json()["problem"] is None)
        until(lambda: client.get("/health").json()["collection"] != before["collection"])


def test_an_index_of_another_network_is_not_served(site, tmp_path, quick) -> None:
    place = tmp_path / "index"
    shutil.copy(site.root / "index", place)
    with site.client(place) as client:
        RetrievalIndex().fit(np.eye(3)).save(tmp_path / "new")
        (tmp_path / "new").replace(place)
        until(lambda: client.get("/health").json()["problem"])
        assert client.get("/health").json()["n_samples"] == 28


# -- the description ------------------------------------------------------------------------------


def test_every_parameter_and_field_is_described(site, tmp_path) -> None:
    shutil.copy(site.root / "index", tmp_path / "index")
    with site.client(tmp_path / "index", writable=True, write_token=WRITE) as client:
        described = client.get("/openapi.json").json()
    missing = []
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            name = f"{method} {path}"
            missing += [name] if not operation.get("description") else []
            missing += [
                f"{name} {p['name']}"
                for p in operation.get("parameters", [])
                if not p.get("description")
            ]
            for body in operation.get("requestBody", {}).get("content", {}).values():
                missing += bare(name, body["schema"])
    for name, schema in described["components"]["schemas"].items():
        if "ValidationError" not in name:
            missing += bare(name, schema)
    assert missing == []
    assert len(described["paths"]) == 11
    json.dumps(described)


def bare(name: str, schema: dict) -> list[str]:
    properties = schema.get("properties", {})
    return [f"{name}.{k}" for k, v in properties.items() if not v.get("description")]
