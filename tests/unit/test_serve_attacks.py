"""What one client of a server, or another program beside it, can do to the others: little."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import featx
from featx import RetrievalIndex
from featx.demo import sample_data_dir
from featx.errors import ParameterError, StoreWriteError
from featx.estimators import save_model
from featx.serve import ServeOptions, _decoding, create_app, open_service
from featx.serve._bodies import images_of
from featx.serve._refusal import RefusalError

TOKEN = "s3cret-and-long"
MINE = {"authorization": f"Bearer {TOKEN}", "content-type": "image/jpeg"}
JPEG = {"content-type": "image/jpeg"}
ODD = "caf\udce9"  # of a name that is not UTF-8
FOLDER = sample_data_dir() / "objects"
BASE = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("serve")
    for name, label in (("apple", "apple"), ("car", ODD)):
        shutil.copytree(FOLDER / name, root / "images" / label)
    with featx.extract(root / "images", root / "f.h5", workers=0, progress=False) as store:
        RetrievalIndex().fit(store).save(root / "index")
        model = featx.LinearProbeClassifier().fit(store[:], store.labels)
        save_model(model, root / "model", recipe=store.recipe)
    return root


def client_of(index, model=None, address=("127.0.0.1", 50000), **options):
    service = open_service(
        str(index), model=model, options=ServeOptions(**({"rate": 0} | options))
    )
    app = create_app(service)
    return TestClient(app, base_url=BASE, raise_server_exceptions=False, client=address)


def photo(name: str, i: int = 0) -> bytes:
    return sorted((FOLDER / name).glob("*.jpg"))[i].read_bytes()


def jpeg_of(color: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (80, 80), color).save(file, "JPEG")
    return file.getvalue()


# -- names and labels -----------------------------------------------------------------------------


def test_labels_that_are_not_utf8_are_shown_in_one_spelling_that_is_taken_back(root) -> None:
    shown = "caf\\xe9"
    with client_of(root / "index", str(root / "model"), show_names=True) as client:
        labels = [one["label"] for one in client.get("/api/index").json()["labels"]]
        assert labels == ["apple", shown]
        row = next(e["row"] for e in client.get("/api/index").json()["examples"]
                   if e["label"] == shown)  # fmt: skip
        found = client.get(f"/api/neighbours/{row}", params={"k": 50, "label": shown})
        assert found.status_code == 200
        assert {m["label"] for m in found.json()["matches"]} == {shown}
        answer = client.post("/api/query?k=1", content=photo("car"), headers=JPEG).json()
        assert answer["prediction"]["labels"] == [shown]
        wrong = client.get(f"/api/neighbours/{row}", params={"label": "caf\\xe8"})
        assert wrong.status_code == 422


def test_an_image_is_added_to_a_label_by_its_spelling(root, tmp_path) -> None:
    shutil.copy(root / "index", tmp_path / "index")
    with client_of(tmp_path / "index", writable=True, token=TOKEN) as client:
        add = {"content": jpeg_of((9, 99, 9)), "headers": MINE, "params": {"label": "caf\\xe9"}}
        assert client.post("/api/add", **add).status_code == 201
        assert len(client.get("/api/index", headers=MINE).json()["labels"]) == 2
    assert RetrievalIndex.load(tmp_path / "index").labels_[-1] == ODD


def test_the_name_of_a_url_has_nothing_that_signs_it(root, tmp_path) -> None:
    base = RetrievalIndex.load(root / "index")
    ids = [
        "http://127.0.0.1:9/secret-place/a.jpg?sig=s3cr3t#s3cr3t",
        "sftp://me:s3cr3t@127.0.0.1/secret-place/b.jpg",
        "nosuch://secret-place/c.jpg",
    ]
    index = RetrievalIndex().fit(base.vectors([0, 1, 2]), ids=ids)
    index.recipe_, index.made_with_ = base.recipe_, base.made_with_
    index.save(tmp_path / "urls")
    with client_of(tmp_path / "urls", show_names=True) as client:
        answers = [client.get(f"/thumbnails/{row}").text for row in range(3)]
        answers += [client.get("/api/index").text, client.get("/api/neighbours/0").text]
        assert not [text for text in answers if "s3cr3t" in text or "secret-place" in text]
        assert "a.jpg" in answers[3]


# -- tokens ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "token", ["x", "1234567", "aaaaaaaaaaaaaaaa", "abcabcabcabc", "a b c d e f"]
)
def test_a_token_that_can_be_guessed_is_refused(token) -> None:
    with pytest.raises(ParameterError, match=r"token: got \d+ characters, expected at least 8"):
        ServeOptions(host="0.0.0.0", token=token)


def test_wrong_tokens_do_not_lock_the_right_one_out(root) -> None:
    with client_of(root / "index", token=TOKEN, rate=0.5) as client:
        wrong = {"authorization": "Bearer wrong-and-long"}
        tried = [client.get("/api/index", headers=wrong).status_code for _ in range(50)]
        assert set(tried) == {401, 429}
        page = [client.get("/openapi.json").status_code for _ in range(99)]
        assert page[-1] == 429
        assert client.get("/health").status_code == 200
        right = [client.get("/api/index", headers=MINE).status_code for _ in range(5)]
        assert right == [200] * 5


@pytest.mark.parametrize("proxies", [("*",), ("proxy.example",), ("10.0.0.1, 10.0.0.2",), ("",)])
def test_only_addresses_are_trusted_proxies(proxies) -> None:
    with pytest.raises(ParameterError, match="trusted_proxies: got"):
        ServeOptions(trusted_proxies=proxies)
    assert ServeOptions(trusted_proxies=("10.0.0.0/8", "::1")).is_trusted_proxy("10.1.2.3")


def test_two_lengths_of_a_body_are_refused(root) -> None:
    with client_of(root / "index") as client:
        headers = JPEG | {"transfer-encoding": "chunked", "content-length": "4"}
        response = client.post("/api/query", content=b"abcd", headers=headers)
    assert (response.status_code, response.headers["connection"]) == (400, "close")


# -- bodies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b'{"images":[' + b"[]," * 3_000_000 + b"[]]}",
        b'{"images":[' + b'"",' * 3_000_000 + b'""]}',
        b'{"images":[' + b"{}," * 3_000_000 + b"{}]}",
        b"{" + b'"a":1,' * 3_000_000 + b'"images":[]}',
        b"[" * 9_000_000,
        b'{"images":[' + b"1," * 4_000_000 + b"1]}",
        b"9" * 9_000_000,
        b" " * 9_000_000,
    ],
    ids=["lists", "texts", "objects", "keys", "depth", "numbers", "one number", "spaces"],
)
def test_json_that_is_dear_to_parse_is_refused_at_once(body) -> None:
    start = time.process_time()
    with pytest.raises(RefusalError, match="body: "):
        images_of(body, 10**9)
    assert time.process_time() - start < 0.5


def test_json_as_any_library_writes_it_is_read() -> None:
    data = [bytes(range(256)) * 9 for _ in range(32)]
    texts = [base64.b64encode(d).decode() for d in data]
    plain = json.dumps({"images": texts})
    for text in (plain, json.dumps({"images": texts}, indent=3), plain.replace("/", r"\/"),
                 plain.replace("+", r"\u002B")):  # fmt: skip
        assert images_of(text.encode(), 10**9) == data


# -- decoding -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_images_that_hold_decoders_do_not_hold_other_clients(root, monkeypatch) -> None:
    """Neither do they keep the server from stopping."""
    monkeypatch.setattr(_decoding, "DECODE_S", 3.0)
    monkeypatch.setattr(_decoding, "QUICK_S", 1.0)
    service = open_service(str(root / "index"), options=ServeOptions(rate=0))
    held: list[float] = []

    class Sleeper:
        max_pixels, min_px = 10**8, None

        def __call__(self, image):
            if image.size == (1, 1):
                time.sleep(60)
            return (np.zeros((1, 1, 3), np.uint8),)

    decoder = _decoding.Decoder(Sleeper())
    bomb, good = io.BytesIO(), jpeg_of((1, 2, 3))
    Image.new("RGB", (1, 1)).save(bomb, "PNG")

    async def ask() -> None:
        import asyncio

        bombs = [asyncio.create_task(decoder.read(bomb.getvalue(), "6.6.6.6")) for _ in range(9)]
        await asyncio.sleep(0.5)
        start = time.monotonic()
        await decoder.read(good, "1.2.3.4")
        held.append(time.monotonic() - start)
        done, _ = await asyncio.wait(bombs, timeout=8, return_when=asyncio.FIRST_COMPLETED)
        assert "took longer than 3 s" in str(done.pop().exception())
        for task in bombs:
            task.cancel()
        await asyncio.gather(*bombs, return_exceptions=True)

    import asyncio

    try:
        asyncio.run(ask())
        start = time.monotonic()
    finally:
        decoder.close()
        service.close()
    assert held[0] < 2.5
    assert time.monotonic() - start < 5


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to it")
def test_a_decoder_that_takes_too_much_memory_ends_the_image_alone(monkeypatch) -> None:
    import asyncio

    class Glutton:
        max_pixels, min_px = 100, None

        def __call__(self, image):
            return (np.ones(2**28, np.float64)[:1],)

    decoder = _decoding.Decoder(Glutton())
    try:
        with pytest.raises(featx.errors.ImageDecodeError, match="not enough memory"):
            asyncio.run(decoder.read(_tiny(), "1.2.3.4"))
    finally:
        decoder.close()


def _tiny() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.timeout(60)
def test_thumbnails_of_what_is_no_image_are_refused(root, tmp_path) -> None:
    base = RetrievalIndex.load(root / "index")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text").write_text("no image")
    Image.new("1", (12_000, 12_000)).save(tmp_path / "large.png")
    names = ["pipe", "text", "large.png", "gone", "."]
    index = RetrievalIndex().fit(base.vectors(range(5)), ids=[str(tmp_path / n) for n in names])
    index.recipe_, index.made_with_ = base.recipe_, base.made_with_
    index.save(tmp_path / "index")
    with client_of(tmp_path / "index") as client:
        answers = [client.get(f"/thumbnails/{row}") for row in range(5)]
    assert [answer.status_code for answer in answers] == [404] * 5
    assert not [answer.text for answer in answers if str(tmp_path) in answer.text]


# -- other programs -------------------------------------------------------------------------------


def test_an_index_that_is_written_over_is_an_error_and_not_the_end(root, tmp_path) -> None:
    shutil.copy(root / "index", tmp_path / "index")
    with client_of(tmp_path / "index") as client:
        assert client.get("/api/neighbours/0").status_code == 200
        with (tmp_path / "index").open("r+b") as file:
            file.truncate(100)
        query = {"content": photo("car"), "headers": JPEG}
        for response in (client.get("/api/neighbours/0"), client.post("/api/query", **query)):
            assert response.status_code == 503
            assert response.json()["error"].startswith("the index's file was changed")
        assert client.get("/health").status_code == 200


def test_what_another_program_wrote_is_not_written_over(root, tmp_path) -> None:
    shutil.copy(root / "index", tmp_path / "index")
    with client_of(tmp_path / "index", writable=True, token=TOKEN) as client:
        add = {"headers": MINE, "params": {"label": "apple"}}
        assert client.post("/api/add", content=jpeg_of((1, 1, 1)), **add).status_code == 201
        assert client.post("/api/add", content=jpeg_of((99, 1, 1)), **add).status_code == 201
        shutil.copy(root / "index", tmp_path / "other")
        (tmp_path / "other").replace(tmp_path / "index")
        before = (tmp_path / "index").read_bytes()
        response = client.post("/api/add", content=jpeg_of((1, 99, 1)), **add)
        assert response.status_code == 507
        assert client.delete("/api/images/0", headers=MINE).status_code == 507
    assert (tmp_path / "index").read_bytes() == before
    assert len(list((tmp_path / "index.images").iterdir())) == 2


SAVE = """
import sys
from featx import RetrievalIndex
from featx.errors import StoreWriteError
try:
    RetrievalIndex.load(sys.argv[1]).save(sys.argv[2])
