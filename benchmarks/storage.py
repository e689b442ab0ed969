"""The store beside a plain numpy memory map of the same bytes: append, read in order, read by row.

    python benchmarks/storage.py [--n 100000] [--d 1280] [--dtype float32] [--repeats 5]

Both write the vectors 4,096 rows at a time, and end with the bytes on the medium (one commit every
16 batches, and one `flush` of the map with fsync as often). Reading is from the page cache, into
memory of the reader's own: 4,096 rows at a time in order, and 1,000 random rows in one call, of a
file that is opened for it and of one that is open already. The map keeps vectors only; the store
keeps paths, content hashes, sizes and checksums with them, and checks each vector at every read.
Ratios are the map's time by the store's, medians of interleaved runs: 1 is as fast.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from common import keep

from featx.recipe import Preprocessing, Recipe
from featx.store import StoreWriter, open_store

BATCH, BATCHES_A_COMMIT, N_RANDOM = 4096, 16, 1000
BLOCK_SEED = 1


def timed(job):
    """Return the seconds of a call."""
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def append_to_map(path, X):
    """Write a new .npy file through a map."""
    mapped = np.lib.format.open_memmap(path, "w+", X.dtype, X.shape)
    for i, start in enumerate(range(0, len(X), BATCH)):
        mapped[start : start + BATCH] = X[start : start + BATCH]
        if (i + 1) % BATCHES_A_COMMIT == 0:
            mapped.flush()
    mapped.flush()
    with Path(path).open("rb+") as file:
        os.fsync(file.fileno())


def append_to_store(path, X, names, digests):
    """Write a new store."""
    dtype = "float16" if X.dtype == np.float16 else "float32"
    recipe = Recipe(
        "net", "ab" * 32, "layer", "avg", Preprocessing(), "none", "float32", X.shape[1], dtype
    )
    with StoreWriter(path) as writer:
        table = writer.table(recipe, has_labels=False)
        for i, start in enumerate(range(0, len(X), BATCH)):
            part = slice(start, min(start + BATCH, len(X)))
            n = part.stop - part.start
            table.append(
                names[part], X[part], digests=digests[part], sizes=[1] * n, mtimes=[1] * n
            )
            if (i + 1) % BATCHES_A_COMMIT == 0:
                writer.commit()


def read_map(path):
    """Copy every block."""
    mapped = np.load(path, mmap_mode="r")
    for start in range(0, len(mapped), BATCH):
        np.array(mapped[start : start + BATCH])


def read_store(path):
    """Read every block."""
    with open_store(path) as store:
        for _ in store.iter_blocks(BATCH):
            pass


def main():
    """Print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--d", type=int, default=1280)
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    rng = np.random.default_rng(BLOCK_SEED)
    X = np.maximum(rng.standard_normal((args.n, args.d), np.float32), 0).astype(args.dtype)
    names = [f"/photos/{i:07}.jpg" for i in range(args.n)]
    digests = [f"{i:064x}" for i in range(args.n)]
    rows = rng.integers(0, args.n, N_RANDOM)
    more = rng.integers(0, args.n, N_RANDOM)
    times: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        for i in range(args.repeats):
            a, b = Path(name) / f"{i}.npy", Path(name) / f"{i}.h5"
            pairs = {
                "append": (
                    lambda a=a: append_to_map(a, X),
                    lambda b=b: append_to_store(b, X, names, digests),
                ),
                "read in order": (lambda a=a: read_map(a), lambda b=b: read_store(b)),
                "read 1,000 random rows": (
                    lambda a=a: np.load(a, mmap_mode="r")[rows],
                    lambda b=b: open_store(b)[rows],
                ),
            }
            for what, (by_map, by_store) in pairs.items():
                times.setdefault(what, []).append((timed(by_map), timed(by_store)))
            mapped = np.load(a, mmap_mode="r")
            with open_store(b) as store:
                store[rows]
                again = timed(lambda mapped=mapped: mapped[more]), timed(lambda s=store: s[more])
            del mapped
            times.setdefault("read 1,000 other random rows", []).append(again)
            sizes = a.stat().st_size, b.stat().st_size
            a.unlink()
            b.unlink()
    megabytes = X.nbytes / 1e6
    figures = {
        what: {
            "map MB/s" if "random" not in what else "map ms": _rate(what, pairs, 0, megabytes),
            "store MB/s" if "random" not in what else "store ms": _rate(what, pairs, 1, megabytes),
            "ratio": float(np.median([m / s for m, s in pairs])),
        }
        for what, pairs in times.items()
    }
    figures["bytes, store / map"] = sizes[1] / sizes[0]
    name = "" if args.dtype == "float32" else f", {args.dtype}"
    keep(f"storage, n={args.n}, d={args.d}{name}", figures)


def _rate(what, pairs, which, megabytes):
    seconds = float(np.median([pair[which] for pair in pairs]))
    return 1000 * seconds if "random" in what else megabytes / seconds


if __name__ == "__main__":
    main()
