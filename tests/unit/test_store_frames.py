"""A store's table in other packages: what they read back, each with its own reader."""

from __future__ import annotations

import json

import numpy as np
import pytest

from featx import FeatureStore
from featx.recipe import Preprocessing, Recipe
from featx.store import export_store, write_features

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

RECIPE = Recipe("resnet18", "ab" * 32, "layer4", "avg", Preprocessing(), "none", "float32", 5)
X = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
PATHS = [f"/photos/{name}.jpg" for name in "abcdefg"]
LABELS = ["cat", "dog", "", "cat", "7", "dog", "cat"]
COLUMNS = {
    "year": ["2019", "2020", "", "2021", "2019", "2020", "2021"],
    "price": ["1.5", "2", "", "1e3", "0", "-4.25", "3"],
    "zip": ["01067", "7", "8", "9", "10", "11", "12"],
    "features": ["a", "b", "c", "d", "e", "f", "g"],
}
TYPES = {
    "path": arrow.string(),
    "label": arrow.string(),
    "year": arrow.int64(),
    "price": arrow.float64(),
    "zip": arrow.string(),
    "metadata_features": arrow.string(),
    "digest": arrow.string(),
    "features": arrow.list_(arrow.float32(), 5),
}
YEARS = [2019, 2020, None, 2021, 2019, 2020, 2021]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FeatureStore:
    path = tmp_path_factory.mktemp("frames") / "f.h5"
    return write_features(path, X, paths=PATHS, labels=LABELS, metadata=COLUMNS, recipe=RECIPE)


@pytest.fixture(scope="module")
def file(store) -> str:
    """Return the store as Parquet, written a few rows at a time."""
    out = f"{store.path}.parquet"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("featx.store.export.BLOCK_BYTES", 60)
        export_store(store.path, out)
    return out


def test_arrow_and_parquet_hold_the_same_table(store, file) -> None:
    table, read = store.to_arrow(), parquet.read_table(file)
    assert parquet.ParquetFile(file).num_row_groups == 3
    for found in (table, read):
        assert {field.name: field.type for field in found.schema} == TYPES
        assert found["year"].to_pylist() == YEARS
        assert found["price"].to_pylist() == [1.5, 2, None, 1000, 0, -4.25, 3]
        assert found["label"].to_pylist() == LABELS
        np.testing.assert_array_equal(found["features"].to_pylist(), X)
    assert table.equals(read)
    assert table.schema.metadata == read.schema.metadata


def test_the_recipe_goes_along(store, file) -> None:
    notes = parquet.read_schema(file).metadata
    assert notes[b"featx_fingerprint"].decode() == store.fingerprint
    assert Recipe.from_dict(json.loads(notes[b"featx_recipe"])) == store.recipe


def test_pandas_reads_it(file) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(file)
    assert frame["path"].tolist() == PATHS
    assert frame["year"].dropna().tolist() == [y for y in YEARS if y]
    np.testing.assert_array_equal(np.stack(frame["features"]), X)  # as Embedding Atlas does


def test_duckdb_reads_it_and_searches(file) -> None:
    duckdb = pytest.importorskip("duckdb")
    query = """
        SELECT path FROM read_parquet($file) WHERE year >= 2020 AND price > -10
        ORDER BY array_cosine_distance(features::FLOAT[5], $x::FLOAT[5]) LIMIT 3
    """
    with duckdb.connect() as connection:
        found = connection.execute(query, {"file": file, "x": X[0].tolist()}).fetchall()
    fit = np.array([1, 3, 5, 6])
    cosine = X[fit] @ X[0] / np.linalg.norm(X[fit], axis=1)
    assert [path for (path,) in found] == [PATHS[i] for i in fit[np.argsort(-cosine)][:3]]


@pytest.mark.slow
def test_lance_takes_it_as_a_table_to_search(store, file, tmp_path) -> None:
    lancedb = pytest.importorskip("lancedb")
    table = lancedb.connect(tmp_path).create_table("t", parquet.read_table(file))
    hits = table.search(X[4], vector_column_name="features").where("year < 2021").limit(2)
    fit = np.array([0, 1, 4, 5])
    nearest = fit[np.argsort(np.linalg.norm(X[fit] - X[4], axis=1))][:2]
    assert [hit["path"] for hit in hits.to_list()] == [PATHS[i] for i in nearest]


def test_half_precision_and_no_recipe(tmp_path) -> None:
    half = X.astype(np.float16)
    store = write_features(tmp_path / "f.h5", half, paths=PATHS)
    table = store.to_arrow()
    assert table.schema.field("features").type == arrow.list_(arrow.float16(), 5)
    assert table.schema.metadata == {b"featx_fingerprint": (store.fingerprint or "").encode()}
    assert set(table["label"].to_pylist()) == {""}
    np.testing.assert_array_equal(np.array(table["features"].to_pylist(), np.float16), half)


def test_an_empty_table_keeps_its_types(tmp_path) -> None:
    empty = np.empty((0, 3), np.float32)
    table = write_features(tmp_path / "f.h5", empty, paths=[]).to_arrow()
    assert table.num_rows == 0
    assert table.schema.field("features").type == arrow.list_(arrow.float32(), 3)


def test_no_name_has_a_dot_and_none_comes_twice(tmp_path) -> None:
    columns = {name: ["x"] for name in ("digest", "metadata_digest", "a.b", "a_b", "a.b_")}
    table = write_features(tmp_path / "f.h5", X[:1], paths=["a"], metadata=columns).to_arrow()
    names = table.column_names
    assert len({*names}) == len(names) == 9
    assert not any("." in name for name in names)
    assert {"path", "label", "digest", "features", "a_b", "a_b_"} < {*names}
