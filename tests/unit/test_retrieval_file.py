"""Index files: what goes in comes out, damage is found, a crash leaves the old one."""

from __future__ import annotations

import json
import os
import pickle
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from featx import LinearProbeClassifier, RetrievalIndex, save_model
from featx.errors import FeatxError, FileFormatError, ParameterError, StoreWriteError
from featx.recipe import Preprocessing, Recipe
from featx.retrieval import _file, _file_rows
from featx.retrieval._file_rows import FileRows
from featx.store import write_features

RECIPE = Recipe("net", "ab" * 32, "layer", "avg", Preprocessing(), "none", "float32", 6)


def index_of(n: int = 20, **options) -> RetrievalIndex:
    X = np.random.default_rng(n).normal(size=(n, 6)).astype(np.float32)
    return RetrievalIndex(**options).fit(
        X, ids=[f"/p/ü{i}.jpg" for i in range(n)], labels=[f"l{i % 3}" for i in range(n)]
    )


@pytest.mark.parametrize("mmap", [False, True], ids=["read", "mapped"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
def test_a_loaded_index_answers_as_the_saved_one(tmp_path, metric, mmap) -> None:
    index = index_of(metric=metric)
    index.save(tmp_path / "i")
    again = RetrievalIndex.load(tmp_path / "i", mmap=mmap)
    q = np.ones(6, np.float32)
    a, b = index.query(q, k=20), again.query(q, k=20)
    assert a.ids.tolist() == b.ids.tolist()
    assert a.labels.tolist() == b.labels.tolist()
    np.testing.assert_array_equal(a.distances, b.distances)
    assert again.metric == metric
    if mmap:
        assert isinstance(again._vectors.data, FileRows)
        with pytest.raises(ParameterError, match="remove: got an index whose vectors"):
            again.remove("/p/ü1.jpg")
    else:
        assert again.remove("/p/ü1.jpg").n_samples_fit_ == 19


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_vectors_read_in_pieces_are_compared_as_those_in_memory(
    tmp_path, monkeypatch, dtype
) -> None:
    monkeypatch.setattr(_file_rows, "PIECE_BYTES", 1000)
    X = np.random.default_rng(0).normal(size=(3000, 6)).astype(np.float32)
    RetrievalIndex(dtype=dtype).fit(X).save(tmp_path / "i")
    read, left = (RetrievalIndex.load(tmp_path / "i", mmap=mmap) for mmap in (False, True))
    q = X[:600] + 0.1  # more than are compared at a time
    np.testing.assert_array_equal(left.query(q, k=9).indices, read.query(q, k=9).indices)
    for a, b in zip(left.query_radius(q, 0.01), read.query_radius(q, 0.01), strict=True):
        np.testing.assert_array_equal(a.indices, b.indices)
        np.testing.assert_allclose(a.distances, b.distances, atol=1e-6)


def test_recipe_ids_and_paths_of_any_bytes_survive(tmp_path) -> None:
    paths = ["/p/\udce9.jpg", "/p/b", "/p/c"]
    store = write_features(tmp_path / "f.h5", np.eye(3, 6), paths=paths, recipe=RECIPE)
    RetrievalIndex(storage="store").fit(store).save(tmp_path / "i")
    again = RetrievalIndex.load(tmp_path / "i")
    assert again.recipe_ == RECIPE
    assert again.ids_.tolist() == paths
    assert again.labels_ is None
    RetrievalIndex().fit(np.eye(3)).save(tmp_path / "j")
    assert RetrievalIndex.load(tmp_path / "j").ids_.tolist() == [0, 1, 2]


def test_plain_h5py_reads_the_file(tmp_path) -> None:
    index = index_of(4)
    index.save(tmp_path / "i")
    with h5py.File(tmp_path / "i") as h5:
        assert h5.attrs["format"] == b"featx retrieval index"
        assert json.loads(h5["header"][:].tobytes())["ids"] == index.ids_.tolist()
        np.testing.assert_allclose(h5["norms"][:], np.linalg.norm(h5["vectors"][:], axis=1), 1e-6)


def test_a_failed_save_leaves_the_old_index_and_nothing_else(tmp_path, monkeypatch) -> None:
    index_of(3).save(tmp_path / "i")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_file, "_write", full)
    with pytest.raises(StoreWriteError, match=r"index '.*/i': cannot be written \(No space left"):
        index_of(9).save(tmp_path / "i")
    assert [p.name for p in tmp_path.iterdir()] == ["i"]
    assert RetrievalIndex.load(tmp_path / "i").n_samples_fit_ == 3
    with pytest.raises(StoreWriteError, match=r"nowhere/i': its folder .*nowhere' does not exist"):
        index_of(3).save(tmp_path / "nowhere" / "i")


def test_every_flipped_byte_is_found_or_harmless(tmp_path) -> None:
    """A read either fails as a featx error or gives what was saved."""
    index = index_of(8)
    path = tmp_path / "i"
    index.save(path)
    good = path.read_bytes()
    expected = index.query(index._vectors.data, k=8)
    found = 0
    rng = np.random.default_rng(0)
    for at in rng.choice(len(good), 400, replace=False):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :])
        try:
            again = RetrievalIndex.load(path)
            matches = again.query(index._vectors.data, k=8)
        except FeatxError:
            found += 1
            continue
        assert matches.ids.tolist() == expected.ids.tolist()
        np.testing.assert_array_equal(matches.distances, expected.distances)
    assert found > 10


