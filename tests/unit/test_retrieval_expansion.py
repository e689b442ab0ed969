"""Expanded queries, smoothed databases and fused rankings, against loops and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx import RetrievalIndex
from featx.errors import ParameterError
from featx.recipe import Preprocessing, Recipe
from featx.retrieval import (
    AlphaQueryExpansion,
    AverageQueryExpansion,
    Matches,
    _expansion,
    augment_database,
    fuse_matches,
)
from featx.store import write_features

RECIPE = Recipe("net", "ab" * 32, "layer", "avg", Preprocessing(), "none", "float32", 6)


def vectors(n: int, d: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def expanded_by_loop(q, X, n, alpha, metric) -> np.ndarray:
    """Re-derived in float64: sum of max(cos, 0) ** alpha times the neighbours, plus the query."""
    q, X = q.astype(float), X.astype(float)
    cosines = unit(X) @ unit(q)
    keys = {"cosine": -cosines, "euclidean": ((X - q) ** 2).sum(1), "dot": -X @ q}[metric]
    seen = unit(X) if metric == "cosine" else X
    total, weights = (unit(q) if metric == "cosine" else q).copy(), 1.0
    for i in np.argsort(keys, kind="stable")[:n]:
        weight = max(cosines[i], 0) ** alpha if alpha else 1.0
        total += weight * seen[i]
        weights += weight
    return total / weights


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
@pytest.mark.parametrize(
    ("rerank", "alpha"),
    [(AverageQueryExpansion(5), 0), (AlphaQueryExpansion(5), 3), (AlphaQueryExpansion(5, 0), 0)],
    ids=["average", "alpha 3", "alpha 0"],
)
def test_an_expanded_query_is_the_search_for_the_weighted_mean(metric, rerank, alpha) -> None:
    X, Q = vectors(60), vectors(7, seed=1)
    index = RetrievalIndex(metric).fit(X)
    means = np.stack([expanded_by_loop(q, X, 5, alpha, metric) for q in Q]).astype(np.float32)
    found, expected = index.query(Q, k=60, rerank=rerank), index.query(means, k=60)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-4, atol=1e-5)


def test_expansion_finds_by_hand_what_the_query_alone_ranks_last() -> None:
    """q = (1, 0); its two nearest lean to one side and pull the mean past the third row."""
    angles = np.radians([20, 35, -45, 60])
    index = RetrievalIndex().fit(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert index.query([1.0, 0.0], k=4).indices.tolist() == [0, 1, 2, 3]
    found = index.query([1.0, 0.0], k=4, rerank=AverageQueryExpansion(2))
    assert found.indices.tolist() == [0, 1, 3, 2]
    middle = np.arctan2(np.sin(angles[:2]).sum(), 1 + np.cos(angles[:2]).sum())
    np.testing.assert_allclose(found.distances[0], 1 - np.cos(angles[0] - middle), atol=1e-6)


def test_expansion_does_not_depend_on_blocks(monkeypatch) -> None:
    index, Q = RetrievalIndex().fit(vectors(40)), vectors(9, seed=1)
    whole = index.query(Q, k=40, rerank="alpha-qe")
    monkeypatch.setattr(_expansion, "BLOCK_BYTES", 1)
    found = index.query(Q, k=40, rerank="alpha-qe")
    np.testing.assert_array_equal(found.indices, whole.indices)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_a_smoothed_database_is_the_weighted_mean_of_each_row_and_the_others_near_it(
    metric, monkeypatch
) -> None:
    X = vectors(30)
    expected = np.stack(
        [
            expanded_by_loop(x, np.delete(X, i, axis=0), 4, 2.0, metric).astype(np.float32)
            for i, x in enumerate(X)
        ]
    )
    index = RetrievalIndex(metric).fit(X, ids=[f"n{i}" for i in range(30)], labels=["l"] * 30)
    smooth = augment_database(index, 4, 2.0)
    np.testing.assert_allclose(smooth._vectors.data, expected, rtol=1e-4, atol=1e-5)
    assert smooth.ids_.tolist() == index.ids_.tolist()
    assert smooth.labels_.tolist() == index.labels_.tolist()
    assert smooth.metric == metric
    np.testing.assert_array_equal(index._vectors.data, X)
    if metric == "cosine":
        np.testing.assert_allclose(augment_database(X, 4, 2.0), expected, rtol=1e-4, atol=1e-5)
        monkeypatch.setattr(_expansion, "BLOCK_BYTES", 1)
        np.testing.assert_allclose(augment_database(X, 4, 2.0), expected, rtol=1e-4, atol=1e-5)


def test_a_smoothed_index_keeps_its_recipe_and_says_what_was_done(tmp_path) -> None:
    store = write_features(
        tmp_path / "f.h5", vectors(5), paths=[f"/p/{i}" for i in range(5)], recipe=RECIPE
    )
    smooth = augment_database(RetrievalIndex(storage="store").fit(store), k=2)
    assert smooth.recipe_ == RECIPE
    assert smooth.made_with_["augmented"] == "k=2, alpha=3"
    smooth.save(tmp_path / "i")
    assert RetrievalIndex.load(tmp_path / "i").made_with_ == smooth.made_with_


def matches(ids: str, queries: tuple[str, ...] = ("q",)) -> Matches:
    n = len(ids)
    return Matches(
        np.array(list(ids)), np.arange(n, dtype=np.float32), np.arange(n), None, queries
    )


def test_fusion_by_hand() -> None:
    """A: a b c; B: b c a. b: 1/62 + 1/61 > a: 1/61 + 1/63 > c: 1/63 + 1/62."""
    found = fuse_matches([matches("abc"), matches("bca")])
    assert found.ids.tolist() == ["b", "a", "c"]
    assert found.indices.tolist() == [1, 0, 2]
    best = 2 / 61
    np.testing.assert_allclose(found.distances[0], 1 - (1 / 62 + 1 / 61) / best, atol=1e-6)
    assert fuse_matches([matches("abc"), matches("bca")], [1, 0]).ids.tolist() == ["a", "b", "c"]
    assert fuse_matches([matches("abc"), matches("abc")]).distances[0] == 0
    assert fuse_matches([matches("ab"), matches("cd")], k=9).ids.tolist() == ["a", "c"]


def test_fusion_of_several_queries_is_each_by_itself() -> None:
    X, Q = vectors(20), vectors(4, seed=1)
    indices = [RetrievalIndex(m).fit(X, labels=list(range(20))) for m in ("cosine", "euclidean")]
    found = fuse_matches([i.query(Q, k=20) for i in indices])
    for j, q in enumerate(Q):
        one = fuse_matches([i.query(q, k=20) for i in indices])
        assert found[j].ids.tolist() == one.ids.tolist()
        assert found[j].labels.tolist() == one.labels.tolist() == one.ids.tolist()
    assert sorted(found.ids[0].tolist()) == list(range(20))
    assert (np.diff(found.distances, axis=1) >= 0).all()


@given(st.integers(0, 10**6), st.integers(2, 25), st.integers(1, 30), st.integers(1, 30))
def test_expansion_loses_no_row_and_respects_k(seed, n_rows, n, k) -> None:
    index = RetrievalIndex().fit(vectors(n_rows, seed=seed))
    for rerank in (AverageQueryExpansion(n), AlphaQueryExpansion(n)):
        found = index.query(vectors(3, seed=seed + 1), k=k, rerank=rerank)
        assert found.ids.shape == (3, min(k, n_rows))
        assert (np.diff(found.distances, axis=1) >= 0).all()
        assert all(len(set(row)) == len(row) for row in found.ids.tolist())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: AverageQueryExpansion(0), r"n: got 0, expected an integer of at least 1"),
        (lambda: AlphaQueryExpansion(3, -1), r"alpha: got -1, expected a finite number of at le"),
        (lambda: AlphaQueryExpansion(3, np.inf), r"alpha: got inf, expected a finite number"),
        (lambda: augment_database(vectors(4), 4), r"k: got 4 for 4 rows, expected at most 3"),
        (lambda: augment_database(vectors(4), 2, np.nan), r"alpha: got nan, expected"),
        (lambda: fuse_matches([]), r"matches: got none"),
        (lambda: fuse_matches([matches("a")], [1, 2]), r"weights: got 2, expected 1, one for"),
        (lambda: fuse_matches([matches("a")], [0]), r"weights: got \[0\], expected one above 0"),
        (lambda: fuse_matches([matches("a")], [-1]), r"weights\[0\]: got -1, expected"),
        (
            lambda: fuse_matches([matches("a"), matches("b", ("other",))]),
            r"matches\[1\]: got 1 queries \('other' first\), expected the 1 of matches\[0\]",
        ),
    ],
)
def test_misuse_is_named(call, message) -> None:
    with pytest.raises(ParameterError, match=message):
        call()
