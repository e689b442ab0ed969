"""Ten million vectors on one machine: a store on disk, indexed without loading it, and asked.

    python benchmarks/large.py [--n 10000000] [--d 256] [--folder FOLDER]

The vectors are a mixture: 20,000 centres, around each of them rows with noise of 0.7 times the
centres' spread whose spectrum falls as 1 / sqrt(i), rectified as a network's last layer is. They
are written to a feature store block by block; ``featx index`` and the queries run in processes of
their own, so that peak memory is theirs. Recall is against exact search over the store, for
queries of the same mixture that are not in it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import keep

from featx import RetrievalIndex, open_store
from featx.store import StoreWriter

FEATX = [sys.executable, "-c", "from featx.cli.main import main; raise SystemExit(main())"]
N_CENTRES, BLOCK, N_QUERIES, N_SINGLE, K = 20_000, 100_000, 1000, 100, 10


def draw(n, d, seed):
    """Return n vectors of the mixture, float32."""
    centres = np.random.default_rng(0).standard_normal((N_CENTRES, d), np.float32)
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((n, d), np.float32) * (1 + np.arange(d)) ** -0.5
    noise *= np.float32(0.7 * np.sqrt(d) / np.sqrt(np.sum(1 / (1 + np.arange(d)))))
    return np.maximum(centres[rng.integers(0, N_CENTRES, n)] + noise, 0).astype(np.float32)


def write(path, n, d):
    """Write the store and return the seconds that writing took, drawing aside."""
    seconds = 0.0
    with StoreWriter(path) as writer:
        table = writer.table(None, has_labels=False, n_features=d)
        for start in range(0, n, BLOCK):
            m = min(BLOCK, n - start)
            block = draw(m, d, start + 1)
            begin = time.monotonic()
            names = [f"{i:08}.jpg" for i in range(start, start + m)]
            table.append(names, block, digests=[""] * m, sizes=[0] * m, mtimes=[0] * m)
            writer.commit()
            seconds += time.monotonic() - begin
    return seconds


def child(*words):
    """Run a command, and return its JSON and its peak memory in GiB."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return found | {"peak GiB": peak / 2**20 if peak > before else None}


def ask(index_path, store_path, n, d):
    """Open the index, ask, and print what came and how fast; runs in a process of its own."""
    queries = draw(N_QUERIES, d, n + 7)
    start = time.monotonic()
    index = RetrievalIndex.load(index_path, mmap=True)
    opened = time.monotonic() - start
    index.query(queries[:20], k=K)
    start = time.monotonic()
    found = index.query(queries, k=K).indices
    batch = time.monotonic() - start
    single = []
    for query in queries[:N_SINGLE]:
        start = time.monotonic()
        index.query(query, k=K)
        single.append(1000 * (time.monotonic() - start))
    asking_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    exact = RetrievalIndex(kind="exact", storage="store").fit(open_store(store_path))
    start = time.monotonic()
    right = exact.query(queries, k=K).indices
    exact_s = time.monotonic() - start
    is_found = (found[:, :, None] == right[:, None, :]).any(axis=2)
    figures = {
        "opened in s": opened,
        "queries per second, batch": N_QUERIES / batch,
        "ms a single query, median": float(np.median(single)),
        "ms a single query, p99": float(np.percentile(single, 99)),
        "recall@10": float(is_found.mean()),
        "peak GiB while asking": asking_gib,
        "queries per second, exact from the store, batch": N_QUERIES / exact_s,
    }
    print(json.dumps(figures))


def main():
    """Write, index, ask, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=10_000_000)
    parser.add_argument("--d", type=int, default=256)
    parser.add_argument("--folder", help="where 4 * n * d bytes fit twice")
    parser.add_argument("--kind", default="auto")
    parser.add_argument("--codes", default="auto")
    parser.add_argument("--ask", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.ask:
        ask(*args.ask, args.n, args.d)
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        store, index = Path(name) / "f.h5", Path(name) / "index"
        written = write(store, args.n, args.d)
        options = ["--kind", args.kind, "--codes", args.codes, "--json"]
        built = child(*FEATX, "index", store, "--out", index, *options)
        shape = ["--n", args.n, "--d", args.d]
        asked = child(sys.executable, __file__, "--ask", index, store, *shape)
        asked.pop("peak GiB")
        figures = {
            "load average before": os.getloadavg()[0],
            "store, bytes": store.stat().st_size,
            "index, bytes": index.stat().st_size,
            "store written at MB/s": 4 * args.n * args.d / written / 1e6,
            "built": {k: v for k, v in built.items() if k not in ("out", "fingerprint")},
            "asked": asked,
        }
    keep(f"large, n={args.n}, d={args.d}", figures)


if __name__ == "__main__":
    main()