def test_a_sound_file_of_another_kind_is_not_called_damaged(tmp_path) -> None:
    X = np.eye(4, dtype=np.float32).repeat(3, axis=0)
    save_model(LinearProbeClassifier().fit(X, np.repeat(list("abcd"), 3)), tmp_path / "model")
    with pytest.raises(FileFormatError, match=r"of another kind \(model\); give a file made by"):
        RetrievalIndex.load(tmp_path / "model")


def test_cut_and_foreign_files_are_refused(tmp_path) -> None:
    index_of(8).save(tmp_path / "i")
    data = (tmp_path / "i").read_bytes()
    for n in (0, 5, 100, len(data) // 2, len(data) - 1):
        (tmp_path / "cut").write_bytes(data[:n])
        with pytest.raises(FileFormatError, match=r"cut': "):
            RetrievalIndex.load(tmp_path / "cut")
    write_features(tmp_path / "f.h5", np.eye(2), paths=["a", "b"])
    with pytest.raises(FileFormatError, match=r"of another kind \(store\); give a file made by"):
        RetrievalIndex.load(tmp_path / "f.h5")
    with pytest.raises(FileFormatError, match=r"gone': there is no such file"):
        RetrievalIndex.load(tmp_path / "gone")
    with h5py.File(tmp_path / "i", "r+") as h5:
        h5.attrs["format_version"] = 99
    with pytest.raises(FileFormatError, match=r"got format version 99, expected 2.*upgrade"):
        RetrievalIndex.load(tmp_path / "i")


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("made_with", 5, "its header has 5 for 'made_with'"),
        ("ids", "x", "its header has 'x' for 'ids'"),
        ("ids", [1, "a", 2], "column 'ids' of its header is no list of text"),
        ("labels", [1, 2, 3], "column 'labels' of its header is no list of text"),
        ("metadata", {"m": "abc"}, "column 'm' of its header is no list of text"),
        ("target_recall", "x", "its header has 'x' for 'target_recall'"),
        ("finder", {"effort": 0}, "its search effort is 0"),
    ],
)
def test_a_forged_header_is_refused_whatever_its_checksum(tmp_path, field, value, says) -> None:
    RetrievalIndex().fit(np.eye(3, dtype=np.float32), labels=["a", "b", "c"]).save(tmp_path / "i")
    with h5py.File(tmp_path / "i", "r+") as h5:
        header = json.loads(h5["header"][:].tobytes()) | {field: value}
        text = json.dumps(header).encode()
        del h5["header"]
        h5["header"] = np.frombuffer(text, np.uint8)
        h5["header"].attrs["crc"] = zlib.crc32(text)
    with pytest.raises(FileFormatError, match=says):
        RetrievalIndex.load(tmp_path / "i")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_a_saved_index_keeps_to_the_umask_and_its_name_is_on_the_disk(
    tmp_path, monkeypatch
) -> None:
    synced, real = [], os.fsync

    def noted(number: int) -> None:
        synced.append(Path(f"/proc/self/fd/{number}").readlink())
        real(number)

    monkeypatch.setattr(os, "fsync", noted)
    before = os.umask(0o077)
    try:
        RetrievalIndex().fit(np.eye(3, dtype=np.float32)).save(tmp_path / "i")
    finally:
        os.umask(before)
    assert (tmp_path / "i").stat().st_mode & 0o777 == 0o600
    assert synced[-1] == tmp_path  # the folder, after the rename
    assert synced[-2].name.startswith(".i.")


