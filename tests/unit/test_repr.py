"""What a notebook prints of an object is one line of less than 200 characters."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

import featx
from featx._repr import MAX_CHARS, shorten
from featx.estimators import MultiViewClassifier, SavedModel
from featx.extraction.summary import ExtractionSummary
from featx.images import ImageManifest
from featx.images.join import join_labels
from featx.recipe import Preprocessing, Recipe
from featx.retrieval import SpatialSearch
from featx.store import store_info, verify_store, write_features

PATHS = tuple(f"/a/rather/long/folder/of/photographs/{i}.jpg" for i in range(5000))
RECIPE = Recipe(
    "resnet18", "ab" * 32, "layer4.1.conv2", "gem(3)", Preprocessing(), "none", "bfloat16", 512
)


class Network:
    def __repr__(self) -> str:
        return "Network(\n  (0): Linear()\n)" * 1000


def things(tmp_path):
    folder = tmp_path / ("long name " * 20)
    folder.mkdir()
    store = write_features(folder / "f.h5", np.zeros((5000, 3)), paths=PATHS, recipe=None)
    yield store
    yield from (store_info(store.path), verify_store(store.path), store.table)
    (tmp_path / "l.csv").write_text("path,label\n" + "".join(f"{p},cat\n" for p in PATHS))
    yield ImageManifest(PATHS, labels=("cat",) * len(PATHS), columns={"n": ("1",) * len(PATHS)})
    yield join_labels(list(PATHS), tmp_path / "l.csv")
    yield RECIPE
    yield RECIPE.preprocessing
    yield ExtractionSummary(
        5000, 1, 2, 3, 4, 0.1, 0.2, ("ab" * 8,) * 40, 5, "cpu", "float32", "torch", "so " * 200
    )
    yield SavedModel(featx.LinearProbeClassifier(), RECIPE, {"x": PATHS})
    yield featx.AttributeClassifier(attribute_names=[f"attribute {i}" for i in range(40)])
    yield featx.FeatureExtractor(backbone=Network(), cache=str(folder) * 4)
    yield featx.RetrievalIndex("dot", weights=str(folder) * 4)
    yield MultiViewClassifier(featx.AttributeClassifier(attribute_names=list(PATHS)))
    yield SpatialSearch(transform=make_pipeline(featx.PCAWhitening(64), featx.PowerNormalizer()))


def test_no_representation_is_longer_than_a_line(tmp_path):
    for thing in things(tmp_path):
        text = repr(thing)
        assert "\n" not in text
        assert len(text) < MAX_CHARS, text
        assert text.startswith(f"{type(thing).__name__}(")
        assert "photographs/7.jpg" not in text


def test_a_recipe_shows_what_people_tell_recipes_apart_by():
    text = repr(RECIPE)
    for word in ("resnet18", "layer4.1.conv2", "gem(3)", "bfloat16", "512", RECIPE.fingerprint):
        assert word in text
    assert repr(dataclasses.replace(RECIPE, precision="float32")) != text


def test_an_estimator_shows_what_is_not_the_default():
    model = featx.LinearProbeClassifier("svm")
    assert repr(featx.LinearProbeClassifier()) == "LinearProbeClassifier()"
    assert repr(model) == repr(clone(model)) == "LinearProbeClassifier(method='svm')"
    assert "method='svm'" in repr(make_pipeline(featx.PCAWhitening(3), model))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.zeros((3, 4), np.float32), "<3 x 4 float32>"),
        ("x" * 60, repr("x" * 15 + "x" * 45)[:15] + "..." + "x" * 41 + "'"),
        ({i: i for i in range(9)}, "<9 items>"),
        (Network(), "<Network>"),
        (None, "None"),
    ],
)
def test_a_long_value_is_given_as_what_it_is(value, text):
    assert shorten(value) == text
