"""Vectors read straight from their chunks are NumPy's rows of the same array, or refused."""

from __future__ import annotations

import itertools
import os
import zlib
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featx.errors import FileFormatError, ParameterError, StoreWriteError
from featx.store import (
    StoreWriter,
    _container,
    _layout,
    _transaction,
    info,
    open_store,
    store_info,
    verify_store,
    write_features,
)

N = 700


def vectors(width, dtype):
    return np.random.default_rng(width).normal(size=(N, width)).astype(dtype)


def write(path, X, parts=(0, 1, 300, N)):
    with StoreWriter(path) as writer:
        table = writer.table(None, has_labels=False, n_features=X.shape[1], dtype=X.dtype.name)
        for a, b in itertools.pairwise(parts):
            n = b - a
            table.append(
                [f"{i}.jpg" for i in range(a, b)],
                X[a:b],
                digests=[""] * n,
                sizes=[0] * n,
                mtimes=[0] * n,
            )
            writer.commit()


@pytest.fixture(scope="module", params=[(1, "float32"), (300, "float16"), (7000, "float32")])
def pair(request, tmp_path_factory):
    """A store and the same rows in memory; one chunk, 436 and 9 rows per chunk."""
    X = vectors(*request.param)
    path = tmp_path_factory.mktemp("vectors") / "f.h5"
    write(path, X)
    with open_store(path) as store:
        yield store, X


bounds = st.none() | st.integers(-2 * N, 2 * N)
numbers = st.lists(st.integers(-N, N - 1), max_size=60)
indices = st.one_of(
    st.integers(-N, N - 1),
    st.builds(slice, bounds, bounds, st.none() | st.integers(1, 9) | st.integers(-9, -1)),
    numbers.map(lambda rows: np.array(rows, np.int64)),
    numbers.map(lambda rows: np.sort(np.array(rows, np.int16))),
    numbers.filter(bool).map(lambda rows: np.array(rows + rows).reshape(2, -1)),
    st.tuples(st.integers(0, N - 1), st.integers(1, 200)).map(
        lambda run: np.arange(run[0], min(run[0] + run[1], N))[::-1]
    ),
    st.integers(0, 2**31).map(lambda seed: np.random.default_rng(seed).random(N) < 0.5),
    st.integers(0, 2**31).map(lambda seed: np.random.default_rng(seed).permutation(N)),
)


@settings(max_examples=150, deadline=None)
@given(index=indices)
def test_any_index_gives_what_numpy_gives(pair, index):
    store, X = pair
    found = store[index]
    assert found.dtype == X.dtype
    np.testing.assert_array_equal(found, X[index])


@pytest.mark.parametrize("has_preadv", [True, False])  # Windows has none
def test_threads_share_a_store(tmp_path, monkeypatch, has_preadv):
    if not has_preadv:
        monkeypatch.delattr(os, "preadv", raising=False)
    X = vectors(300, "float32")
    write(tmp_path / "f.h5", X)
    draws = [np.random.default_rng(seed).integers(0, N, 200) for seed in range(40)]
    with open_store(tmp_path / "f.h5") as store, ThreadPoolExecutor(4) as pool:
        for rows, found in zip(draws, pool.map(store.__getitem__, draws), strict=True):
            np.testing.assert_array_equal(found, X[rows])


def chunk_places(path):
    """Return (first row, offset, bytes) of each chunk of the features."""
    with h5py.File(path) as h5:
        dataset = h5["tables/outside/features"].id
        chunks = [dataset.get_chunk_info(i) for i in range(dataset.get_num_chunks())]
        return [(c.chunk_offset[0], c.byte_offset, c.size) for c in chunks]


def flip(path, offset, bits=1):
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ bits]))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_flipped_bit_is_refused_with_its_row_and_spares_the_others(tmp_path, dtype):
    path, X = tmp_path / "f.h5", vectors(300, dtype)
    write(path, X)
    row_bytes = 300 * X.dtype.itemsize
    draw = np.random.default_rng(0)
    for first, offset, _ in chunk_places(path):
        for _ in range(5):
            row = int(draw.integers(first, min(first + 200, N)))
            at = offset + (row - first) * row_bytes + int(draw.integers(row_bytes))
            flip(path, at, 1 << int(draw.integers(8)))
            damaged = path.read_bytes()
            with open_store(path) as store:
                for index in (row, slice(None), slice(row, row + 1), [5, row], [row, row]):
                    with pytest.raises(
                        FileFormatError, match=rf"the vector of row {row} does not"
                    ):
                        store[index]
                others = np.delete(np.arange(N), row)
                np.testing.assert_array_equal(store[others], X[others])
            assert not verify_store(path).ok
            original = bytearray(damaged)
            with open_store(path) as store, pytest.raises(FileFormatError, match=f"row {row} "):
                list(store.iter_blocks(64))
            original[at : at + 1] = X[row].tobytes()[at - offset - (row - first) * row_bytes :][:1]
            path.write_bytes(original)
    assert verify_store(path).ok


