"""Exact search in several threads: each row once, the same answer every time, BLAS as it was."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_limits

from featx import RetrievalIndex
from featx.retrieval import _search, _threads, _vectors
from featx.retrieval._nearest import Nearest
from featx.retrieval._threads import Shared, run_in_threads


@pytest.fixture
def two_threads():
    with threadpool_limits(2, user_api="blas"):
        if n_of_blas() != 2:
            pytest.skip("the threads of this BLAS cannot be set")
        yield


def n_of_blas() -> int:
    return max((one["num_threads"] for one in _threads._blas().info()), default=0)


@pytest.fixture
def few_rows_at_a_time(monkeypatch, two_threads) -> None:
    monkeypatch.setattr(_search, "MANY_QUERIES", 1)
    monkeypatch.setattr(_vectors, "CACHED_ROWS", 7)
    monkeypatch.setattr(_vectors, "FIRST_ROWS", 5)
    monkeypatch.setattr(_search, "FIRST_ROWS", 5)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 3, 60])
def test_neighbours_are_those_of_all_distances(metric, dtype, k, few_rows_at_a_time) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 8)).astype(dtype).astype(np.float32)
    Q = rng.normal(size=(40, 8)).astype(np.float32)
    index = RetrievalIndex(metric, dtype=dtype).fit(X)
    for queries in (Q, None):
        distances, rows = index.kneighbors(queries, k)
        every = cdist(X if queries is None else queries, X.astype(float), metric)
        if queries is None:
            np.fill_diagonal(every, np.inf)
        np.testing.assert_allclose(distances, np.sort(every)[:, :k], atol=1e-6, rtol=1e-5)
        np.testing.assert_allclose(
            distances, np.take_along_axis(every, rows, axis=1), atol=1e-6, rtol=1e-5
        )
        assert all(len(set(of_query)) == k for of_query in rows.tolist())


def test_of_equal_rows_the_first_are_found_every_time(few_rows_at_a_time) -> None:
    """Would catch an answer that depends on which thread is first."""
    X = np.zeros((300, 4), np.float32)
    X[50::2, 0] = 1
    index = RetrievalIndex("dot").fit(X)
    Q = np.tile(np.float32([1, 0, 0, 0]), (9, 1))
    for _ in range(20):
        found = index.query(Q, k=6).indices
        np.testing.assert_array_equal(found, np.tile([50, 52, 54, 56, 58, 60], (9, 1)))
        np.testing.assert_array_equal(index.query(-Q, k=6).indices, [range(6)] * 9)


def test_the_least_keys_are_kept_in_whatever_order_they_come() -> None:
    rng = np.random.default_rng(0)
    keys = rng.integers(-3, 4, (200, 5)).astype(np.float32)  # many are equal
    keys[rng.random(keys.shape) < 0.1] = -0.0
    # those of equal keys that come first, by numpy's stable sort
    expected = np.argsort(keys, axis=0, kind="stable")[:8].T
    for seed in range(10):
        nearest = Nearest(5, 8)
        for some in np.array_split(np.random.default_rng(seed).permutation(200), 17):
            rows, queries = np.nonzero(keys[some] <= nearest.limits)
            nearest.add(queries, some[rows], keys[some[rows], queries])
        np.testing.assert_array_equal(np.sort(nearest.rows()), np.sort(expected))
        np.testing.assert_array_equal(nearest.limits, np.sort(keys, axis=0)[7])


@pytest.mark.parametrize("values", [1, 2, 5, 10**6])
def test_what_a_block_hands_on_has_the_least_keys_and_is_little(values, monkeypatch) -> None:
    """Would catch a database of equal rows that takes 20 times as long as another."""
    monkeypatch.setattr(_search, "FEW_KEYS", 0)
    k, n, m = 4, 512, 6
    keys = np.random.default_rng(0).integers(0, values, (n, m)).astype(np.float32)
    limits = np.full(m, np.inf, np.float32)
    rows, queries = np.divmod(_search._choose(keys, keys <= limits, limits, k), m)
    expected = np.argsort(keys, axis=0, kind="stable")[:k]
    assert all(set(expected[:, i]) <= set(rows[queries == i]) for i in range(m))
    assert len(rows) <= 2 * _search.GROUP * k * m


def test_a_query_of_too_few_rows_is_filled_up_with_minus_one() -> None:
    nearest = Nearest(2, 3)
    nearest.add(np.array([1]), np.array([7]), np.float32([-0.5]))
    assert np.sort(nearest.rows()).tolist() == [[-1, -1, -1], [-1, -1, 7]]


def test_each_item_goes_to_one_thread_and_blas_is_as_before(two_threads) -> None:
    items, names, threads_of_blas = Shared(iter(range(1000))), [], set()
    both_run = threading.Barrier(2, timeout=60)
    seen: list[int] = []

    def work() -> None:
        names.append(threading.current_thread().name)
        both_run.wait()
        threads_of_blas.add(n_of_blas())
        seen.extend(items)

    run_in_threads(work, items.stop)
    assert sorted(seen) == list(range(1000))
    assert len(set(names)) == 2
    assert threads_of_blas == {1}
    assert n_of_blas() == 2


def test_work_within_work_runs_once(two_threads) -> None:
    runs: list[str] = []

    def work() -> None:
        run_in_threads(lambda: runs.append("inner"), lambda: None)

    run_in_threads(work, lambda: None)
    assert runs == ["inner"] * 2


@pytest.mark.parametrize("name", ["_0", "_1"])
def test_an_error_stops_the_other_threads_and_is_raised(name, two_threads) -> None:
    def endless():
        while True:
            yield 0

    items = Shared(endless())

    def work() -> None:
        for _ in items:
            if threading.current_thread().name.endswith(name):
                raise OSError("the file is gone")

    with pytest.raises(OSError, match="the file is gone"):
        run_in_threads(work, items.stop)
    assert n_of_blas() == 2


def test_half_precision_is_widened_as_numpy_does_it() -> None:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)]
    for halves in (every, finite, finite[::-1], finite.astype(">f2")):
        found, expected = _vectors._as_float32(halves), halves.astype(np.float32)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))
