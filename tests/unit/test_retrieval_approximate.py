"""Approximate kinds against the exact one, against faiss by hand, and what a damaged one does."""

from __future__ import annotations

import copy
import json
import pickle

import faiss
import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from featx import RetrievalIndex
from featx.errors import FeatxError, FileFormatError, MissingDependencyError, ParameterError
from featx.retrieval import _kinds
from featx.retrieval._approximate import finder_from_arrays
from featx.retrieval._kinds import Kind, choose_kind
from featx.store import write_features

KINDS = [
    ("ivf", "float32"),
    ("ivf", "float16"),
    ("ivf", "int8"),
    ("ivf", "pq"),
    ("hnsw", "float32"),
    ("hnsw", "float16"),
    ("hnsw", "int8"),
]
N, D = 6000, 16


def mixture(n: int, seed: int) -> np.ndarray:
    """Draw rectified vectors around 60 centres, as features of a network lie."""
    centres = np.random.default_rng(5).normal(size=(60, D))
    rng = np.random.default_rng(seed)
    X = centres[rng.integers(0, 60, n)] + rng.normal(size=(n, D))
    return np.maximum(X, 0).astype(np.float32)


@pytest.fixture(scope="module")
def data():
    return mixture(N, 0), mixture(200, 1)


@pytest.fixture(scope="module")
def built(data):
    """Build each kind once; tests copy before they change one."""
    made: dict = {}

    def get(kind: str, codes: str, metric: str = "cosine") -> RetrievalIndex:
        key = (kind, codes, metric)
        if key not in made:
            made[key] = RetrievalIndex(metric, kind=kind, codes=codes).fit(
                data[0], labels=[f"l{i % 7}" for i in range(N)]
            )
        return copy.copy(made[key])

    return get


def recall(found: np.ndarray, right: np.ndarray) -> float:
    return float(
        np.mean([len(set(f) & set(r)) / len(r) for f, r in zip(found, right, strict=True)])
    )


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
@pytest.mark.parametrize(("kind", "codes"), KINDS)
def test_recall_is_what_was_asked_for_and_distances_are_exact(data, built, kind, codes, metric):
    X, Q = data
    index = built(kind, codes, metric)
    exact = RetrievalIndex(metric, kind="exact").fit(X)
    found, right = index.query(Q, k=10), exact.query(Q, k=10)
    assert index.recall_.recall >= 0.92  # 0.95 on the other half of the queries
    assert recall(found.ids, right.ids) >= 0.92
    everything = exact.query(Q, k=N)
    for i in range(len(Q)):
        of = dict(zip(everything.ids[i].tolist(), everything.distances[i].tolist(), strict=True))
        mine = [of[j] for j in found.ids[i].tolist()]
        np.testing.assert_allclose(found.distances[i], mine, rtol=1e-4, atol=1e-5)


def test_at_the_same_effort_it_finds_what_faiss_by_hand_finds(data, built) -> None:
    X, Q = data
    index = built("ivf", "float32")
    finder = index._vectors.finder
    unit = X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-9)  # some are all zeros
    theirs = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(D), D, finder.index.nlist, faiss.METRIC_INNER_PRODUCT
    )
    theirs.quantizer.add(finder.index.quantizer.reconstruct_n(0, finder.index.nlist))
    theirs.is_trained = True
    theirs.add(unit)
    theirs.nprobe = finder.effort
    asked = Q / np.maximum(np.linalg.norm(Q, axis=1, keepdims=True), 1e-9)
    cosines, rows = theirs.search(asked, 10)
    found = index.query(Q, k=10)
    np.testing.assert_allclose(found.distances, 1 - cosines, atol=2e-6)
    assert (found.ids == rows).mean() > 0.99  # near ties fall either way


@pytest.mark.parametrize(("kind", "codes"), KINDS)
def test_a_saved_one_answers_the_same_read_mapped_and_pickled(data, built, kind, codes, tmp_path):
    _, Q = data
    index = built(kind, codes)
    index.save(tmp_path / "i")
    expected = index.query(Q)
    for again in (
        RetrievalIndex.load(tmp_path / "i"),
        RetrievalIndex.load(tmp_path / "i", mmap=True),
        pickle.loads(pickle.dumps(index)),
    ):
        found = again.query(Q)
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_array_equal(found.distances, expected.distances)
        assert again.recall_ == index.recall_
        assert again.kind_ == index.kind_


