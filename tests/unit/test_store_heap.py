"""Text comes from HDF5's heaps as HDF5 itself reads it, and a damaged heap is refused at once."""

from __future__ import annotations

import struct
import time

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featx.errors import FileFormatError
from featx.store import Failure, StoreWriter, open_store, store_info, verify_store


def commit(path, rows, labels, *, metadata=None, failures=()):
    n = len(rows)
    with StoreWriter(path) as writer:
        table = writer.table(None, has_labels=True, n_features=1)
        table.append(
            rows,
            np.zeros((n, 1)),
            digests=[""] * n,
            sizes=[0] * n,
            mtimes=[0] * n,
            labels=labels,
            metadata=metadata,
        )
        writer.add_failures(Failure(f"{rows[0]} {i}", reason) for i, reason in enumerate(failures))


def assert_as_hdf5_reads(path):
    with h5py.File(path) as h5, open_store(path) as store:
        table = h5["tables/outside"]

        def by_hdf5(dataset):
            return dataset.asstr(errors="surrogateescape")[:].tolist()

        assert store.paths.tolist() == by_hdf5(table["path"])
        assert store.labels.tolist() == by_hdf5(table["label"])
        found = {name: column.tolist() for name, column in store.metadata.items()}
        assert found == {name: by_hdf5(column) for name, column in table["metadata"].items()}
        assert [f.reason for f in store.failures] == by_hdf5(h5["failures/reason"])


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
long = st.sampled_from(["", "x", "seven b", "eight by", "é" * 2040, "y" * 4079, "z" * 70_000])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_texts_are_those_that_hdf5_reads(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("heap") / "f.h5"
    start = 0
    for number in range(data.draw(st.integers(1, 3))):
        n = data.draw(st.integers(1, 60))
        draw = [data.draw(texts | long) for _ in range(n)]
        names = [f"{i} {text}" for i, text in enumerate(draw, start)]
        late = {f"column {number}": draw[::-1]} if data.draw(st.booleans()) else None
        commit(path, names, draw, metadata=late, failures=draw[:5])
        start += n
    with StoreWriter(path) as writer:  # text that is replaced leaves gaps
        table = writer.table(None, has_labels=True)
        rows = data.draw(st.lists(st.integers(0, start - 1), unique=True, min_size=1))
        table.update(rows, labels=[data.draw(texts | long) for _ in rows])
        writer.remove_failures([f.path for f in writer.failures[::2]])
    assert_as_hdf5_reads(path)
    assert verify_store(path).ok


def test_a_text_of_twenty_megabytes_and_thousands_of_short_ones_are_read(tmp_path):
    path = tmp_path / "f.h5"
    commit(path, [f"/photos/{i}.jpg" for i in range(3000)], ["l" * (i % 40) for i in range(3000)])
    commit(path, ["big"], ["x"], failures=["w" * 20_000_000])
    assert_as_hdf5_reads(path)


def heaps(raw):
    """Return (offset, size, offset of the free space's header) of each heap."""
    found, at = [], raw.find(b"GCOL")
    while at >= 0:
        (size,) = struct.unpack_from("<Q", raw, at + 8)
        where = at + 16
        while where + 16 <= at + size and raw[where : where + 2] != b"\0\0":
            where += 16 + -(-struct.unpack_from("<Q", raw, where + 8)[0] // 8) * 8
        found.append((at, size, where))
        at = raw.find(b"GCOL", at + size)
    return found


def test_free_space_of_no_bytes_at_which_hdf5_stands_still_is_refused_at_once(tmp_path):
    path = tmp_path / "f.h5"
    commit(path, ["a", "b"], ["x", "y"], failures=["no image"])
    raw = path.read_bytes()
    assert len(heaps(raw)) >= 1
    for _, _, free in heaps(raw):
        damaged = bytearray(raw)
        damaged[free + 8 : free + 16] = bytes(8)
        path.write_bytes(damaged)
        start = time.monotonic()
        assert not verify_store(path).ok
        with pytest.raises(FileFormatError, match=r"heap of texts at byte \d+ is damaged"):
            store_info(path)
        says = r"heap of texts at byte \d+ is damaged"
        with StoreWriter(path) as writer, pytest.raises(FileFormatError, match=says):
            writer.table(None, has_labels=True)
        with open_store(path) as store:
            with pytest.raises(FileFormatError, match=r"heap of texts at byte \d+ is damaged"):
                store.paths.tolist()
            np.testing.assert_array_equal(store[:], np.zeros((2, 1)))
        assert time.monotonic() - start < 5


@pytest.mark.slow
def test_any_flip_in_a_heap_or_in_what_refers_to_it_is_refused_or_has_no_effect(tmp_path):
    path = tmp_path / "f.h5"
    commit(path, [f"{i}.jpg" for i in range(9)], ["cat", "dog", ""] * 3, failures=["no image"])
    raw = path.read_bytes()
    with open_store(path) as store:
        expected = store.paths.tolist(), store.labels.tolist(), store.failures
    with h5py.File(path) as h5:
        dataset = h5["tables/outside/path"].id
        at = dataset.get_chunk_info(0).byte_offset
    places = [*range(at, at + 9 * 16)]
    for offset, _, free in heaps(raw):
        places += range(offset, free + 16)
    draw = np.random.default_rng(0)
    n_refused = 0
    for place in draw.choice(places, 400, replace=False).tolist():
        damaged = bytearray(raw)
        damaged[place] ^= 1 << int(draw.integers(8))
        path.write_bytes(damaged)
        try:
            with open_store(path) as store:
                found = store.paths.tolist(), store.labels.tolist(), store.failures
        except FileFormatError:
            n_refused += 1
            assert not verify_store(path).ok
        else:
            assert found == expected
    assert 200 < n_refused < 400
