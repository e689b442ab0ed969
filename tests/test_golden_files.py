"""Files of every format that was ever written open, and say what they said."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from featx import RetrievalIndex
from featx.retrieval import load_index
from featx.store import Failure, StoreWriter, open_store, verify_store

GOLDEN = Path(__file__).parent / "golden"


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, GOLDEN / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


made, recipes = _load("make_golden"), _load("make_recipes")
ENTRIES = json.loads((GOLDEN / "recipes.json").read_text())
SLOW = ("vgg11", "vit_b_16", "swin_t", "convnext_tiny", "inception_v3", "densenet121")


def test_a_store_of_version_1_is_read_and_added_to(tmp_path) -> None:
    path = tmp_path / "f.h5"
    shutil.copy(GOLDEN / "store-v1.h5", path)
    with open_store(path) as store:
        np.testing.assert_array_equal(store[:], made.X)
        assert store.paths.tolist() == made.NAMES
        assert store.labels.tolist() == made.LABELS
        assert store.metadata["who"].tolist() == ["me"] * 12
        assert store.digests.tolist()[:2] == ["0" * 63 + "1", "0" * 63 + "2"]
        assert store.recipe == made.RECIPE
        assert store.made_with == {"engine": "torch"}
        assert store.failures == (Failure("/photos/bad.jpg", "the file is empty (0 bytes)"),)
    with StoreWriter(path) as writer:
        table = writer.table(made.RECIPE, has_labels=True)
        table.append(["new"], made.X[:1], digests=[""], sizes=[0], mtimes=[0], labels=["class 0"])
    with open_store(path) as store:
        assert (len(store), store.paths[12]) == (13, "new")
    assert verify_store(path).problems == ()


@pytest.mark.parametrize(("name", "kind"), [("index-v1", "exact"), ("index-v2", "ivf")])
@pytest.mark.parametrize("mmap", [False, True])
def test_indexes_of_both_versions_are_read(name, kind, mmap, tmp_path) -> None:
    index = RetrievalIndex.load(GOLDEN / name, mmap=mmap)
    assert index.kind_.name == kind
    assert (index.ids_.tolist(), index.labels_.tolist()) == (made.NAMES, made.LABELS)
    np.testing.assert_array_equal(index.vectors(), made.X)
    unit = made.X / np.linalg.norm(made.X, axis=1, keepdims=True)
    distances = 1 - unit[3] @ unit.T
    found = index.query(made.X[3], k=5)
    np.testing.assert_allclose(found.distances, np.sort(distances)[:5], atol=1e-6)
    index.save(tmp_path / "again")
    assert RetrievalIndex.load(tmp_path / "again").ids_.tolist() == made.NAMES


def test_an_index_of_instances_of_version_1_is_read() -> None:
    pytest.importorskip("cv2", reason="opencv is an extra")
    index = load_index(GOLDEN / "instances-v1")
    assert (index.ids_.tolist(), index.labels_.tolist()) == (made.NAMES[:3], made.LABELS[:3])
    assert index.get_params()["n_features"] == 60
    found = index.query([np.rot90(picture) for picture in made.pictures()], k=1)
    assert found.ids[:, 0].tolist() == made.NAMES[:3]
    assert (found.inliers > 15).all()


def _case(entry: dict) -> object:
    options = entry["options"]
    name = ",".join(f"{k}={v}" for k, v in options.items() if k != "precision")
    marks = [pytest.mark.slow] if options["backbone"] in SLOW else []
    return pytest.param(entry, id=name, marks=marks)


@pytest.mark.parametrize("entry", [_case(entry) for entry in ENTRIES])
def test_options_resolve_to_the_recipes_that_stores_have(entry) -> None:
    assert recipes.resolve(entry["options"]) == entry["recipes"]
