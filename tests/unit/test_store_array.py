"""A store is an array: for NumPy, scikit-learn, joblib and pandas."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from joblib import Parallel, delayed
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import _safe_indexing, check_array, shuffle

from featx.errors import MissingDependencyError
from featx.images import ImageManifest
from featx.images.join import join_labels
from featx.store import _indexing, export_store, open_store, write_features

N, D = 40, 6
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)).astype(np.float32)
Y = np.where(X[:, 0] > 0, "up", "down")
ROWS = RNG.permutation(N)[:7]
MASK = X[:, 1] > 0
NO_UTF8 = b"/photos/caf\xe9.jpg".decode("utf-8", "surrogateescape")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "f.h5"
    names = [f"/photos/{i}.jpg" for i in range(N)]
    columns = {"width": [str(i) for i in range(N)], "label": ["other"] * N}
    write_features(path, X, paths=names, labels=Y, metadata=columns).close()
    return path


@pytest.fixture
def store(path):
    with open_store(path) as opened:
        yield opened


INDICES = {
    "int": 3,
    "negative": -1,
    "numpy int": np.int32(-2),
    "slice": slice(5, 30),
    "slice with step": slice(30, 2, -3),
    "empty slice": slice(9, 3),
    "dots": ...,
    "nothing": (),
    "list": [4, -1, 4],
    "empty list": [],
    "array": ROWS,
    "array of two dimensions": ROWS[:6].reshape(2, 3),
    "unsigned": ROWS.astype(np.uint8),
    "range": range(3, 8),
    "mask": MASK,
    "list of bool": MASK.tolist(),
    "rows and all": (ROWS, slice(None)),
    "rows and dots": (ROWS, ...),
    "dots and column": (..., 2),
    "column": (slice(None), 0),
    "last column": (slice(None), np.int64(-1)),
    "columns": (slice(2, 35), [3, 1]),
    "columns by mask": (slice(None), np.arange(D) % 2 == 0),
    "slices": (slice(1, 30, 4), slice(4, None, -2)),
    "slice and list": (slice(None, None, 3), [0, 0, 5]),
    "row and columns": (7, [1, 2]),
    "row and slice": (-7, slice(1, 4)),
    "element": (7, 5),
    "elements": (ROWS[:3], [0, 5, -1]),
    "mask and column": (MASK, 1),
    "open mesh": np.ix_(ROWS, [5, 0]),
    "mask of all": X > 1,
    "no rows, one column": ([], 1),
    "no rows, columns": (slice(3, 3), [1, 2]),
}


@pytest.mark.parametrize("block_rows", [4096, 7])
@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_an_index_gives_what_it_gives_of_an_array(store, monkeypatch, index, block_rows):
    monkeypatch.setattr(_indexing, "BLOCK_ROWS", block_rows)
    expected = X[index]
    found = store[index]
    np.testing.assert_array_equal(found, expected)
    assert (found.shape, found.dtype) == (expected.shape, X.dtype)


@pytest.mark.parametrize(
    ("index", "says"),
    [
        (40, "got 40 among the rows, .* to 39"),
        (-41, "got -41 among the rows, expected a number from -40"),
        ([0, 99], "got 99 among the rows"),
        ((slice(None), 6), "got 6 among the columns, .* to 5"),
        ((0, [-7]), "got -7 among the columns, expected a number from -6"),
        (MASK[1:], r"got shape \(39,\) for rows, expected \(40,\)"),
        ((0, 0, 0), "expected an index for rows and one for columns"),
        ((None, 0), "expected an index for rows and one for columns"),
        (1.5, "1.5.*expected a number, a slice"),
        ("path", "'path'.*expected a number, a slice"),
    ],
)
def test_an_index_out_of_range_says_what_it_is_and_what_there_is(store, index, says):
    with pytest.raises(IndexError, match=says):
        store[index]


def test_columns_of_a_large_store_are_read_block_by_block(store, monkeypatch):
    monkeypatch.setattr(_indexing, "BLOCK_ROWS", 9)
    seen = []
    read = type(store)._index

    def noted(self, *arguments):
        found = read(self, *arguments)
        seen.append(len(found))
        return found

    monkeypatch.setattr(type(store), "_index", noted)
    np.testing.assert_array_equal(store[:, 2], X[:, 2])
    assert seen == [9, 9, 9, 9, 4]


def test_numpy_reads_it(store):
    np.testing.assert_array_equal(np.asarray(store), X)
    assert np.asarray(store, dtype=np.float64).dtype == np.float64
    assert np.array(store, copy=True).shape == (N, D)
    with pytest.raises(ValueError, match="reading it makes a copy"):
        np.array(store, copy=False)
    np.testing.assert_array_equal(np.concatenate([store, X]), np.concatenate([X, X]))
    assert (len(store), store.ndim, store.shape, store.dtype) == (N, 2, (N, D), np.float32)


def test_scikit_learn_takes_it_as_it_takes_an_array(store):
    model = make_pipeline(StandardScaler(), LogisticRegression())
    np.testing.assert_array_equal(
        cross_val_score(model, store, store.labels), cross_val_score(model, X, Y)
    )
    for mine, expected in zip(
        train_test_split(store, Y, random_state=0, stratify=Y),
        train_test_split(X, Y, random_state=0, stratify=Y),
        strict=True,
    ):
        np.testing.assert_array_equal(mine, expected)
    for key in (ROWS, ROWS.tolist(), MASK, slice(3, 9)):
        np.testing.assert_array_equal(_safe_indexing(store, key), _safe_indexing(X, key))
        np.testing.assert_array_equal(
            _safe_indexing(store, [1, 4], axis=1), _safe_indexing(X, [1, 4], axis=1)
        )
    np.testing.assert_array_equal(shuffle(store, random_state=0), shuffle(X, random_state=0))
    np.testing.assert_array_equal(check_array(store), X)
    for mine, expected in zip(KFold().split(store), KFold().split(X), strict=True):
        np.testing.assert_array_equal(mine[1], expected[1])
    fitted = model.fit(store, store.labels)
    np.testing.assert_array_equal(fitted.predict(store), model.fit(X, Y).predict(X))


@pytest.mark.slow
def test_other_processes_open_it_again(store):
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, n_jobs=2).fit(store, Y)
    assert (
        search.best_params_
        == GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}).fit(X, Y).best_params_
    )
    found = Parallel(n_jobs=2)(delayed(np.asarray)(store) for _ in range(2))
    np.testing.assert_array_equal(found[1], X)


def test_pandas_reads_it(store):
    pandas = pytest.importorskip("pandas")
    np.testing.assert_array_equal(pandas.DataFrame(store).to_numpy(), X)
    np.testing.assert_array_equal(store[pandas.Series(MASK)], X[MASK])
    frame = store.to_pandas()
    names = [f"feature_{i}" for i in range(D)]
    assert list(frame.columns) == ["path", "label", "metadata.label", "width", *names]
    assert frame["path"].tolist() == store.paths.tolist()
    assert frame["label"].tolist() == Y.tolist()
    assert frame["width"].tolist() == [str(i) for i in range(N)]
    np.testing.assert_array_equal(frame[names].to_numpy(), X)
    assert (frame[names].dtypes == np.float32).all()


def test_without_pandas_the_install_command_is_said(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'featx\[pandas\]'"):
        store.to_pandas()


def test_a_csv_has_paths_labels_and_features_to_the_last_bit(path, tmp_path):
    for _ in range(2):  # an older one is replaced
        export_store(path, tmp_path / "f.csv")
    with (tmp_path / "f.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header[:5] == ["path", "label", "metadata.label", "width", "feature_0"]
    assert len(header) == 4 + D
    assert [row[0] for row in rows] == [f"/photos/{i}.jpg" for i in range(N)]
    assert [row[1] for row in rows] == Y.tolist()
    found = np.array([row[4:] for row in rows], np.float32)
    np.testing.assert_array_equal(found, X)


def test_names_that_are_no_utf8_end_no_export(tmp_path):
    label = b"caf\xe9".decode("utf-8", "surrogateescape")
    store = write_features(
        tmp_path / "f.h5",
        np.eye(2),
        paths=[NO_UTF8, "/photos/b.jpg"],
        labels=[label, "b"],
        metadata={"note": [label, ""]},
    )
    for suffix in ("npz", "npy", "parquet", "csv"):
        if suffix == "parquet":
            pytest.importorskip("pyarrow")
        export_store(tmp_path / "f.h5", tmp_path / f"f.{suffix}")
    shown = ["/photos/caf\\xe9.jpg", "/photos/b.jpg"]
    with np.load(tmp_path / "f.npz") as arrays:  # which holds any name
        assert arrays["paths"].tolist() == [NO_UTF8, "/photos/b.jpg"]
    with (tmp_path / "f.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == shown
    assert [row["note"] for row in rows] == ["caf\\xe9", ""]
    parquet = pytest.importorskip("pyarrow.parquet").read_table(tmp_path / "f.parquet")
    assert parquet.column_names == ["path", "label", "note", "digest", "features"]
    assert parquet["path"].to_pylist() == shown
    np.testing.assert_array_equal(parquet["features"].to_pylist(), np.eye(2))
    pytest.importorskip("pandas")
    assert store.to_pandas()["path"].tolist() == shown
    assert store.to_pandas()["label"].tolist() == ["caf\\xe9", "b"]


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="names there are Unicode")
def test_an_exported_table_is_read_back_with_names_that_are_no_utf8(tmp_path):
    names = [str(tmp_path / name) for name in (os.fsdecode(b"caf\xe9.jpg"), "b.jpg", "\\xe9.jpg")]
    for name in names:
        Path(name).touch()
    write_features(tmp_path / "f.h5", np.eye(3), paths=names, labels=list("xyz")).close()
    export_store(tmp_path / "f.h5", tmp_path / "f.csv")
    joined = join_labels(names, tmp_path / "f.csv")
    assert joined.unused == ()
    assert [joined.labels[i] for i in joined.table_rows] == list("xyz")
    assert list(ImageManifest.from_source(tmp_path / "f.csv").paths) == names