def test_a_flip_in_hdf5s_own_checksum_spoils_no_row_and_is_found_by_verify(tmp_path):
    path, X = tmp_path / "f.h5", vectors(300, "float32")
    write(path, X)
    _, offset, size = chunk_places(path)[0]
    flip(path, offset + size - 1)
    with open_store(path) as store:
        np.testing.assert_array_equal(store[:], X)
    assert not verify_store(path).ok


def test_vectors_that_have_changed_places_are_refused(tmp_path):
    path, X = tmp_path / "f.h5", vectors(300, "float32")
    write(path, X)
    with h5py.File(path, "r+") as h5:  # so that HDF5's own checksums fit
        h5["tables/outside/features"][10:12] = X[[11, 10]]
    with open_store(path) as store:
        with pytest.raises(FileFormatError, match="the vector of row 10 does not fit"):
            store[:]
        np.testing.assert_array_equal(store[12:], X[12:])


def test_a_file_cut_within_its_chunks_is_refused(tmp_path):
    path, X = tmp_path / "f.h5", vectors(300, "float32")
    write(path, X)
    with open_store(path) as store:
        first, offset, _ = chunk_places(path)[-1]
        with path.open("r+b") as file:
            file.truncate(offset)
        with pytest.raises(FileFormatError, match=r"f\.h5|the vector of row"):
            store[first:]


@pytest.mark.parametrize("compression", ["gzip", None])
def test_a_layout_of_another_tool_is_read_and_checked_as_well(tmp_path, compression):
    path, X = tmp_path / "f.h5", vectors(300, "float32")
    write(path, X)
    with h5py.File(path, "r+") as h5:
        group = h5["tables/outside"]
        del group["features"]
        group.create_dataset(
            "features", data=X, chunks=(50, 100), maxshape=(None, 300), compression=compression
        )
    with open_store(path) as store:
        rows = np.random.default_rng(1).integers(0, N, 99)
        np.testing.assert_array_equal(store[rows], X[rows])
        np.testing.assert_array_equal(store[:], X)
    with h5py.File(path, "r+") as h5:
        h5["tables/outside/features"][77, 5] += 1
    with open_store(path) as store:
        for index in (77, slice(70, 80), [3, 77]):
            with pytest.raises(FileFormatError, match="the vector of row 77 does not fit"):
                store[index]


def test_a_row_that_a_writer_changed_in_place_is_refused_and_the_others_are_read(tmp_path):
    path, X = tmp_path / "f.h5", vectors(300, "float32")
    write(path, X)
    with open_store(path) as store:
        with StoreWriter(path) as writer:
            table = writer.table(None, has_labels=False)
            table.update([699, 2], features=-X[[699, 2]])
            one = {"digests": [""], "sizes": [0], "mtimes": [0]}
            table.append(["new.jpg"], X[:1], **one)
        np.testing.assert_array_equal(store[3:699], X[3:699])
        for index in (2, [1, 699], slice(None)):
            with pytest.raises(FileFormatError, match="has changed since it was opened"):
                store[index]
    X[[699, 2]] *= -1
    with open_store(path) as store:
        np.testing.assert_array_equal(store[:700], X)


