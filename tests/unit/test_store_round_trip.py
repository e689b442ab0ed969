"""What goes into a store comes out of it, however it was put in."""

from __future__ import annotations

import dataclasses
import itertools
import pickle
import re

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featx.errors import ParameterError
from featx.recipe import Preprocessing, Recipe
from featx.store import (
    Failure,
    StoreWriter,
    open_store,
    table_writer,
    verify_store,
    write_features,
)

RECIPE = Recipe("resnet18", "ab" * 32, "layer4", "avg", Preprocessing(), "none", "float32", 5)

SIZES = [1, 100, table_writer.WRITTEN_AT_ONCE]  # a row has 20 bytes
text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


def fields(n, start=0, **labels):
    rows = range(start, start + n)
    return {
        "digests": [f"{i + 1:064x}" for i in rows],
        "sizes": [10 * i for i in rows],
        "mtimes": [10**18 + i for i in rows],
        **labels,
    }


def values(path):
    with open_store(path) as store:
        return (
            store[:].tolist(),
            store.paths.tolist(),
            None if store.labels is None else store.labels.tolist(),
            {name: column.tolist() for name, column in store.metadata.items()},
            store.digests.tolist(),
            store.failures,
        )


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_appending_in_any_split_equals_appending_at_once(tmp_path_factory, monkeypatch, data):
    folder = tmp_path_factory.mktemp("split")
    paths = data.draw(st.lists(text, unique=True, max_size=30))
    n = len(paths)
    labels = data.draw(st.lists(text, min_size=n, max_size=n))
    column = data.draw(st.lists(text, min_size=n, max_size=n))
    name = data.draw(text.filter(bool))
    X = np.random.default_rng(n).normal(size=(n, 5)).astype(np.float32)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=4)))
    whole = fields(n)
    actions = data.draw(
        st.lists(st.sampled_from(["go on", "commit", "reopen"]), min_size=5, max_size=5)
    )
    monkeypatch.setattr(table_writer, "WRITTEN_AT_ONCE", data.draw(st.sampled_from(SIZES)))
    for file, edges in (("split.h5", [0, *cuts, n]), ("once.h5", [0, n])):
        writer = StoreWriter(folder / file)
        for (a, b), action in zip(itertools.pairwise(edges), actions, strict=False):
            table = writer.table(RECIPE, has_labels=True)
            part = {key: column[a:b] for key, column in whole.items()}
            extra = {"labels": labels[a:b], "metadata": {name: column[a:b]}}
            table.append(paths[a:b], X[a:b], **part, **extra)
            if action != "go on":
                writer.commit()
            if action == "reopen":
                writer.close()
                writer = StoreWriter(folder / file)
        with writer:
            writer.table(RECIPE, has_labels=True)
        assert verify_store(folder / file).ok
    assert values(folder / "split.h5") == values(folder / "once.h5")
    with open_store(folder / "split.h5") as store:
        np.testing.assert_array_equal(store[:], X)
        assert store.paths.tolist() == paths
        assert store.labels.tolist() == labels
        if n:
            assert store.metadata[name].tolist() == column


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_updates_equal_a_dict_that_is_updated(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("update") / "f.h5"
    model = {i: [f"{i}.jpg", f"label {i}", float(i), "", f"{i + 1:064x}"] for i in range(12)}
    with StoreWriter(path) as writer:
        table = writer.table(RECIPE, has_labels=True)
        X = np.repeat(np.arange(12.0)[:, None], 5, axis=1)
        table.append(
            [row[0] for row in model.values()],
            X,
            **fields(12),
            labels=[row[1] for row in model.values()],
        )
        for step in range(data.draw(st.integers(0, 6))):
            rows = data.draw(st.lists(st.integers(0, 11), unique=True, min_size=1))
            what = data.draw(st.sampled_from(["features", "paths", "labels", "metadata", "swap"]))
            if what == "features":
                table.update(rows, features=np.full((len(rows), 5), 100.0 + step))
            elif what == "paths":
                table.update(
                    rows, paths=[f"{step}/{i}" for i in rows], digests=["ab" * 32] * len(rows)
                )
            elif what == "labels":
                table.update(rows, labels=[f"new {step}"] * len(rows))
            elif what == "metadata":
                table.update(rows, metadata={"a/b": [f"{step}"] * len(rows)})
            else:
                table.update(rows, paths=[model[i][0] for i in rows[::-1]])
            swapped = [model[i][0] for i in rows[::-1]]
            for i, other in zip(rows, swapped, strict=True):
                if what == "features":
                    model[i][2] = 100.0 + step
                elif what == "paths":
                    model[i][0], model[i][4] = f"{step}/{i}", "ab" * 32
                elif what == "labels":
                    model[i][1] = f"new {step}"
                elif what == "metadata":
                    model[i][3] = f"{step}"
                else:
                    model[i][0] = other
            if data.draw(st.booleans()):
                writer.commit()
            known = table.rows_by_path()
            assert {path: (r.row, r.label, r.digest) for path, r in known.items()} == {
                row[0]: (i, row[1], row[4]) for i, row in model.items()
            }
            assert table.read(range(12))[:, 0].tolist() == [row[2] for row in model.values()]
    assert verify_store(path).ok
    with open_store(path) as store:
        assert store.paths.tolist() == [row[0] for row in model.values()]
        assert store.labels.tolist() == [row[1] for row in model.values()]
        assert store[:][:, 3].tolist() == [row[2] for row in model.values()]
        column = store.metadata.get("a/b", np.full(12, ""))
        assert column.tolist() == [row[3] for row in model.values()]


def test_columns_that_some_batches_lack_are_empty_there(tmp_path):
    with StoreWriter(tmp_path / "f.h5") as writer:
        table = writer.table(RECIPE, has_labels=True)
        for i, extra in enumerate([{}, {"a": ["1"]}, {"b": ["2"], "a": ["3"]}, {}]):
            row = np.full((1, 5), i, np.float32)
            table.append([f"{i}"], row, **fields(1), metadata=extra)
        assert table.metadata() == {"a": ["", "1", "3", ""], "b": ["", "", "2", ""]}
    with open_store(tmp_path / "f.h5") as store:
        found = {name: column.tolist() for name, column in store.metadata.items()}
        assert found == {"a": ["", "1", "3", ""], "b": ["", "", "2", ""]}
        assert store[:][:, 0].tolist() == [0, 1, 2, 3]
    assert verify_store(tmp_path / "f.h5").ok


def test_a_store_is_read_with_plain_h5py(tmp_path):
    path = tmp_path / "f.h5"
    with StoreWriter(path) as writer:
        table = writer.table(RECIPE, has_labels=True, made_with={"engine": "torch"})
        table.append(
            ["ä.jpg"], np.ones((1, 5)), **fields(1), labels=["Äpfel"], metadata={"a": ["b"]}
        )
        writer.add_failures([Failure("bad.jpg", "cut short", "cd" * 32, 7, 8)])
    with h5py.File(path, "r") as h5:
        assert dict(h5.attrs)["format"] == b"featx feature store"
        group = h5["tables"][RECIPE.fingerprint]
        assert group["features"].dtype == np.float32
        assert group["path"].asstr()[0] == "ä.jpg"
        assert group["label"].asstr()[0] == "Äpfel"
        assert group["metadata/a"].asstr()[0] == "b"
        assert group["digest"][0].tobytes().hex() == f"{1:064x}"
        assert h5["failures/reason"].asstr()[0] == "cut short"


def test_two_recipes_live_side_by_side_and_are_chosen_by_name(tmp_path):
    path = tmp_path / "f.h5"
    other = dataclasses.replace(RECIPE, layer="layer3", n_features=3, dtype="float16")
    with StoreWriter(path) as writer:
        for recipe in (RECIPE, other):
            table = writer.table(recipe, has_labels=False)
            table.append(["a"], np.full((1, recipe.n_features), 0.1), **fields(1))
    with open_store(path, table=other.fingerprint[:5]) as store:
        assert store.recipe == other
        assert store.shape == (1, 3)
        assert store.dtype == np.float16
        assert np.asarray(store).dtype == np.float32
        with store.select(layer="layer4") as first:
            assert first.recipe == RECIPE
            assert first.labels is None
    with open_store(path, layer="layer3") as store:
        assert store.recipe == other
    with open_store(path, backbone="resnet18", layer="layer3", pooling="avg") as store:
        assert store.recipe == other
    with pytest.raises(ParameterError, match=r"layer='layer5' fits none of its 2.*Did you mean"):
        open_store(path, layer="layer5")
    with pytest.raises(ParameterError, match="layer='layer3', table='ab' fits none of its 2"):
        open_store(path, table="ab", layer="layer3")
    for choice in ({}, {"pooling": RECIPE.pooling}):
        with pytest.raises(ParameterError, match=r"has 2 tables.*choose one by what") as found:
            open_store(path, **choice)
        listed = re.findall(r"\((.*?)\)", str(found.value))[:2]  # only what tells them apart
        assert sorted(listed) == [
            "layer 'layer3', dtype 'float16'",
            "layer 'layer4', dtype 'float32'",
        ]


def test_tables_that_differ_in_precision_or_weights_are_told_apart_by_that(tmp_path):
    path = tmp_path / "f.h5"
    recipes = [
        RECIPE,
        dataclasses.replace(RECIPE, precision="bfloat16"),
        dataclasses.replace(RECIPE, weights="cd" * 32),
    ]
    with StoreWriter(path) as writer:
        for recipe in recipes:
            table = writer.table(recipe, has_labels=False)
            table.append(["a"], np.ones((1, 5)), **fields(1))
    with pytest.raises(ParameterError, match="has 3 tables") as found:
        open_store(path)
    message = str(found.value)
    for recipe in recipes:
        said = f"weights '{recipe.weights[:9]}...', precision {recipe.precision!r}"
        assert f"{recipe.fingerprint} ({said})" in message
    assert len(message) < 400


def test_file_names_that_are_no_utf8_come_back_as_they_were(tmp_path):
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    write_features(tmp_path / "f.h5", np.eye(1), paths=[name]).close()
    with open_store(tmp_path / "f.h5") as store:
        assert store.paths.tolist() == [name]


def test_a_store_survives_pickling(tmp_path):
    store = write_features(tmp_path / "f.h5", np.eye(3), paths=list("abc"))
    with store, pickle.loads(pickle.dumps(store)) as copy:
        assert copy.shape == (3, 3)
        np.testing.assert_array_equal(copy[2], [0, 0, 1])


def test_rows_are_read_by_number_slice_list_and_mask(tmp_path):
    X = np.random.default_rng(0).normal(size=(3000, 300)).astype(np.float32)
    with write_features(tmp_path / "f.h5", X, paths=[str(i) for i in range(3000)]) as store:
        rows = np.random.default_rng(1).integers(-3000, 3000, 500)
        for index in (5, -1, slice(None), slice(10, 2000, 7), slice(9, 3), rows, [], [2, 2, 1]):
            expected = X[np.asarray(index, int) if isinstance(index, list) else index]
            np.testing.assert_array_equal(store[index], expected)
        np.testing.assert_array_equal(store[X[:, 0] > 0], X[X[:, 0] > 0])
        blocks = list(store.iter_blocks(700))
        assert [start for start, _ in blocks] == [0, 700, 1400, 2100, 2800]
        np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), X)
        assert len(list(store)) == 3000
        with pytest.raises(IndexError, match="3000"):
            store[[0, 3000]]


