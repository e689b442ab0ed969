"""Image retrieval: the same thing, or things of the same kind, in other pictures."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline

from featx.errors import ImageDecodeError, choose
from featx.estimators import PCAWhitening, PowerNormalizer, Preset
from featx.evaluation import (
    Relevance,
    average_precision_scores,
    bootstrap_interval,
    recall_at_k,
)
from featx.extraction import Encoder, RunOptions
from featx.retrieval import RetrievalIndex, SpatialSearch
from featx.tasks.comparison import Figure
from pipelines.datasets import RetrievalDataset
from pipelines.protocols.features import Features, prepare_features
from pipelines.protocols.results import Rankings, TaskResult

__all__ = ["RETRIEVAL_PRESETS", "RetrievalPreset", "run_retrieval"]

Rows = NDArray[np.intp]
Floats = NDArray[np.float32]
PAPER_COMPONENTS = 500


@dataclass(frozen=True)
class RetrievalPreset:
    """One way from images to rankings.

    Parameters
    ----------
    name, note : str
        What it is called, and one line on what it does.
    augment : str, default "none"
        As for `featx.extract`; of patches, the views are kept.
    query_patches : int, default 0
        Patches of a query that are searched for (the first of those extracted); 0 is no spatial
        search.
    whitening : float or None, default None
        `PCAWhitening`'s power, learned on the database; None leaves the vectors as they are.
    power : float or None, default None
        `PowerNormalizer`'s, last.
    rerank : str or None, default None
        As for `RetrievalIndex.query`.
    """

    name: str
    note: str
    augment: str = "none"
    query_patches: int = 0
    whitening: float | None = None
    power: float | None = None
    rerank: str | None = None


RETRIEVAL_PRESETS: dict[str, RetrievalPreset] = {
    p.name: p
    for p in (
        RetrievalPreset("plain", "one unit-length vector an image"),
        RetrievalPreset("whitened", "PCA and half whitening, learned on the database",
                        whitening=0.5),
        RetrievalPreset("multi-scale", "mean over three sizes", augment="multi-scale"),
        RetrievalPreset(
            "spatial-search",
            "Razavian et al. 2014: 14 patches of the query against 30 of each reference",
            augment="patches(4)", query_patches=14,
        ),
        RetrievalPreset(
            "paper",
            "spatial search on patches reduced to 500, whitened and raised to the power 2",
            augment="patches(4)", query_patches=14, whitening=1.0, power=2.0,
        ),
        RetrievalPreset(
            "spatial-search-half",
            "spatial search on half-whitened patches, 30 of the query too",
            augment="patches(4)", query_patches=30, whitening=0.5,
        ),
        RetrievalPreset("alpha-qe", "alpha query expansion", rerank="alpha-qe"),
        RetrievalPreset("k-reciprocal", "k-reciprocal re-ranking", rerank="k-reciprocal"),
        RetrievalPreset("diffusion", "diffusion over the nearest 200", rerank="diffusion"),
        RetrievalPreset(
            "best",
            "local features of the nearest 100, matched and checked for one similarity",
            rerank="spatial",
        ),
    )
}  # fmt: skip


def run_retrieval(
    dataset: RetrievalDataset,
    store: str | os.PathLike[str],
    *,
    encoder: Encoder | None = None,
    run: RunOptions | None = None,
    preset: str | RetrievalPreset = "plain",
    protocol: str | None = None,
    whiten_on: Sequence[str] | None = None,
) -> TaskResult:
    """Search the database for every query and measure the rankings.

    Parameters
    ----------
    dataset : RetrievalDataset
        Queries with boxes are searched whole: cut them out first, with
        `pipelines.datasets.write_crops`.
    store : path
        HDF5 file that keeps the features of database and queries.
    encoder : Encoder, optional
        Default: the embedded network. Its augmentation is the preset's.
    run : RunOptions, optional
        How it is run.
    preset : str or RetrievalPreset, default "plain"
        See `RETRIEVAL_PRESETS`.
    protocol : str, optional
        One of the set's, such as "medium"; default its first.
    whiten_on : sequence of str, optional
        Images that whitening is learned from. Default: the database, which flatters; the protocol
        of the result says which.

    Returns
    -------
    TaskResult
        "map" (trapezoid, junk removed), "map_step" (the mean of the precisions at the right rows),
        "top1", "recall@5"; bootstrap intervals over queries. Of ukbench "ukbench" too, recall@4.

    Raises
    ------
    ParameterError
        If there is no such preset or protocol.
    ImageDecodeError
        If an image cannot be read: a ranking without it would not be the set's.
    """
    chosen = _preset(preset)
    name = protocol or next(iter(dataset.protocols))
    relevance = dataset.protocols[choose("protocol", name, dataset.protocols)]
    net = encoder or Encoder()
    paths = list(dict.fromkeys([*dataset.database, *dataset.queries]))
    views = "train" if chosen.query_patches else "average"
    extraction = Preset(chosen.name, chosen.note, augment=chosen.augment, views=views)
    features = prepare_features(paths, store, extraction, net, run)
    _require_all(features, dataset.name)
    row_of = {path: i for i, path in enumerate(paths)}
    base = features.X[[row_of[p] for p in dataset.database]]
    asked = features.X[[row_of[p] for p in dataset.queries]]
    learned_from = base
    if chosen.whitening is not None and whiten_on is not None:
        learned_from = prepare_features(list(whiten_on), store, extraction, net, run).X
    start = time.perf_counter()
    transform = _transform(
        chosen, learned_from.reshape(-1, features.recipes[0].n_features // features.n_views)
    )
    rank = _searcher(
        chosen, base, transform, dataset, functools.partial(net.load, run), features.n_views
    )
    fit_seconds = time.perf_counter() - start
    start = time.perf_counter()
    indices, distances = rank(asked)
    seconds = (time.perf_counter() - start) / len(dataset.queries)
    return TaskResult(
        task="retrieval",
        dataset=dataset.name,
        preset=chosen.name,
        backbone=features.recipes[0].backbone,
        protocol=_describe_protocol(name, chosen, whiten_on),
        figures=_figures(indices, relevance, dataset.name),
        fingerprints=tuple(r.fingerprint for r in features.recipes),
        counts={
            "database": len(dataset.database),
            "queries": len(dataset.queries),
            "failed": len(features.failures),
        },
        costs={
            "images_per_second": features.images_per_second,
            "fit_seconds": fit_seconds,
            "seconds_per_query": seconds,
        },
        splits=(),
        details=_rankings(dataset, indices, distances, relevance),
    )


def _preset(preset: str | RetrievalPreset) -> RetrievalPreset:
    if isinstance(preset, RetrievalPreset):
        return preset
    return RETRIEVAL_PRESETS[choose("preset", preset, RETRIEVAL_PRESETS)]


def _describe_protocol(name: str, preset: RetrievalPreset, whiten_on: Sequence[str] | None) -> str:
    text = f"protocol {name!r}, AP by trapezoid; 95 % bootstrap interval over queries"
    if preset.whitening is None:
        return text
    source = "the database itself" if whiten_on is None else f"{len(whiten_on)} other images"
    return f"{text}; whitening learned on {source}"


def _require_all(features: Features, name: str) -> None:
    if features.failures:
        path, reason = features.failures[0]
        raise ImageDecodeError(
            f"dataset {name!r}: image {path!r}: {reason} ({len(features.failures)} such images); "
            "a ranking without it would not be the set's: replace the image"
        )


def _transform(preset: RetrievalPreset, X: Floats) -> Any:
    """Return what is done to each vector, fitted; None for nothing."""
    steps: list[Any] = []
    if preset.whitening is not None:
        n = min(PAPER_COMPONENTS, len(X) - 1, X.shape[1])
        steps.append(PCAWhitening(n, power=preset.whitening))
    if preset.power is not None:
        steps.append(PowerNormalizer(preset.power))
    return make_pipeline(*steps).fit(X) if steps else None


def _searcher(
    preset: RetrievalPreset,
    base: Floats,
    transform: Any,
    dataset: RetrievalDataset,
    load: Callable[[], Any],
    n_views: int,
) -> Callable[[Floats], tuple[Rows, Floats]]:
    """Return what ranks the whole database for each row of queries."""
    ids = list(dataset.database)
    if preset.query_patches:
        search = SpatialSearch(
            n_views, n_query_patches=preset.query_patches, transform=transform
        ).fit(base, ids=ids)

        def by_patches(asked: Floats) -> tuple[Rows, Floats]:
            shaped = asked.reshape(len(asked), n_views, -1)
            found = search.query(shaped, k=len(ids))
            return found.indices, found.distances

        return by_patches
    kept = base if transform is None else transform.transform(base)
    index = RetrievalIndex().fit(kept, ids=ids)

    def by_vector(asked: Floats) -> tuple[Rows, Floats]:
        vectors = asked if transform is None else transform.transform(asked)
        images = list(dataset.queries) if preset.rerank == "spatial" else None
        found = index.query(vectors, k=len(ids), rerank=preset.rerank, images=images)
        return found.indices, found.distances

    return by_vector


def _figures(indices: Rows, relevance: Relevance, name: str) -> dict[str, Figure]:
    trapezoid, step = (
        average_precision_scores(
            indices, relevance.positives, junk=relevance.junk, convention=convention
        )
        for convention in ("trapezoid", "step")
    )
    figures = {
        "map": _mean_of(trapezoid),
        "map_step": _mean_of(step),
        "top1": _mean_of(_recalls(indices, relevance, 1, "any")),
        "recall@5": _mean_of(_recalls(indices, relevance, 5, "any")),
    }
    if name == "ukbench":  # four of each object, the query counted: a quarter of the N-S score
        figures["ukbench"] = _mean_of(_recalls(indices, relevance, 4, "share"))
    return figures


def _recalls(indices: Rows, relevance: Relevance, k: int, convention: str) -> NDArray[np.float64]:
    """Return each query's recall, NaN where nothing is right."""
    values = np.full(len(indices), np.nan)
    for i, (positives, junk) in enumerate(zip(relevance.positives, relevance.junk, strict=True)):
        if len(np.setdiff1d(positives, junk)):
            values[i] = recall_at_k(
                indices[i : i + 1], [positives], junk=[junk], k=k, convention=convention
            )
    return values


def _mean_of(values: NDArray[np.float64]) -> Figure:
    known = values[~np.isnan(values)]
    low, high = bootstrap_interval(lambda v: float(np.mean(v)), known)
    return Figure(float(known.mean()), low, high)


def _rankings(
    dataset: RetrievalDataset, indices: Rows, distances: Floats, relevance: Relevance
) -> Rankings:
    is_right = np.stack(
        [
            np.isin(row, positives)
            for row, positives in zip(indices, relevance.positives, strict=True)
        ]
    )
    return Rankings(
        queries=dataset.queries,
        database=dataset.database,
        indices=indices,
        distances=distances,
        is_right=is_right,
        average_precision=average_precision_scores(
            indices, relevance.positives, junk=relevance.junk
        ),
    )
