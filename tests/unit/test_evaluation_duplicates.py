"""Near-duplicates by blocks against a plain n by n matrix."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.errors import ParameterError
from featx.evaluation import _duplicates, duplicate_groups, find_leaks


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def flooded(near: np.ndarray) -> list[int]:
    """Components of a relation, by flooding from each row in turn."""
    groups, n = [-1] * len(near), 0
    for row in range(len(near)):
        if groups[row] >= 0:
            continue
        waiting = [row]
        while waiting:
            at = waiting.pop()
            if groups[at] < 0:
                groups[at] = n
                waiting += np.flatnonzero(near[at]).tolist()
        n += 1
    return groups


@st.composite
def features(draw: Any) -> tuple[np.ndarray, np.ndarray]:
    """Rows around a few centres, so that some are near, and hashes that sometimes agree."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n = draw(st.integers(1, 40))
    centres = rng.normal(size=(draw(st.integers(1, 8)), 5))
    x = centres[rng.integers(0, len(centres), n)] + rng.normal(size=(n, 5)) * 0.3
    hashes = np.array([f"h{k}" if k < 12 else "" for k in rng.integers(0, 24, n)])
    return x * rng.uniform(0.1, 10, (n, 1)), hashes


@pytest.fixture(params=["whole", "short"], autouse=True)
def compare(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compare rows whole, or first along one axis, as many are along 64."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "short":
            patch.setattr(_duplicates, "MANY_ROWS", 0)
            patch.setattr(_duplicates, "N_AXES", 1)
        yield


SETTINGS = (st.sampled_from([0.5, 0.9, 0.95]), st.sampled_from([1, 3, 7, 64]))


@given(features(), features(), *SETTINGS)
def test_leaks_are_those_of_the_whole_matrix(
    train: Any, test: Any, threshold: float, block: int
) -> None:
    cosine = unit(train[0]) @ unit(test[0]).T
    exact = (train[1][:, None] == test[1][None]) & (train[1] != "")[:, None]
    if (np.abs(cosine - threshold) < 1e-5).any():  # float32 may round either way
        return
    leaks = find_leaks(train[0], test[0], train_hashes=train[1], test_hashes=test[1],
                       threshold=threshold, block_size=block)  # fmt: skip
    found = list(zip(leaks.train.tolist(), leaks.test.tolist(), strict=True))
    assert sorted(found) == sorted(map(tuple, np.argwhere((cosine >= threshold) | exact).tolist()))
    np.testing.assert_allclose(leaks.cosine, cosine[leaks.train, leaks.test], atol=1e-5)
    np.testing.assert_array_equal(leaks.is_exact, exact[leaks.train, leaks.test])
    assert leaks.test_rows.tolist() == sorted({j for _, j in found})
    assert leaks.train_rows.tolist() == sorted({i for i, _ in found})
    assert len(leaks) == len(found)
    keys = [(not e, -c) for e, c in zip(leaks.is_exact, leaks.cosine.tolist(), strict=True)]
    assert keys == sorted(keys)


@given(features(), *SETTINGS)
def test_groups_are_the_components_of_the_whole_matrix(
    case: Any, threshold: float, block: int
) -> None:
    x, hashes = case
    cosine = unit(x) @ unit(x).T
    if (np.abs(cosine - threshold) < 1e-5).any():
        return
    got = duplicate_groups(x, threshold=threshold, block_size=block)
    assert got.tolist() == flooded(cosine >= threshold)
    same = (hashes[:, None] == hashes[None]) & (hashes != "")[:, None]
    got = duplicate_groups(x, threshold=threshold, hashes=hashes, block_size=block)
    assert got.tolist() == flooded((cosine >= threshold) | same)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_equal_rows_are_found_at_a_threshold_of_one(dtype: Any) -> None:
    """Would catch float32 cosines of 0.9999999 that fail a test for 1."""
    x = (np.random.default_rng(0).random((300, 1280)) * 200).astype(dtype)
    leaks = find_leaks(x, x[::-1], threshold=1.0, block_size=50)
    assert leaks.test.tolist() == (299 - leaks.train).tolist()
    assert len(leaks) == 300
    assert leaks.cosine.max() <= 1
    assert duplicate_groups(np.tile(x, (2, 1)), threshold=1.0).tolist() == [*range(300)] * 2


def test_a_row_of_zeros_is_near_to_none_but_may_have_an_equal_hash() -> None:
    zeros = np.zeros((2, 3))
    assert len(find_leaks(zeros, zeros)) == 0
    leaks = find_leaks(zeros, zeros, train_hashes=["a", ""], test_hashes=["", "a"])
    assert (leaks.train.tolist(), leaks.test.tolist()) == ([0], [1])
    assert leaks.is_exact.tolist() == [True]
    assert leaks.cosine.tolist() == [0]


def test_memory_stays_far_below_the_whole_matrix() -> None:
    """Would catch an n by n matrix, or the 36 million pairs of equal rows as a list."""
    x = np.ones((6000, 4), dtype=np.float32)
    tracemalloc.start()
    groups = duplicate_groups(x, block_size=256)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not groups.any()
    assert peak < 6000**2 * 4 / 20


def test_too_many_pairs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_duplicates, "MAX_PAIRS", 99)
    with pytest.raises(ParameterError, match=r"threshold: 0.5 gives over 99 pairs.*raise it"):
        find_leaks(np.ones((10, 2)), np.ones((10, 2)), threshold=0.5)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: find_leaks([[1, 2]], [[1]]), r"test_features: got 1 features per row and 2 in"),
        (lambda: find_leaks([1, 2], [[1]]), r"train_features: got shape \(2,\)"),
        (lambda: find_leaks([[1]], [["a"]]), r"test_features: got shape \(1, 1\) and dtype <U1"),
        (lambda: duplicate_groups([[1.0], [np.nan]]), r"features: row 1 has NaN"),
        (lambda: duplicate_groups(np.empty((0, 3))), r"features: got shape \(0, 3\)"),
        (
            lambda: duplicate_groups([[1]], threshold=0),
            r"threshold: got 0, expected a number above 0 and at most 1",
        ),
        (lambda: duplicate_groups([[1]], threshold=95), r"threshold: got 95"),
        (lambda: duplicate_groups([[1]], block_size=0), r"block_size: got 0"),
        (lambda: duplicate_groups([[1]], hashes=["a", "b"]), r"hashes: got shape \(2,\).*1 texts"),
        (lambda: duplicate_groups([[1]], hashes=[7]), r"hashes: got shape \(1,\) and dtype int"),
        (
            lambda: find_leaks([[1]], [[1]], train_hashes=["a"]),
            r"train_hashes: got hashes of one side alone",
        ),
        (
            lambda: find_leaks([[1]], [[1]], test_hashes=["a"]),
            r"test_hashes: got hashes of one side alone",
        ),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_bad_arguments_are_named(call: Any, match: str) -> None:
    with pytest.raises(ParameterError, match=match):
        call()