@pytest.mark.parametrize("change", ["cut", "overwritten", "emptied", "same size"])
@pytest.mark.parametrize("kind", ["exact", "ivf"])
def test_rows_left_in_a_file_that_is_changed_are_an_error(tmp_path, kind, change) -> None:
    """A memory map would end the process, or show another file's numbers."""
    X = np.random.default_rng(0).normal(size=(3000, 16)).astype(np.float32)
    index = RetrievalIndex(kind=kind)
    if kind == "ivf":
        pytest.importorskip("faiss")
    index.fit(X).save(tmp_path / "i")
    index_of(3).save(tmp_path / "small")
    again = RetrievalIndex.load(tmp_path / "i", mmap=True)
    assert again.query(X[7], k=1).indices.tolist() == [7]
    data = (tmp_path / "i").read_bytes()
    with (tmp_path / "i").open("r+b") as file:
        if change == "cut":
            file.truncate(len(data) // 2)
        elif change == "overwritten":
            file.truncate()
            file.write((tmp_path / "small").read_bytes())
            file.truncate()
        elif change == "emptied":
            file.truncate(0)
        else:
            file.write(data)
    os.utime(tmp_path / "i", ns=(1, 1))  # a clock may be too coarse to tell the two writes apart
    for ask in (lambda: again.query(X[7]), lambda: again.vectors(2999), lambda: again.vectors()):
        with pytest.raises(FileFormatError, match=r"i': the file was changed while it was open"):
            ask()


def test_rows_left_in_a_file_outlive_its_replacement_and_its_name(tmp_path) -> None:
    index_of(20).save(tmp_path / "i")
    again = RetrievalIndex.load(tmp_path / "i", mmap=True)
    expected = again.vectors()
    index_of(3).save(tmp_path / "i")
    np.testing.assert_array_equal(again.vectors(), expected)
    (tmp_path / "i").unlink()
    np.testing.assert_array_equal(again.vectors(), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(again)).vectors(), expected)


@pytest.mark.parametrize(
    "key",
    [0, -1, slice(None), slice(3, 9), slice(9, 3), slice(None, None, -2), [5, 5, 2, 3, 4], [],
     np.arange(20) % 3 == 0, np.array([[1, 2], [0, 19]])],
    ids=str,
)  # fmt: skip
def test_rows_left_in_a_file_are_indexed_as_numpy_does(tmp_path, key) -> None:
    index = index_of(20)
    index.save(tmp_path / "i")
    rows = RetrievalIndex.load(tmp_path / "i", mmap=True)._vectors.data
    key = np.array(key, int) if isinstance(key, list) else key
    np.testing.assert_array_equal(rows[key], np.asarray(rows)[key])
    np.testing.assert_array_equal(rows[key], index._vectors.data[key])
    with pytest.raises(IndexError):
        rows[20]


@pytest.mark.parametrize("name", ["vectors", "norms"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_index_of_numbers_that_are_not_finite_is_refused(tmp_path, name, value) -> None:
    index_of(20).save(tmp_path / "i")
    with h5py.File(tmp_path / "i", "r+") as h5:
        numbers = h5[name][:]
        numbers.reshape(-1)[3] = value
        h5[name][...] = numbers
        header = json.loads(h5["header"][:].tobytes())
        if name == "norms":
            header["norms_crc"] = zlib.crc32(numbers.data)
        else:
            header["vectors_crc"] = []
        text = json.dumps(header).encode()
        del h5["header"]
        h5["header"] = np.frombuffer(text, np.uint8)
        h5["header"].attrs["crc"] = zlib.crc32(text)
    with pytest.raises(FileFormatError, match=r"i': its .* finite"):
        RetrievalIndex.load(tmp_path / "i")


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_vectors_in_the_file_that_are_not_finite_give_no_distance(tmp_path, value, metric) -> None:
    """They are not read when the index is opened."""
    index_of(20, metric=metric).save(tmp_path / "i")
    with h5py.File(tmp_path / "i", "r+") as h5:
        h5["vectors"][3, :2] = value
    left = RetrievalIndex.load(tmp_path / "i", mmap=True)
    with pytest.raises(ParameterError, match=r"or of the database's, are beyond float32"):
        left.query(np.ones(6), k=20)