def test_rows_of_a_commit_that_stands_only_in_the_journal_are_read(tmp_path, monkeypatch):
    """As on a medium that cannot be written: the journal is applied in memory."""
    path, X = tmp_path / "f.h5", vectors(300, "float32")
    write(path, X)

    def refuse(journal, file):
        raise OSError(5, "the disk is gone")

    writer = StoreWriter(path)
    table = writer.table(None, has_labels=False)
    table.update([0, 217, 218, 699], features=-X[[0, 217, 218, 699]])
    with monkeypatch.context() as patch:
        patch.setattr(_transaction, "apply_journal", refuse)
        patch.setattr(_container, "apply_journal", refuse)
        with pytest.raises(StoreWriteError, match=r"only in f\.h5\.journal"):
            writer.commit()
    writer.close()
    before = path.read_bytes()
    X[[0, 217, 218, 699]] *= -1
    with open_store(path) as store:
        rows = np.random.default_rng(2).permutation(N)
        np.testing.assert_array_equal(store[rows], X[rows])
        np.testing.assert_array_equal(store[:], X)
    assert path.read_bytes() == before
    assert (tmp_path / "f.h5.journal").exists()


def test_a_description_is_read_again_where_a_commit_came_in_between(tmp_path, monkeypatch):
    path = tmp_path / "f.h5"
    write(path, vectors(4, "float32"))
    read, calls = info.read_failures, []

    def disturbed(*opened):
        calls.append(opened)
        if len(calls) == 1:
            with StoreWriter(path) as writer:
                table = writer.table(None, has_labels=False)
                table.append(["z"], np.ones((1, 4)), digests=[""], sizes=[0], mtimes=[0])
            raise FileFormatError("half of it was new")
        return read(*opened)

    monkeypatch.setattr(info, "read_failures", disturbed)
    assert store_info(path).tables[0].n_samples == N + 1
    assert len(calls) == 2


def test_a_large_tail_is_sent_to_the_disk_early_and_is_the_same(tmp_path, monkeypatch):
    sent = []
    monkeypatch.setattr(_transaction, "HASTEN_BYTES", 100_000)
    monkeypatch.setattr(
        _transaction._disk, "start_writing", lambda file, offset, n: sent.append((offset, n))
    )
    X = vectors(300, "float32")
    with write_features(tmp_path / "f.h5", X, paths=[str(i) for i in range(N)]) as store:
        np.testing.assert_array_equal(store[:], X)
    assert len(sent) > 2
    assert all(offset + n == later for (offset, n), (later, _) in itertools.pairwise(sent))


def test_checksums_are_zlibs():
    X = vectors(300, "float32")
    assert _layout.feature_crcs(X).tolist() == [zlib.crc32(row.tobytes()) for row in X]


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        ({"paths": ["a", "b\0", "c"]}, r"path 1: got 'b\\x00' with a NUL"),
        ({"paths": ["a", 5, "c"]}, r"path 1: got 5 of type int, expected str"),
        ({"labels": ["", "\0", ""]}, r"label 1: .* NUL"),
        ({"metadata": {"m": ["", "", "\0"]}}, r"metadata 'm' of row 2: .* NUL"),
        ({"digests": ["", "a" * 63, ""]}, r"digest: got 'aaa"),
        ({"digests": ["", "g" * 64, ""]}, r"digest: got 'ggg"),
        ({"digests": ["", "a" * 62 + "  ", ""]}, r"digest: got 'aaa.*  '"),
        ({"digests": ["a" * 60, "a" * 68, ""]}, r"digest: got 'aaa"),
        ({"digests": ["", 7, ""]}, r"digest: got 7, expected 64"),
    ],
)
def test_the_one_wrong_value_of_a_column_is_named(tmp_path, given_, says):
    row = {
        "paths": ["a", "b", "c"],
        "digests": ["", "f" * 64, ""],
        "sizes": [0] * 3,
        "mtimes": [0] * 3,
    } | given_
    with StoreWriter(tmp_path / "f.h5") as writer:
        table = writer.table(None, has_labels=False, n_features=2)
        with pytest.raises(ParameterError, match=says):
            table.append(row.pop("paths"), np.ones((3, 2)), **row)
        assert table.n_samples == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e6])
def test_half_precision_takes_finite_numbers_only(tmp_path, bad):
    X = np.ones((3, 4))
    X[1, 2] = bad
    one = {"digests": [""] * 3, "sizes": [0] * 3, "mtimes": [0] * 3}
    with StoreWriter(tmp_path / "f.h5") as writer:
        table = writer.table(None, has_labels=False, n_features=4, dtype="float16")
        with pytest.raises(ParameterError, match=r"features of 'b': got .* at position 2"):
            table.append(["a", "b", "c"], X, **one)
        X[1, 2] = -65504  # the largest
        table.append(["a", "b", "c"], X, **one)
        writer.commit()
        np.testing.assert_array_equal(table.read([1]), X[1:2])