@pytest.mark.parametrize(("kind", "codes"), [("ivf", "float16"), ("hnsw", "int8"), ("ivf", "pq")])
def test_rows_come_change_and_go(data, built, kind, codes, tmp_path) -> None:
    X, _ = data
    index = built(kind, codes)
    new = mixture(50, 9) + 0.01
    index.add(new, ids=np.arange(N, N + 50), labels=["new"] * 50)
    index.remove(np.arange(100))
    other = mixture(20, 11) * 3
    index.update(other, ids=np.arange(200, 220))
    index.save(tmp_path / "i")
    for one in (index, RetrievalIndex.load(tmp_path / "i")):
        assert one.n_samples_fit_ == N - 50
        hits = one.query(new, k=1)
        assert (hits.ids[:, 0] == np.arange(N, N + 50)).mean() >= 0.9
        assert (hits.labels[:, 0] == "new").mean() >= 0.9
        assert (one.query(other, k=1).ids[:, 0] == np.arange(200, 220)).mean() >= 0.9
        gone = one.query(X[:100], k=20).ids
        assert not (gone < 100).any()
        stale = one.query(X[200:220], k=1)
        assert (stale.distances[:, 0] > 1e-6).mean() >= 0.9  # the old vectors are not there
    untouched = built(kind, codes)
    assert untouched.n_samples_fit_ == N
    assert (untouched.query(X[:100], k=1).distances[:, 0] < 1e-6).mean() >= 0.9
    assert untouched.query(new, k=5).ids.max() < N


def test_a_worn_index_is_built_again(built) -> None:
    index = built("ivf", "float16")
    before = index._vectors.finder
    index.remove(np.arange(N // 2))
    assert index._vectors.finder.n_dead == 0
    assert index._vectors.finder.index is not before.index
    assert index.recall_.n_samples == N // 2


@pytest.mark.parametrize(
    ("kind", "codes"), [("exact", "auto"), ("ivf", "float16"), ("hnsw", "int8")]
)
def test_a_filter_lets_only_its_rows_through_and_fills_k(data, kind, codes, monkeypatch) -> None:
    from featx.retrieval import _search

    monkeypatch.setattr(_search, "FEW_ROWS", 100)  # so that faiss filters too
    monkeypatch.setattr(_search, "FEW_SHARE", 0)
    X, Q = data
    year = np.array([str(2000 + i % 3) for i in range(N)])
    labels = np.array([f"l{i % 7}" for i in range(N)])
    index = RetrievalIndex(kind=kind, codes=codes).fit(X, labels=labels, metadata={"year": year})
    where = {"label": ["l1", "l2"], "year": "2001"}
    allowed = np.isin(labels, ["l1", "l2"]) & (year == "2001")
    exact = RetrievalIndex(kind="exact").fit(X[allowed], ids=np.flatnonzero(allowed))
    for asked in (where, allowed):
        found = index.query(Q, k=10, filter=asked)
        assert found.ids.shape == (len(Q), 10)
        assert allowed[found.indices].all()
        assert recall(found.ids, exact.query(Q, k=10).ids) >= (1 if kind == "exact" else 0.9)
    one = index.query(Q[0], k=10, filter={"id": [3, 5]})
    assert sorted(one.ids.tolist()) == [3, 5]
    reranked = index.query(Q[:3], k=10, filter=where, rerank="k-reciprocal")
    assert allowed[reranked.indices].all()
    expanded = index.query(Q[:3], k=10, filter=where, rerank="aqe")
    assert allowed[expanded.indices].all()


def test_all_rows_are_ranked_exactly_whatever_the_kind(data, built) -> None:
    X, Q = data
    whole = built("ivf", "pq").query(Q[:4], k=N)
    exact = RetrievalIndex(kind="exact").fit(X).query(Q[:4], k=N)
    np.testing.assert_array_equal(np.sort(whole.ids), np.sort(exact.ids))
    # the two add up products in different orders, so that equal distances may change places
    np.testing.assert_allclose(whole.distances, exact.distances, atol=1e-6)
    assert (whole.ids == exact.ids).mean() > 0.99


@given(seed=st.integers(0, 10**6), n=st.integers(1, 300), share=st.floats(0.0, 1.0))
@settings(max_examples=15, deadline=None)
def test_any_size_and_filter_gives_k_different_rows(seed, n, share) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4)).astype(np.float32)
    index = RetrievalIndex(kind="ivf", codes="float32").fit(X)
    mask = rng.random(n) < share
    mask[rng.integers(n)] = True
    found = index.query(X[:3], k=7, filter=mask)
    assert found.ids.shape == (min(3, n), min(7, mask.sum()))
    assert mask[found.indices].all()
    assert all(len(set(row)) == len(row) for row in found.ids.tolist())
    assert np.isfinite(found.distances).all()


