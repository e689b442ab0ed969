"""A store with one table that fits what was asked, among others, is taken by that."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from featx.cli.main import main
from featx.errors import FingerprintMismatchError
from featx.estimators import LinearProbeClassifier, save_model
from featx.recipe import Preprocessing, Recipe
from featx.retrieval import RetrievalIndex, SpatialSearch
from featx.store import StoreWriter, open_store
from featx.store.info import fitting_table, open_fitting, open_pair

MINE = Recipe("resnet18", "ab" * 32, "layer4", "avg", Preprocessing(), "none", "float32", 6)
OTHERS = (
    dataclasses.replace(MINE, precision="bfloat16"),
    dataclasses.replace(MINE, layer="layer3", n_features=4),
)
N = 24
LABELS = ["cat", "dog"] * (N // 2)


def write(path, recipes, start=0):
    with StoreWriter(path) as writer:
        for recipe in recipes:
            rng = np.random.default_rng([start, recipe.n_features])
            vectors = rng.normal(size=(N, recipe.n_features)) + np.arange(N)[:, None] % 2 * 4
            writer.table(recipe, has_labels=True).append(
                [f"/{start + i}.jpg" for i in range(N)],
                vectors,
                digests=[f"{start + i:064x}" for i in range(N)],
                sizes=[1] * N,
                mtimes=[1] * N,
                labels=LABELS,
            )
    return path


@pytest.fixture
def stores(tmp_path):
    one = write(tmp_path / "one.h5", [MINE])
    many = write(tmp_path / "many.h5", [*OTHERS, MINE], start=100)
    none = write(tmp_path / "none.h5", OTHERS, start=100)
    return one, many, none


def run(capsys, *words):
    status = main([str(word) for word in words])
    out = capsys.readouterr()
    return status, json.loads(out.out) if status == 0 else out.err


@pytest.fixture
def model(stores, tmp_path):
    with open_store(stores[0]) as store:
        fitted = LinearProbeClassifier().fit(store, store.labels)
        save_model(fitted, tmp_path / "model", recipe=store.recipe)
    return tmp_path / "model"


@pytest.fixture
def index(stores, tmp_path):
    with open_store(stores[0]) as store:
        RetrievalIndex().fit(store).save(tmp_path / "index")
    return tmp_path / "index"


def test_commands_take_the_table_of_the_models_or_the_indexs_recipe(stores, model, index, capsys):
    one, many, _ = stores
    status, found = run(capsys, "evaluate", model, many, "--json")
    assert (status, found["n_samples"]) == (0, N)
    status, found = run(capsys, "predict", model, many, "--json")
    assert (status, len(found["predictions"])) == (0, N)
    with open_store(many, table=MINE.fingerprint) as store:
        expected = LinearProbeClassifier().fit(open_store(one), LABELS).predict(store)
        vectors = store[:]
    assert [p["label"] for p in found["predictions"]] == expected.tolist()
    status, found = run(capsys, "query", index, many, "-k", 2, "--json")
    assert (status, len(found["results"])) == (0, N)
    assert found["results"][0]["query"] == "/100.jpg"
    nearest = RetrievalIndex().fit(open_store(one)).query(vectors, k=1)
    matched = [result["matches"][0]["path"] for result in found["results"]]
    assert matched == nearest.ids[:, 0].tolist()
    status, found = run(capsys, "duplicates", many, one, "--json")
    assert (status, found["n_samples"]) == (0, 2 * N)


@pytest.mark.parametrize("command", ["evaluate", "predict", "query", "duplicates"])
def test_where_none_fits_the_fields_that_differ_are_said(stores, model, index, capsys, command):
    one, _, none = stores
    asks = {"query": [index, none], "duplicates": [one, none]}.get(command, [model, none])
    status, error = run(capsys, command, *asks)
    assert status == 1
    assert f"{OTHERS[0].fingerprint} (precision: got 'bfloat16', expected 'float32')" in error
    assert "layer: got 'layer3', expected 'layer4'" in error
    assert "backbone" not in error
    assert error.count("\n") == 1
    assert len(error) < 600


def test_a_table_that_is_named_is_the_only_one_to_take(stores, model, capsys):
    status, error = run(capsys, "evaluate", model, stores[1], "--table", OTHERS[0].fingerprint)
    assert status == 1
    assert "precision: got 'bfloat16', expected 'float32'" in error


def test_an_index_in_memory_takes_the_table_of_its_recipe(stores):
    one, many, none = stores
    index = RetrievalIndex().fit(open_store(one))
    other = open_store(many, layer="layer3")
    with open_store(many, table=MINE.fingerprint) as right:
        expected = index.query(right, k=3)
        vectors = right[:]
    np.testing.assert_array_equal(index.query(other, k=3).ids, expected.ids)
    index.add(other)
    np.testing.assert_array_equal(index.query(vectors, k=1).ids[:, 0], right.paths)
    patches = SpatialSearch(n_patches=1).fit(open_store(one))
    assert patches.query(other, k=1).ids.shape == (N, 1)
    with pytest.raises(FingerprintMismatchError, match="none of its 2 tables fits index"):
        index.query(open_store(none, layer="layer3"))


def test_a_table_made_outside_featx_fits_where_its_width_does(stores, tmp_path):
    _, many, _ = stores
    with StoreWriter(many) as writer:
        table = writer.table(None, has_labels=False, n_features=9)
        table.append(["a"], np.ones((1, 9)), digests=[""], sizes=[0], mtimes=[0])
    wide = dataclasses.replace(MINE, layer="layer2", n_features=9)
    assert open_fitting(many, wide, maker="model m").fingerprint is None
    assert open_fitting(many, None, maker="model m").fingerprint is None
    assert open_fitting(many, MINE, maker="model m").recipe == MINE
    with open_store(many, layer="layer3") as store:
        assert fitting_table(store, None, maker="model m") is store


def test_two_stores_are_opened_at_the_only_table_that_both_have(stores):
    one, many, none = stores
    for a, b in ((one, many), (many, one)):
        first, second = open_pair(a, b)
        assert first.recipe == second.recipe == MINE
        assert (first.path, second.path) == (str(a), str(b))
    with pytest.raises(FingerprintMismatchError, match="none of its 2 tables fits store"):
        open_pair(one, none)
