"""One index, the same rows in shards in one process, and in shards on Ray: queries per second.

    python benchmarks/shards.py [--n 100000] [--rounds 5]

Random vectors of 512 numbers in float32, exact search, k = 10. Two cores, so that Ray's two actors
have one each, and one process has both. Contenders take turns; ratios are medians of the rounds.
Asked one by one (50 queries) and 512 at once.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from common import keep

from featx import RetrievalIndex
from featx.retrieval import ShardedIndex

WIDTH, K, SINGLE, BATCH = 512, 10, 50, 512


def rates(index, queries):
    """Return queries per second, one by one and many at once."""
    start = time.perf_counter()
    for query in queries[:SINGLE]:
        index.query(query, K)
    between = time.perf_counter()
    index.query(queries, K)
    return SINGLE / (between - start), BATCH / (time.perf_counter() - between)


def main():
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    X = rng.standard_normal((args.n, WIDTH)).astype(np.float32)
    queries = rng.standard_normal((BATCH, WIDTH)).astype(np.float32)
    with tempfile.TemporaryDirectory() as name:
        files = {}
        for parts in (1, 2, 4):
            files[parts] = [Path(name) / f"{parts}-{i}" for i in range(parts)]
            for path, rows in zip(files[parts], np.array_split(X, parts), strict=True):
                RetrievalIndex(kind="exact").fit(rows).save(path)
        start = time.perf_counter()
        on_ray = ShardedIndex(files[2], engine="ray")
        started = time.perf_counter() - start
        contenders = {
            "one index": RetrievalIndex.load(files[1][0]),
            "2 shards": ShardedIndex(files[2]),
            "4 shards": ShardedIndex(files[4]),
            "2 shards on Ray": on_ray,
        }
        expected = contenders["one index"].query(queries, K)
        found = {key: [] for key in contenders}
        for i in range(args.rounds + 1):
            for key, index in contenders.items():
                both = rates(index, queries)
                if i:
                    found[key].append(both)
        figures = {"n": args.n, "ray_start_s": started}
        for key, index in contenders.items():
            ratios = np.array(found[key]) / np.array(found["one index"])
            same = index.query(queries, K).distances
            figures[key] = {
                "one_by_one": float(np.median(found[key], axis=0)[0]),
                "at_once": float(np.median(found[key], axis=0)[1]),
                "ratio_one_by_one": float(np.median(ratios, axis=0)[0]),
                "ratio_at_once": float(np.median(ratios, axis=0)[1]),
                "largest_difference": float(np.abs(same - expected.distances).max()),
            }
        on_ray.close()
    keep("shards", figures)


if __name__ == "__main__":
    main()