def test_neighbours_of_rows_leave_themselves_out(data, built) -> None:
    X, _ = data
    index = built("hnsw", "float32")
    distances, rows = index.kneighbors(None, 3)
    assert not (rows == np.arange(N)[:, None]).any()
    assert recall(rows, RetrievalIndex(kind="exact").fit(X).kneighbors(None, 3)[1]) >= 0.9
    assert (np.diff(distances, axis=1) >= 0).all()


def test_a_store_on_disk_is_indexed_where_it_lies(data, tmp_path) -> None:
    X, Q = data
    paths = [f"/p/{i}.jpg" for i in range(N)]
    store = write_features(tmp_path / "f.h5", X, paths=paths, metadata={"year": ["1"] * N})
    index = RetrievalIndex(kind="ivf", codes="int8", storage="store").fit(store)
    right = RetrievalIndex(kind="exact").fit(X, ids=paths).query(Q)
    assert recall(index.query(Q).ids, right.ids) >= 0.9
    assert index.metadata_["year"].tolist() == ["1"] * N
    index.save(tmp_path / "i")
    again = RetrievalIndex.load(tmp_path / "i", mmap=True)
    np.testing.assert_array_equal(again.query(Q).ids, index.query(Q).ids)


def test_tuning_reaches_another_target_and_asks_with_given_queries(data, built) -> None:
    _, Q = data
    index = built("ivf", "float16", "dot")
    low = index.tune(Q, target_recall=0.5)._vectors.finder.effort
    assert index.tune(Q, target_recall=0.99)._vectors.finder.effort > low
    assert index.recall_.n_queries == 100
    assert index.recall_.recall >= 0.96
    with pytest.raises(ParameterError, match=r"tune: got an exact index, expected kind 'hnsw'"):
        RetrievalIndex().fit(Q).tune(Q)


def test_a_target_out_of_reach_is_said() -> None:
    X = np.random.default_rng(0).normal(size=(3000, 32)).astype(np.float32)
    with pytest.warns(
        UserWarning, match=r"ivf with pq codes: recall at 10 is 0\.\d+, expected 1;"
    ):
        RetrievalIndex("euclidean", kind="ivf", codes="pq", target_recall=1).fit(X)


# -- which kind -----------------------------------------------------------------------------------


