"""The served map: only with the token, only what clients may see, only what the index has."""

from __future__ import annotations

import base64
import io
import re
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import featx
from featx.demo import sample_data_dir
from featx.errors import FingerprintMismatchError, ParameterError
from featx.mapping import draw_map
from featx.serve import ServeOptions, create_app, open_service

TOKEN = "s3cret-and-long"
HEADERS = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """An index of twelve drawings, and its map."""
    root = tmp_path_factory.mktemp("served")
    folders = [sample_data_dir() / "objects" / name for name in ("apple", "car")]
    paths = [path for folder in folders for path in sorted(folder.iterdir())[:6]]
    store = featx.extract([str(path) for path in paths], root / "f.h5", workers=0, progress=False)
    featx.RetrievalIndex().fit(store, labels=["apple"] * 6 + ["car"] * 6).save(root / "index")
    draw_map(root / "index", root / "map.html", workers=0)
    return root


def client(root: Path, **options) -> TestClient:
    chosen = ServeOptions(**({"token": TOKEN, "rate": 0} | options))
    service = open_service(str(root / "index"), options=chosen, map_page=str(root / "map.html"))
    return TestClient(create_app(service), base_url="http://127.0.0.1:8000")


def test_data_and_pictures_need_the_token_and_the_page_does_not(root) -> None:
    with client(root) as web:
        assert web.get("/map").status_code == 200
        assert web.get("/api/map").status_code == 401
        assert web.get("/api/map/sheets/0").status_code == 401
        assert web.get("/api/index", headers=HEADERS).json()["has_map"] is True
        assert web.get("/api/map/sheets/7", headers=HEADERS).status_code == 404


def test_the_policy_names_the_scripts_and_the_style_and_nothing_else(root) -> None:
    with client(root) as web:
        answer = web.get("/map")
    policy, text = answer.headers["content-security-policy"], answer.text
    assert "unsafe" not in policy
    for kind in ("script", "style"):
        inside = re.findall(f"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        hashes = [base64.b64encode(sha256(s.encode()).digest()).decode() for s in inside]
        found = re.search(rf"{kind}-src ([^;]*)", policy)
        assert found is not None
        assert found[1].split() == [f"'sha256-{code}'" for code in hashes]


@pytest.mark.parametrize(
    ("options", "shown"),
    [({}, None), ({"show_names": True}, "name"), ({"show_paths": True}, "path")],
    ids=["neither", "names", "paths"],
)
def test_clients_see_of_a_path_what_they_may(root, options, shown) -> None:
    with client(root, **options) as web:
        document = web.get("/api/map", headers=HEADERS).json()
        one = web.get(f"/thumbnails/{document['names'][3]}", headers=HEADERS)
    assert one.status_code == 200
    index = featx.RetrievalIndex.load(root / "index")
    wanted = {"name": [Path(p).name for p in index.ids_], "path": index.ids_.tolist()}
    assert document["paths"] == wanted.get(shown)
    assert document["labels"] == ["apple", "car"]
    assert not {"key", "recipe", "sheets"} & set(document)


def test_what_leaves_the_index_leaves_the_map_and_its_sheets(root, tmp_path) -> None:
    index = featx.RetrievalIndex.load(root / "index")
    index.save(tmp_path / "index")
    draw_map(tmp_path / "index", tmp_path / "map.html", workers=0)
    with client(tmp_path, writable=True) as web:
        before = web.get("/api/map", headers=HEADERS).json()
        name = before["names"][0]
        assert web.delete(f"/api/images/{name}", headers=HEADERS).status_code == 204
        after = web.get("/api/map", headers=HEADERS).json()
        sheet = web.get("/api/map/sheets/0", headers=HEADERS).content
    assert set(before["names"]) - set(after["names"]) == {name}
    slots = {
        d["n_samples"]: np.frombuffer(base64.b64decode(d["slot"]), "<i4") for d in (before, after)
    }
    gone = (set(slots[12].tolist()) - set(slots[11].tolist())).pop()
    tile = np.asarray(Image.open(io.BytesIO(sheet)))[:, gone * 64 + 8 : gone * 64 + 56][8:56]
    assert np.abs(tile.astype(int) - 127).max() < 12


def test_another_recipe_and_other_files_are_refused(root, tmp_path) -> None:
    from featx.store import write_features

    write_features(tmp_path / "o.h5", np.eye(12), paths=[f"{i}.jpg" for i in range(12)])
    draw_map(tmp_path / "o.h5", tmp_path / "other.html", workers=0)
    options = ServeOptions(rate=0)
    with pytest.raises(FingerprintMismatchError, match="draw it again with featx map"):
        open_service(str(root / "index"), options=options, map_page=str(tmp_path / "other.html"))
    with pytest.raises(ParameterError, match="expected a page made by featx map"):
        open_service(str(root / "index"), options=options, map_page=str(tmp_path / "o.h5"))