def test_a_second_opening_in_one_process_shows_what_was_committed_since(tmp_path):
    """HDF5 shares the state of a file that it opens itself: the second opening was stale then."""
    path = tmp_path / "f.h5"
    with write_features(path, np.eye(2), paths=["a", "b"]) as first:
        with StoreWriter(path) as writer:
            table = writer.table(None, has_labels=False)
            table.append(["c"], np.ones((1, 2)), **fields(1))
        with open_store(path) as second:
            assert (len(first), len(second)) == (2, 3)
            assert first.paths.tolist() == ["a", "b"]
            assert second.paths.tolist() == ["a", "b", "c"]


def test_failures_are_replaced_removed_and_kept_apart_from_rows(tmp_path):
    path = tmp_path / "f.h5"
    with StoreWriter(path) as writer:
        writer.table(RECIPE, has_labels=False)
        writer.add_failures([Failure("a", "first"), Failure("b", "x"), Failure("a", "second")])
        writer.commit()
        writer.remove_failures(["b", "never there"])
        assert writer.failures == (Failure("a", "second"),)
    with StoreWriter(path) as writer:
        writer.add_failures([Failure("ü\udce9", "no\nimage", "ef" * 32, 5, 6)])
    with open_store(path) as store:
        assert store.failures == (
            Failure("a", "second"),
            Failure("ü\udce9", "no\nimage", "ef" * 32, 5, 6),
        )
        assert len(store) == 0
        assert store[:].shape == (0, 5)
