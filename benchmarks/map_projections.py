"""Compare libraries that lay features out in a plane, on a store of real images.

    python benchmarks/map_projections.py F.h5 [--libraries openTSNE umap pacmap sklearn]

Each lays out 99 % of the rows, after the same 50 principal components, in a process of its own,
on one thread; seconds are of the processor, compilation included, since other programs may run.
The other 1 % is then placed by the library's own transform, and by `featx.mapping` at the median
of the 5 nearest: of the 30 nearest of each new row, the share that is among its 30 nearest on the
map.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
import warnings

import numpy as np

LIBRARIES = ("openTSNE", "umap", "pacmap", "sklearn")
TRUSTED_ON, NEIGHBOURS, SHARED = 4000, 15, 30


def lay_out(
    library: str, old: np.ndarray, new: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    if library == "openTSNE":
        from openTSNE import TSNE

        made = TSNE(initialization="pca", random_state=0, n_jobs=1).fit(old)
        return np.asarray(made), np.asarray(made.transform(new))
    if library == "umap":
        from umap import UMAP

        model = UMAP(random_state=0)
        return model.fit_transform(old), model.transform(new)
    if library == "pacmap":
        from pacmap import PaCMAP

        model = PaCMAP(random_state=0, apply_pca=False, save_tree=True)
        return model.fit_transform(old), model.transform(new)
    from sklearn.manifold import TSNE

    return TSNE(init="pca", random_state=0).fit_transform(old), None


def share_kept(old: np.ndarray, new: np.ndarray, flat: np.ndarray, placed: np.ndarray) -> float:
    from sklearn.neighbors import NearestNeighbors

    def nearest(base: np.ndarray, asked: np.ndarray) -> np.ndarray:
        return (
            NearestNeighbors(n_neighbors=SHARED).fit(base).kneighbors(asked, return_distance=False)
        )

    pairs = zip(nearest(old, new), nearest(flat, placed), strict=True)
    return float(np.mean([len({*a} & {*b}) / SHARED for a, b in pairs]))


def measure(store: str, library: str) -> dict:
    from sklearn.manifold import trustworthiness

    from featx.mapping.projection import place, reduce_features
    from featx.store import open_store

    with open_store(store) as opened:
        X = opened[:]
    rows = reduce_features(lambda: [X], len(X))
    is_new = np.arange(len(rows)) % 100 == 99
    old, new = rows[~is_new], rows[is_new]
    start = time.process_time()
    flat, placed = lay_out(library, old, new)
    seconds = time.process_time() - start
    some = np.random.default_rng(0).choice(len(old), min(TRUSTED_ON, len(old)), replace=False)
    return {
        "seconds": seconds,
        "trustworthiness": float(trustworthiness(old[some], flat[some], n_neighbors=NEIGHBOURS)),
        "its transform": None if placed is None else share_kept(old, new, flat, placed),
        "median of 5": share_kept(old, new, flat, place(new, old, flat)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("store")
    parser.add_argument("--libraries", nargs="+", default=LIBRARIES, choices=LIBRARIES)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        warnings.simplefilter("ignore")
        print(json.dumps(measure(args.store, args.one)))
        return
    print("library      seconds  trustworthiness  new rows: its transform  median of 5")
    for library in args.libraries:
        if importlib.util.find_spec(library) is None:
            print(f"{library:10}  not installed")
            continue
        threads = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        words = [sys.executable, __file__, args.store, "--one", library]
        run = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **threads})
        if run.returncode:
            sys.exit(run.stderr)
        found = json.loads(run.stdout.splitlines()[-1])
        own = "-" if found["its transform"] is None else f"{found['its transform']:.3f}"
        print(
            f"{library:10}  {found['seconds']:7.0f}  {found['trustworthiness']:15.4f}  {own:>23}  "
            f"{found['median of 5']:11.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