def test_auto_is_exact_while_a_query_can_read_all_and_says_why(monkeypatch) -> None:
    assert choose_kind("auto", "auto", 200_000, 1280).name == "exact"
    big = choose_kind("auto", "auto", 1_000_000, 512)
    assert (big.name, big.codes) == ("ivf", "float16")
    assert big.reason.startswith("1000000 x 512 float32 are 1.9 GiB, too much for each query")
    assert big.n_lists == 2048  # the power of two nearest to 2 * sqrt(n)
    monkeypatch.setattr(_kinds, "_memory_bytes", lambda: 8 * 2**30)
    assert choose_kind("auto", "auto", 4_000_000, 512).codes == "int8"
    assert choose_kind("auto", "auto", 10_000_000, 512).codes == "pq"
    assert choose_kind("hnsw", "auto", 10_000_000, 512).codes == "int8"
    monkeypatch.setattr(_kinds.importlib.util, "find_spec", lambda _: None)
    without = choose_kind("auto", "auto", 1_000_000, 512)
    assert without.name == "exact"
    assert "faiss is not installed; pip install 'featx[ann]'" in without.reason


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "hsnw"}, r"kind: got 'hsnw', expected one of 'auto'.*Did you mean 'hnsw'"),
        ({"codes": "int4"}, r"codes: got 'int4', expected one of 'auto'"),
        ({"kind": "hnsw", "codes": "pq"}, r"codes: got 'pq' for kind 'hnsw', expected float32"),
        ({"kind": "exact", "codes": "int8"}, r"codes: got 'int8' for kind 'exact', expected"),
        ({"dtype": "int8"}, r"dtype: got 'int8', expected one of 'float32' or 'float16'"),
        ({"target_recall": 1.5}, r"target_recall: got 1\.5, expected a number from 0 to 1"),
        ({"kind": "ivf", "storage": "cuda"}, r"kind: got 'ivf' with storage 'cuda'"),
    ],
)
def test_wrong_parameters_are_named(data, options, message) -> None:
    with pytest.raises(ParameterError, match=message):
        RetrievalIndex(**options).fit(data[0])


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (
            {"lable": "l1"},
            r"filter column: got 'lable', expected one of 'id' or 'label'.*mean 'label'",
        ),
        ({"label": "l9"}, r"filter: no row of the index fits \{'label': 'l9'\}"),
        (
            np.ones(3, bool),
            r"filter: got bool of shape \(3,\), expected a dict .* shape \(6000,\)",
        ),
        ([1, 2], r"filter: got int64 of shape \(2,\)"),
        (np.zeros(N, bool), r"filter: no row of the index fits"),
    ],
)
def test_wrong_filters_are_named(data, built, where, message) -> None:
    with pytest.raises(ParameterError, match=message):
        built("ivf", "float16").query(data[1], filter=where)


def test_without_faiss_the_install_command_is_named(data, monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingDependencyError, match=r"approximate search.*'featx\[ann\]'"):
        RetrievalIndex(kind="hnsw").fit(data[0][:100])


# -- vectors in half precision, and a radius ------------------------------------------------------


def test_half_precision_holds_half_and_answers_nearly_the_same(data, tmp_path) -> None:
    X, Q = data
    half, full = RetrievalIndex(dtype="float16").fit(X), RetrievalIndex().fit(X)
    a, b = half.query(Q), full.query(Q)
    np.testing.assert_allclose(a.distances, b.distances, atol=5e-4)
    assert recall(a.ids, b.ids) > 0.98
    assert half.vectors(3).dtype == np.float32
    half.add(Q[:2], ids=[N, N + 1]).remove([N])
    half.save(tmp_path / "half")
    full.save(tmp_path / "full")
    assert half._vectors.data.dtype == np.float16
    for mmap in (False, True):
        again = RetrievalIndex.load(tmp_path / "half", mmap=mmap)
        np.testing.assert_array_equal(again.query(Q).ids, half.query(Q).ids)
        assert again.dtype == "float16"
    sizes = [(tmp_path / name).stat().st_size for name in ("half", "full")]
    assert sizes[1] - sizes[0] == pytest.approx(2 * N * D, rel=0.05)
    with pytest.raises(ParameterError, match=r"dtype: got 'float16' for values up to 1e\+06"):
        RetrievalIndex(dtype="float16").fit(X * 0 + 1e6)


def test_a_store_can_be_indexed_into_a_file_of_half_precision(data, tmp_path) -> None:
    X, Q = data
    store = write_features(tmp_path / "f.h5", X, paths=[str(i) for i in range(N)])
    RetrievalIndex(storage="store", dtype="float16").fit(store).save(tmp_path / "i")
    expected = RetrievalIndex(dtype="float16").fit(store)
    again = RetrievalIndex.load(tmp_path / "i")
    np.testing.assert_array_equal(again.query(Q).ids, expected.query(Q).ids)
    np.testing.assert_array_equal(again.query(Q).distances, expected.query(Q).distances)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("kind", ["exact", "ivf"])
