"""The exact index against brute force by other code, and what it refuses."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.estimator_checks import parametrize_with_checks

from featx import RetrievalIndex, open_store
from featx.errors import FingerprintMismatchError, ParameterError
from featx.recipe import Preprocessing, Recipe
from featx.retrieval import _search, _vectors
from featx.store import write_features

RECIPE = Recipe("net", "ab" * 32, "layer", "avg", Preprocessing(), "none", "float32", 8)


@parametrize_with_checks([RetrievalIndex(), RetrievalIndex("euclidean")])
def test_scikit_learn_checks_pass(estimator, check) -> None:
    check(estimator)


def vectors(n: int, d: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("n_block", [1, 7, 64, 1000], ids=lambda n: f"blocks of {n}")
def test_neighbours_are_scikit_learns_at_any_block_size(metric, n_block, monkeypatch) -> None:
    monkeypatch.setattr(_search, "BLOCK_BYTES", 4 * 8 * n_block)
    monkeypatch.setattr(_vectors, "BLOCK_BYTES", 4 * 8 * n_block)
    monkeypatch.setattr(_search, "QUERIES_AT_A_TIME", 5)
    X, Q = vectors(150), vectors(23, seed=1)
    theirs = NearestNeighbors(metric=metric, algorithm="brute").fit(X)
    mine = RetrievalIndex(metric).fit(X)
    for queries in (Q, None):
        d, i = theirs.kneighbors(queries, 9)
        found_d, found_i = mine.kneighbors(queries, 9)
        np.testing.assert_array_equal(found_i, i)
        np.testing.assert_allclose(found_d, d, atol=1e-6, rtol=1e-5)


def test_dot_ranks_by_inner_product() -> None:
    X, q = vectors(50), vectors(1, seed=1)[0]
    found = RetrievalIndex("dot").fit(X).query(q, k=50)
    order = np.argsort(-(X.astype(float) @ q), kind="stable")
    np.testing.assert_array_equal(found.indices, order)
    np.testing.assert_allclose(found.distances, -(X @ q)[order], rtol=1e-5, atol=1e-6)


@given(st.integers(0, 10**6), st.integers(2, 40), st.sampled_from(["cosine", "euclidean"]))
def test_every_row_finds_itself_at_distance_zero(seed, n, metric) -> None:
    X = vectors(n, 5, seed) * 100
    matches = RetrievalIndex(metric).fit(X).query(X, k=n)
    np.testing.assert_array_equal(matches.indices[:, 0], np.arange(n))
    assert np.abs(matches.distances[:, 0]).max() <= 1e-6
    assert (np.diff(matches.distances, axis=1) >= 0).all()
    expected = np.sort(cdist(X.astype(float), X.astype(float), metric), axis=1)
    np.testing.assert_allclose(matches.distances, expected, rtol=1e-4, atol=1e-5)


def test_copies_are_at_distance_zero_and_in_order_of_rows() -> None:
    """Would catch distances from the expanded square, which lose half of the digits."""
    x = vectors(1)[0] * 1000
    X = np.stack([x + 1, x, x, x])
    for metric in ("cosine", "euclidean"):
        found = RetrievalIndex(metric).fit(X).query(x, k=3)
        assert found.indices.tolist() == [1, 2, 3]
        assert found.distances.max() <= 1e-6


def test_a_row_of_zeros_is_at_cosine_distance_one() -> None:
    found = RetrievalIndex().fit([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]).query([2.0, 0.0], k=3)
    assert found.indices.tolist() == [1, 0, 2]
    np.testing.assert_allclose(found.distances, [0, 1, 2], atol=1e-6)
    assert RetrievalIndex().fit([[1.0, 0.0]]).query([0.0, 0.0]).distances.tolist() == [1.0]


def test_shapes_follow_the_query() -> None:
    index = RetrievalIndex().fit(vectors(5), labels=list("abcde"))
    one, many = index.query(vectors(1)[0], k=3), index.query(vectors(1), k=3)
    assert one.ids.shape == one.distances.shape == one.labels.shape == (3,)
    assert many.ids.shape == many.distances.shape == (1, 3)
    assert index.query(vectors(1)[0], k=99).ids.shape == (5,)
    assert index.query([v.tolist() for v in vectors(2)]).ids.shape == (2, 5)
    assert many[0].ids.tolist() == one.ids.tolist()


def test_added_and_removed_rows_leave_the_index_of_the_rest() -> None:
    X = vectors(30)
    names = [f"n{i}" for i in range(30)]
    index = RetrievalIndex().fit(X[:10], ids=names[:10])
    index.add(X[10:20], ids=names[10:20]).remove(["n3", "n12"]).add(X[20:], ids=names[20:])
    index.remove("n29")
    kept = [i for i in range(29) if i not in (3, 12)]
    whole = RetrievalIndex().fit(X[kept], ids=[names[i] for i in kept])
    Q = vectors(4, seed=3)
    assert index.n_samples_fit_ == 27
    np.testing.assert_array_equal(index.query(Q, k=27).ids, whole.query(Q, k=27).ids)
    np.testing.assert_array_equal(index.query(Q).distances, whole.query(Q).distances)


def test_an_index_in_the_store_answers_as_one_in_memory(tmp_path) -> None:
    X = vectors(40)
    store = write_features(
        tmp_path / "f.h5", X, paths=[f"/p/{i}" for i in range(40)], labels=["l"] * 40
    )
    on_disk = RetrievalIndex(storage="store").fit(store)
    mapped = np.memmap(tmp_path / "x.npy", np.float32, "w+", shape=X.shape)
    mapped[:] = X
    for index in (on_disk, RetrievalIndex().fit(mapped, ids=store.paths)):
        expected = RetrievalIndex().fit(store).query(X[:3], k=4)
        np.testing.assert_array_equal(index.query(X[:3], k=4).ids, expected.ids)
        np.testing.assert_array_equal(index.query(X[:3], k=4).distances, expected.distances)
        with pytest.raises(ParameterError, match=r"add: got an index whose vectors are in a \w+"):
            index.add(X)
    with pytest.raises(ParameterError, match=r"storage: got 'store' with X of type ndarray"):
        RetrievalIndex(storage="store").fit(X)
    again = pickle.loads(pickle.dumps(on_disk))
    np.testing.assert_array_equal(again.query(X[0]).ids, on_disk.query(X[0]).ids)


def test_features_of_another_recipe_are_refused(tmp_path) -> None:
    import dataclasses

    other = dataclasses.replace(RECIPE, pooling="max")
    one = write_features(tmp_path / "1.h5", vectors(3), paths=["a", "b", "c"], recipe=RECIPE)
    two = write_features(tmp_path / "2.h5", vectors(3), paths=["d", "e", "f"], recipe=other)
    index = RetrievalIndex().fit(one)
    for action in (index.query, index.add):
        with pytest.raises(FingerprintMismatchError, match=r"2\.h5.*pooling: got 'max', expected"):
            action(two)
    assert index.query(one, k=1).ids[:, 0].tolist() == ["a", "b", "c"]
    assert index.query(one, k=1).queries == ("a", "b", "c")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i: RetrievalIndex("cos").fit([[1.0]]), r"metric: got 'cos', expected one of"),
        (lambda i: RetrievalIndex(storage="disk").fit([[1.0]]), r"storage: got 'disk'"),
        (lambda i: i.query(vectors(1, 9)), r"X: got shape \(1, 9\), expected \(n, 8\)"),
        (lambda i: i.query([np.nan] * 8), r"row 0 has a value that is not finite"),
        (lambda i: i.query([1e39] * 8), r"row 0 has a value that is not finite in float32"),
        (lambda i: i.query([[1.0], [1.0, 2.0]]), r"rows of different lengths"),
        (lambda i: i.query(vectors(1), k=0), r"k: got 0, expected an integer of at least 1"),
        (lambda i: i.query(vectors(1), k=True), r"k: got True, expected an integer"),
        (lambda i: i.kneighbors(vectors(1), 6), r"n_neighbors: got 6, expected at most 5"),
        (lambda i: i.kneighbors(None, 5), r"n_neighbors: got 5, expected at most 4"),
        (lambda i: i.remove(["a", "z"]), r"ids: got 'z' \(1 such ids\)"),
        (lambda i: i.add(vectors(1), ids=["a"]), r"ids: got 'a' more than once"),
        (lambda i: i.add(vectors(1), ids=["f"], labels=["x"]), r"labels: got some, expected none"),
        (lambda i: i.add(vectors(2), ids=["f"]), r"ids: got shape \(1,\), expected \(2,\)"),
        (lambda i: i.query("photo.jpg"), r"query by image: .* made outside featx"),
        (lambda i: RetrievalIndex().fit(vectors(2), ids=[1.5, 2]), r"ids: got float64"),
    ],
)
def test_misuse_is_named_and_changes_nothing(call, message) -> None:
    X = vectors(5)
    index = RetrievalIndex().fit(X, ids=list("abcde"))
    with pytest.raises(ParameterError, match=message):
        call(index)
    assert index.query(X, k=1).ids[:, 0].tolist() == list("abcde")


def test_a_query_by_image_goes_through_the_recipes_network(tmp_path) -> None:
    from PIL import Image

    import featx

    rng = np.random.default_rng(0)
    for i in range(4):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(tmp_path / f"{i}.png")
    store = featx.extract(
        tmp_path, tmp_path / "f.h5", backbone="squeezenet1_1", weights=None, precision="float32"
    )
    index = RetrievalIndex().fit(open_store(tmp_path / "f.h5"))
    path = str(tmp_path / "2.png")
    array = np.asarray(Image.open(path))
    for query in (path, tmp_path / "2.png", Image.open(path), array):
        # the weights were random: nothing says where they are, so the index must be told
        index.weights = None
        index.made_with_ = {"weights": None}
        found = index.query(query, k=2)
        assert found.ids.shape == (2,)
        assert found.ids[0] == path
        assert found.distances[0] < 1e-5
    assert index.query([path, str(tmp_path / "0.png")], k=1).ids[:, 0].tolist() == [
        path,
        str(tmp_path / "0.png"),
    ]
    assert index.query(array[None], k=1).ids.shape == (1, 1)
    assert len(store) == 4
    with pytest.raises(featx.FeatxError, match=r"gone\.png': No such file; give another image"):
        index.query(str(tmp_path / "gone.png"))