except StoreWriteError as err:
    sys.exit(str(err))
"""


@pytest.mark.slow
def test_nobody_saves_over_an_index_that_a_writable_server_holds(root, tmp_path) -> None:
    shutil.copy(root / "index", tmp_path / "index")
    (tmp_path / "link").symlink_to(tmp_path / "index")
    index, link = str(tmp_path / "index"), str(tmp_path / "link")

    def save(name: str) -> str:
        words = [sys.executable, "-c", SAVE, str(root / "index"), name]
        return subprocess.run(words, capture_output=True, text=True).stderr

    options = ServeOptions(writable=True, token=TOKEN)
    service = open_service(link, options=options)
    try:
        for name in (index, link):
            assert "another writer has it open (process" in save(name)
        assert save(str(tmp_path / "elsewhere")) == ""
        open_service(index, options=ServeOptions()).close()  # readers may come
    finally:
        service.close()
    assert save(index) == ""
    with pytest.raises(StoreWriteError, match=r"index .*another writer has it open"):
        _hold_in_another_process(index, options)


def _hold_in_another_process(index: str, options: ServeOptions) -> None:
    code = (
        "import sys; from featx.files.locks import hold_index\n"
        "with hold_index(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, index]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        try:
            open_service(index, options=options).close()
        finally:
            holder.stdin.close()


def test_clients_share_the_requests_at_a_time(root, monkeypatch) -> None:
    from featx.serve import _guard

    monkeypatch.setattr(_guard, "MAX_OF_ONE_CLIENT", 4)
    gate = threading.Event()
    with client_of(root / "index") as client:
        service = client.app.state.service
        loaded = type(service.network)
        monkeypatch.setattr(loaded, "embed_views", lambda *_: gate.wait(20) and 1 / 0)
        with ThreadPoolExecutor(9) as pool:
            asked = [pool.submit(client.post, "/api/query", content=photo("car"), headers=JPEG)
                     for _ in range(9)]  # fmt: skip
            refused = [one for one in asked if _is_done(one)]
            gate.set()
        assert len(refused) == 5
        assert {one.result().status_code for one in refused} == {503}


def _is_done(future) -> bool:
    try:
        future.result(timeout=2)
    except TimeoutError:
        return False
    return True