def test_a_radius_gives_what_scikit_learn_gives(data, metric, kind) -> None:
    from sklearn.neighbors import NearestNeighbors

    X, Q = data
    radius = {"cosine": 0.1, "euclidean": 2.0}[metric]
    theirs = NearestNeighbors(metric=metric, algorithm="brute").fit(X)
    distances, rows = theirs.radius_neighbors(Q, radius)
    found = RetrievalIndex(metric, kind=kind).fit(X).query_radius(Q, radius)
    assert sum(len(m.ids) for m in found) > 200
    for mine, d, r in zip(found, distances, rows, strict=True):
        assert set(mine.ids.tolist()) == set(r.tolist())
        np.testing.assert_allclose(mine.distances, np.sort(d), rtol=1e-4, atol=1e-5)
    few = RetrievalIndex(metric).fit(X, labels=np.arange(N) % 2)
    for mine in few.query_radius(Q[:5], radius, filter={"label": 1}):
        assert (mine.labels == 1).all()


def test_a_radius_of_zero_finds_copies_only() -> None:
    X = np.array([[1.0, 2.0], [1.0, 2.0], [3.0, 1.0]], np.float32)
    assert RetrievalIndex("euclidean").fit(X).query_radius(X[0], 0)[0].ids.tolist() == [0, 1]
    with pytest.raises(ParameterError, match=r"radius: got -1, expected a finite number"):
        RetrievalIndex().fit(X).query_radius(X, -1)


def test_a_memory_map_or_a_store_that_is_not_finite_is_refused(tmp_path) -> None:
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=(5, 3))
    mapped[:] = 1
    mapped[3, 1] = np.nan
    with pytest.raises(ParameterError, match=r"X: row 3 has a value that is not finite"):
        RetrievalIndex().fit(mapped)


def test_an_update_is_a_fit_of_the_changed_vectors(data) -> None:
    X, Q = data
    index = RetrievalIndex().fit(X, ids=[f"n{i}" for i in range(N)], labels=np.arange(N))
    changed = X.copy()
    changed[[5, 7]] = Q[:2]
    index.update(Q[:2], ids=["n5", "n7"])
    whole = RetrievalIndex().fit(changed, ids=index.ids_)
    np.testing.assert_array_equal(index.query(Q).ids, whole.query(Q).ids)
    assert index.query(Q[0], k=1).labels.tolist() == [5]
    with pytest.raises(ParameterError, match=r"ids: got 'n6000' \(1 such ids\)"):
        index.update(Q[:1], ids=["n6000"])
    with pytest.raises(ParameterError, match=r"ids: got 2, 1 of them different, expected one for"):
        index.update(Q[:2], ids=["n1", "n1"])


def test_the_device_finder_finds_what_the_blocks_find(data, monkeypatch) -> None:
    """On the CPU, which runs the same code as a GPU."""
    from featx.retrieval import _device
    from featx.retrieval._search import search
    from featx.retrieval._vectors import Vectors, row_norms

    monkeypatch.setattr(_device, "ROWS_AT_A_TIME", 1000)
    X, Q = data[0].copy(), data[1]
    X[17] = 0
    for metric in ("cosine", "euclidean", "dot"):
        plain = Vectors(X, row_norms(X), metric)
        finder = pickle.loads(pickle.dumps(_device.DeviceFinder(plain, "cpu")))
        there = Vectors(X, plain.norms, metric, finder)
        mask = np.arange(N) % 3 > 0
        for among in (None, mask):
            a = search(plain, Q, 10, among=among)
            b = search(there, Q, 10, among=among)
            np.testing.assert_allclose(a[1], b[1], rtol=1e-5, atol=1e-6)
            assert (a[0] == b[0]).mean() > 0.99


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_without_a_gpu_it_is_said(data) -> None:
    with pytest.raises(ParameterError, match=r"storage: got 'cuda', but torch finds no CUDA"):
        RetrievalIndex(storage="cuda").fit(data[0])


# -- files of strangers ---------------------------------------------------------------------------

BREAKS = {
    "sizes": lambda a: a + 1,
    "ids": lambda a: np.where(a == 5, 10**9, a),
    "codes": lambda a: a[:-1],
    "centroids": lambda a: a[:, :-1],
    "trained": lambda a: a[:-1],
    "levels": lambda a: a + 100,
    "offsets": lambda a: a + 1,
    "neighbors": lambda a: np.where(a >= 0, 10**8, a),
    "entry": lambda a: a + 10**6,
    "row_of": lambda a: a[:-1],
}


