"""Re-ranking of the first candidates, against the papers' equations on dense matrices."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx import RetrievalIndex
from featx.errors import ParameterError
from featx.retrieval import DiffusionReranking, KReciprocalReranking
from featx.retrieval.ranking import Ranking, RankingInput
from featx.retrieval.rerankings import RERANKINGS

IMAGELESS = [name for name in RERANKINGS if name != "spatial"]


def vectors(n: int, d: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def k_reciprocal_by_loops(q, X, k1, k2, lam) -> np.ndarray:
    """Zhong et al. 2017, equations 2 to 12, with sets and loops; node 0 is the query."""
    nodes = np.concatenate([q[None], X]).astype(float)
    d = ((nodes[:, None] - nodes) ** 2).sum(2)
    d /= d.max(axis=1, keepdims=True)
    n = len(nodes)
    order = [sorted(range(n), key=lambda j, i=i: (j != i, d[i, j], j)) for i in range(n)]

    def reciprocal(i, k):
        return {j for j in order[i][: k + 1] if i in order[j][: k + 1]}

    V = np.zeros((n, n))
    for i in range(n):
        near = reciprocal(i, k1)
        whole = set(near)
        for j in near:
            theirs = reciprocal(j, round(k1 / 2))
            if len(theirs & near) > 2 / 3 * len(theirs):
                whole |= theirs
        for j in whole:
            V[i, j] = np.exp(-d[i, j])
        V[i] /= V[i].sum()
    V = np.stack([V[order[i][:k2]].mean(axis=0) for i in range(n)])
    jaccard = [1 - np.minimum(V[0], v).sum() / np.maximum(V[0], v).sum() for v in V]
    return ((1 - lam) * np.array(jaccard) + lam * d[0])[1:]


def diffusion_by_dense_solve(q, X, k, k_query, alpha, gamma) -> np.ndarray:
    """Iscen et al. 2017, equations 2 to 7, with full matrices and a direct solver."""
    X, q = unit(X.astype(float)), unit(q.astype(float))
    n = len(X)
    s = np.maximum(X @ X.T, 0) ** gamma
    np.fill_diagonal(s, 0)
    cosines = X @ X.T
    np.fill_diagonal(cosines, -np.inf)
    near = np.zeros((n, n), bool)
    for i in range(n):
        near[i, np.argsort(-cosines[i], kind="stable")[:k]] = True
    A = s * (near & near.T)
    D = A.sum(axis=1)
    half = np.array([1 / np.sqrt(x) if x > 0 else 0 for x in D])
    S = half[:, None] * A * half
    y = np.maximum(X @ q, 0) ** gamma
    y[np.argsort(-y, kind="stable")[k_query:]] = 0
    f = np.linalg.solve(np.eye(n) - alpha * S, y)
    return 1 - f / f.max()


def dense(rerank, q, X, metric="cosine") -> np.ndarray:
    X, q = (X, q) if metric == "euclidean" else (unit(X), unit(q))
    if isinstance(rerank, KReciprocalReranking):
        return k_reciprocal_by_loops(q, X, rerank.k1, rerank.k2, rerank.lam)
    return diffusion_by_dense_solve(q, X, rerank.k, rerank.k_query, rerank.alpha, rerank.gamma)


CASES = [
    pytest.param(KReciprocalReranking(k1=8, k2=3), "cosine", id="k-reciprocal"),
    pytest.param(KReciprocalReranking(k1=8, k2=3), "euclidean", id="k-reciprocal, euclidean"),
    pytest.param(KReciprocalReranking(k1=5, k2=1, lam=0), "cosine", id="Jaccard alone"),
    pytest.param(KReciprocalReranking(k1=200, k2=100), "cosine", id="more neighbours than rows"),
    pytest.param(DiffusionReranking(k=6, k_query=4), "cosine", id="diffusion"),
    pytest.param(DiffusionReranking(k=3, k_query=1, alpha=0.8, gamma=1), "cosine", id="less"),
    pytest.param(DiffusionReranking(k=200, k_query=200, alpha=0), "cosine", id="no spreading"),
]


@pytest.mark.parametrize(("rerank", "metric"), CASES)
@pytest.mark.parametrize("seed", range(3))
def test_distances_are_those_of_the_papers_equations(rerank, metric, seed) -> None:
    X, Q = vectors(50, seed=seed), vectors(4, seed=seed + 10)
    found = RetrievalIndex(metric).fit(X).query(Q, k=50, rerank=rerank)
    for one, q in zip(found.each(), Q, strict=True):
        expected = dense(rerank, q, X, metric)
        np.testing.assert_allclose(one.distances, expected[one.indices], atol=2e-4)
        assert sorted(one.indices.tolist()) == list(range(50))


@pytest.mark.parametrize(
    "rerank",
    [KReciprocalReranking(5, 2, n_candidates=12), DiffusionReranking(5, 3, n_candidates=12)],
    ids=["k-reciprocal", "diffusion"],
)
def test_only_the_first_candidates_are_reordered(rerank) -> None:
    X, q = vectors(40), vectors(1, seed=1)[0]
    index = RetrievalIndex().fit(X)
    plain, found = index.query(q, k=40), index.query(q, k=40, rerank=rerank)
    first = plain.indices[:12]
    np.testing.assert_array_equal(np.sort(found.indices[:12]), np.sort(first))
    np.testing.assert_array_equal(found.indices[12:], plain.indices[12:])
    expected = dense(rerank, q, X[first])
    np.testing.assert_allclose(found.distances[:12], np.sort(expected), atol=2e-4)
    rest = 1 + plain.distances[12:] - plain.distances[12]
    np.testing.assert_allclose(found.distances[12:], rest, atol=1e-6)
    few = index.query(q, k=3, rerank=rerank)  # the candidates are more than are asked for
    np.testing.assert_array_equal(few.indices, found.indices[:3])


def test_reciprocal_neighbours_by_hand() -> None:
    """On a line: 0 and 1 are each other's nearest; 2.1's nearest is 1, which is not so back."""
    X = np.array([[1.0], [2.1], [9.0], [9.1]], np.float32)
    found = (
        RetrievalIndex("euclidean")
        .fit(X)
        .query([0.0], k=4, rerank=KReciprocalReranking(k1=1, k2=1, lam=0))
    )
    # V of query and of 1.0 are both {0, 1} with weights by exp(-d / largest d)
    a, b = np.exp(-1 / 9.1**2), np.exp(-1 / 8.1**2)
    shared = min(1 / (1 + a), b / (1 + b)) + min(a / (1 + a), 1 / (1 + b))
    np.testing.assert_allclose(found.distances[0], 1 - shared / (2 - shared), atol=1e-5)
    assert found.indices.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(found.distances[1:], 1, atol=1e-6)


def test_diffusion_reaches_along_a_chain_what_is_far_from_the_query() -> None:
    angles = np.radians([10, 25, 40, 55, 70, 85, -75])
    X = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    index = RetrievalIndex().fit(X)
    assert index.query([1.0, 0.0], k=7).indices.tolist()[-2:] == [6, 5]
    found = index.query([1.0, 0.0], k=7, rerank=DiffusionReranking(k=2, k_query=1))
    assert found.indices.tolist()[-2:] == [5, 6]
    assert found.distances[-1] == 1  # nothing leads there


def test_copies_and_zeros_and_opposites_are_no_trouble() -> None:
    X = np.array([[1.0, 0], [1, 0], [1, 0], [0, 0], [-1, 0], [0, 1]], np.float32)
    for metric in ("cosine", "euclidean", "dot"):
        index = RetrievalIndex(metric).fit(X)
        for name in IMAGELESS:
            for q in ([1.0, 0.0], [0.0, 0.0], [-1.0, -1.0]):
                found = index.query(q, k=6, rerank=name)
                assert np.isfinite(found.distances).all()
                assert (np.diff(found.distances) >= 0).all()
                assert sorted(found.indices.tolist()) == list(range(6))


@given(
    st.sampled_from(IMAGELESS),
    st.integers(0, 10**6),
    st.integers(1, 30),
    st.integers(1, 40),
    st.sampled_from(["cosine", "euclidean", "dot"]),
)
def test_a_reranking_is_a_permutation_in_ascending_order(name, seed, n, k, metric) -> None:
    X, Q = vectors(n, 4, seed), vectors(2, 4, seed + 1)
    index = RetrievalIndex(metric).fit(X, ids=[f"n{i}" for i in range(n)])
    whole, found = index.query(Q, k=n, rerank=name), index.query(Q, k=k, rerank=name)
    assert found.ids.shape == found.distances.shape == (2, min(k, n))
    assert (np.diff(whole.distances, axis=1) >= 0).all()
    for row in whole.ids.tolist():
        assert sorted(row) == sorted(index.ids_.tolist())
    np.testing.assert_array_equal(found.ids, whole.ids[:, :k])
    np.testing.assert_array_equal(index.ids_[found.indices], found.ids)


@pytest.mark.parametrize("name", IMAGELESS)
def test_a_query_alone_and_among_others_gives_the_same_and_no_query_gives_none(name) -> None:
    index, Q = RetrievalIndex().fit(vectors(30)), vectors(5, seed=1)
    many = index.query(Q, k=30, rerank=name)
    for i, q in enumerate(Q):
        one = index.query(q, k=30, rerank=name)
        assert one.ids.shape == (30,)
        np.testing.assert_allclose(one.distances, many.distances[i], atol=1e-6)
    assert index.query(Q[:0], k=4, rerank=name).ids.shape == (0, 4)
    again = pickle.loads(pickle.dumps(index)).query(Q, k=30, rerank=name)
    np.testing.assert_array_equal(again.indices, many.indices)


def test_none_is_plain_distance_and_any_object_that_ranks_will_do() -> None:
    class Backwards:
        def rank(self, given: RankingInput) -> Ranking:
            found = given.nearest(len(given.ids))
            return Ranking(found.rows[:, ::-1], -found.distances[:, ::-1]).first(given.k)

    index, q = RetrievalIndex().fit(vectors(9)), vectors(1, seed=1)[0]
    plain = index.query(q, k=9)
    for rerank in (None, "none"):
        np.testing.assert_array_equal(index.query(q, k=9, rerank=rerank).ids, plain.ids)
    found = index.query(q, k=2, rerank=Backwards())
    np.testing.assert_array_equal(found.ids, plain.ids[::-1][:2])


def test_several_rerankings_follow_each_other() -> None:
    index, Q = RetrievalIndex().fit(vectors(40)), vectors(3, seed=1)
    first = index.query(Q, k=40, rerank="aqe")
    both = index.query(Q, k=40, rerank=["aqe", DiffusionReranking(n_candidates=7)])
    np.testing.assert_array_equal(both.ids[:, 7:], first.ids[:, 7:])
    assert (both.ids[:, :7] != first.ids[:, :7]).any()
    np.testing.assert_array_equal(np.sort(both.ids[:, :7]), np.sort(first.ids[:, :7]))
    # the other way round, what is averaged is what diffusion put first
    nearest = index.query(Q, k=10, rerank="diffusion").indices
    X = unit(index.vectors())
    means = unit(Q) + X[nearest].sum(axis=1)
    found = index.query(Q, k=40, rerank=["diffusion", "none", "aqe"])
    np.testing.assert_array_equal(found.ids, index.query(means, k=40).ids)


def test_a_reranking_works_on_a_loaded_mapped_index(tmp_path) -> None:
    index, Q = RetrievalIndex().fit(vectors(30)), vectors(3, seed=1)
    index.save(tmp_path / "i")
    mapped = RetrievalIndex.load(tmp_path / "i", mmap=True)
    for name in IMAGELESS:
        expected = index.query(Q, rerank=name).ids
        np.testing.assert_array_equal(mapped.query(Q, rerank=name).ids, expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i: i.query([1.0] * 6, rerank="k-recip"), r"Did you mean 'k-reciprocal'\?"),
        (lambda i: i.query([1.0] * 6, rerank="sptial"), r"rerank: got 'sptial', .*'spatial'\?"),
        (lambda i: i.query([1.0] * 6, rerank=["aqe", "spacial"]), r"Did you mean 'spatial'\?"),
        (lambda i: i.query([1.0] * 6, rerank=7), r"rerank: got 7, expected one of none, aqe"),
        (lambda i: i.query([1.0] * 6, rerank=DiffusionReranking), r"with a method rank"),
        (lambda _: KReciprocalReranking(k1=3, k2=4), r"k2: got 4, expected at most k1=3"),
        (lambda _: KReciprocalReranking(lam=2), r"lam: got 2, expected a number from 0 to 1"),
        (lambda _: KReciprocalReranking(n_candidates=0), r"n_candidates: got 0, expected an int"),
        (
            lambda _: DiffusionReranking(alpha=1),
            r"alpha: got 1, expected a number from 0 to below",
        ),
        (lambda _: DiffusionReranking(k=True), r"k: got True, expected an integer"),
    ],
)
def test_misuse_is_named(call, message) -> None:
    index = RetrievalIndex().fit(vectors(5))
    with pytest.raises(ParameterError, match=message):
        call(index)
