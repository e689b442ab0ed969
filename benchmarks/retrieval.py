"""Rankings on photographs: what each re-ranking gains or loses, and what it costs.

    python benchmarks/retrieval.py [--backbone NAME --weights FILE] [--no-patches]

One thing: 60 photographs of DVD covers among 100 covers (smvs_dvd); top-1 is the share of queries
whose cover comes first, mAP then the mean of 1 / rank (the convention "step"), as each has one.
Things of a kind: every image of caltech101, flowers12 and scene15 asks for the others of its class
(mAP, trapezoid, over whole rankings, the query left out).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from common import ASSETS, WEIGHTS, keep, need_assets

import featx
from featx import PCAWhitening, RetrievalIndex
from featx.evaluation import (
    mean_average_precision_score,
    recall_at_k,
    relevance_from_labels,
)
from featx.retrieval import SpatialSearch, augment_database
from featx.retrieval.rerankings import RERANKINGS

KINDS = ("caltech101", "flowers12", "scene15")
N_COMPONENTS = 128


def extracted(net, folder, name, **options):
    """Return the features of a set, or of a part of one."""
    store = folder / f"{name.replace('/', '-')}.h5"
    return featx.extract(ASSETS / "datasets" / name, store, progress=False, **net, **options)


def timed(ask, n):
    """Return the matches and the seconds per query."""
    start = time.perf_counter()
    found = ask()
    return found, (time.perf_counter() - start) / n


def of_one_thing(ask, relevance):
    """Return top-1, mAP and seconds per query."""
    found, seconds = timed(ask, len(relevance.positives))
    return {
        "top-1": recall_at_k(found.indices, relevance.positives, k=1),
        "mAP (step)": mean_average_precision_score(
            found.indices, relevance.positives, convention="step"
        ),
        "seconds per query": seconds,
    }


def covers(net, folder, other, *, patches):
    """Measure every ranking on smvs_dvd; `other` are features of other images."""
    database = extracted(net, folder, "smvs_dvd/reference")
    queries = extracted(net, folder, "smvs_dvd/queries")
    right = relevance_from_labels(
        [Path(p).name for p in queries.paths], [Path(p).name for p in database.paths]
    )
    k, n = len(database), min(N_COMPONENTS, len(database) - 1)
    index, first = RetrievalIndex().fit(database), queries.paths[:1].tolist()
    figures = {"plain": of_one_thing(lambda: index.query(queries, k=k), right)}
    for name, learned_on in (("database", database), ("caltech101", other)):
        white = PCAWhitening(n, power=0.5).fit(learned_on[:].astype(np.float64))
        searched = RetrievalIndex().fit(white.transform(database[:]))
        asked = white.transform(queries[:])
        figures[f"whitened, learned on {name}"] = of_one_thing(
            lambda searched=searched, asked=asked: searched.query(asked, k=k), right
        )
    # The very first query reads the database's images; later ones have them in memory.
    _, seconds = timed(lambda: index.query(queries[:1], rerank="spatial", images=first), 1)
    figures["spatial, very first query"] = {"seconds per query": seconds}
    for name in RERANKINGS:
        figures[name] = of_one_thing(
            lambda name=name: index.query(queries, k=k, rerank=name), right
        )
    return figures | (patch_search(net, folder, right) if patches else {})


def patch_search(net, folder, right):
    """Measure the search over 30 patches an image, plain and whitened."""
    net = {**net, "augment": "patches(4):keep"}
    database = extracted(net, folder, "smvs_dvd/reference")
    queries = extracted(net, folder, "smvs_dvd/queries")
    k, width = len(database), database.shape[1] // 30
    rows = database[:].reshape(-1, width).astype(np.float64)
    white = PCAWhitening(min(500, width), power=0.5).fit(rows)
    figures = {}
    for name, transform in (("plain", None), ("whitened, learned on database", white)):
        for n in (14, 30):
            search = SpatialSearch(n_query_patches=n, transform=transform).fit(database)
            figures[f"spatial search, {n} query patches, {name}"] = of_one_thing(
                lambda search=search: search.query(queries, k=k), right
            )
    return figures


def of_a_kind(store):
    """Return the mAP of each ranking over a set's classes, and what it gains."""
    labels = [Path(p).parent.name for p in store.paths]
    relevance = relevance_from_labels(labels)
    X, n = store[:], len(store)
    index = RetrievalIndex().fit(X)
    smooth = augment_database(index)
    figures, plain = {}, None
    rankings = [(name, index, name) for name in ("none", *RERANKINGS) if name != "spatial"]
    for name, searched, rerank in [*rankings, ("augmented database", smooth, "none")]:
        found, seconds = timed(
            lambda searched=searched, rerank=rerank: searched.query(X, k=n, rerank=rerank), n
        )
        score = mean_average_precision_score(
            found.indices, relevance.positives, junk=relevance.junk
        )
        plain = score if plain is None else plain
        figures["plain" if name == "none" else name] = {
            "mAP": score,
            "gain": score - plain,
            "seconds per query": seconds,
        }
    return figures


def main():
    """Print every ranking's figures."""
    need_assets()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--weights", default=str(WEIGHTS))
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--no-patches", action="store_true", help="leave out the patch search")
    args = parser.parse_args()
    net = {"backbone": args.backbone, "weights": args.weights, "precision": args.precision}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stores = {one: extracted(net, folder, one) for one in KINDS}
        figures = {one: of_a_kind(store) for one, store in stores.items()}
        figures["smvs_dvd"] = covers(
            net, folder, stores["caltech101"], patches=not args.no_patches
        )
    keep(f"retrieval, {args.backbone}", figures)


if __name__ == "__main__":
    main()