@pytest.mark.parametrize(("kind", "codes"), [("ivf", "int8"), ("hnsw", "int8")])
def test_arrays_that_do_not_fit_never_reach_faiss(built, kind, codes) -> None:
    """Would crash the process: faiss trusts what it holds."""
    finder = built(kind, codes)._vectors.finder
    arrays, codes = finder.arrays()
    arrays["codes"] = codes.whole()
    options = {"metric": "cosine", "effort": 8, "n_features": D}
    for name in arrays.keys() & BREAKS.keys():
        broken = {**arrays, name: BREAKS[name](arrays[name])}
        with pytest.raises(FileFormatError, match=r"approximate index: .* the file is damaged"):
            finder_from_arrays(broken, broken["codes"], finder.kind, **options)


@pytest.mark.parametrize(("kind", "codes"), [("ivf", "float16"), ("hnsw", "float16")])
def test_every_flipped_byte_is_found_or_harmless(data, kind, codes, tmp_path) -> None:
    X, Q = data
    index = RetrievalIndex(kind=kind, codes=codes).fit(X[:300])
    index.save(tmp_path / "i")
    whole, expected = (tmp_path / "i").read_bytes(), index.query(Q[:20], k=5)
    rng = np.random.default_rng(3)
    n_refused = 0
    for at in rng.integers(0, len(whole), 150).tolist():
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(rng.integers(8))
        (tmp_path / "d").write_bytes(damaged)
        try:
            found = RetrievalIndex.load(tmp_path / "d").query(Q[:20], k=5)
        except FeatxError:
            n_refused += 1
        else:
            np.testing.assert_array_equal(found.ids, expected.ids)
    assert n_refused > 100


def test_a_header_with_an_unknown_kind_is_refused(built, tmp_path) -> None:
    from zlib import crc32

    built("ivf", "float16").save(tmp_path / "i")
    with h5py.File(tmp_path / "i", "r+") as h5:
        header = json.loads(h5["header"][:].tobytes())
        header["kind"]["codes"] = "int2"
        text = json.dumps(header).encode()
        del h5["header"]
        h5["header"] = np.frombuffer(text, np.uint8)
        h5["header"].attrs["crc"] = crc32(text)
    with pytest.raises(FileFormatError, match=r"its kind or metric is unknown"):
        RetrievalIndex.load(tmp_path / "i")


def test_a_kind_describes_itself() -> None:
    assert Kind("exact", "float32", "asked for").describe() == "exact"
    assert Kind("hnsw", "int8", "asked for").describe() == "hnsw with int8 codes"
    assert Kind("ivf", "pq", "").n_parts(1280) == 320
    assert Kind("ivf", "pq", "").n_parts(7) == 1


@pytest.mark.parametrize("n", [1, 2, 10, 41, 255])
@pytest.mark.parametrize(
    ("kind", "codes"), [("ivf", "int8"), ("ivf", "float32"), ("hnsw", "auto")]
)
def test_a_handful_of_rows_is_an_index_that_gives_all_of_them(kind, codes, n, tmp_path) -> None:
    X = np.random.default_rng(0).standard_normal((n, 6)).astype(np.float32)
    RetrievalIndex(kind=kind, codes=codes).fit(X).save(tmp_path / "i")
    for k in (1, n, n + 100):
        found = RetrievalIndex.load(tmp_path / "i").query(X[:1], k=k).ids
        assert found.shape == (1, min(k, n))
        assert found[0, 0] == 0
        assert len(set(found[0].tolist())) == min(k, n)


@pytest.mark.parametrize("n", [1, 255])
def test_product_codes_of_too_few_rows_are_refused_with_what_to_take(n) -> None:
    """Would catch faiss' own exception from the training of its centroids."""
    X = np.random.default_rng(0).standard_normal((256, 6)).astype(np.float32)
    RetrievalIndex(kind="ivf", codes="pq").fit(X)
    match = rf"codes: got 'pq' for {n} images, expected at least 256.*take 'auto' or 'int8'"
    with pytest.raises(ParameterError, match=match):
        RetrievalIndex(kind="ivf", codes="pq").fit(X[:n])
