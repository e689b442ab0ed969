"""What is printed of an object is one line of less than 200 characters; a notebook has tables."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

import featx
from featx._repr import MAX_CHARS, shorten
from featx.auditing.result import Audit, Finding
from featx.estimators import MultiViewClassifier, SavedModel
from featx.evaluation import FewLabelCurve, wilson_interval
from featx.extraction.summary import ExtractionSummary
from featx.images import ImageManifest
from featx.images.join import Coverage, join_labels
from featx.recipe import Preprocessing, Recipe
from featx.retrieval import SpatialSearch
from featx.store import store_info, verify_store, write_features
from featx.tasks import train
from featx.tasks.bench import Benchmark, Stage
from featx.tasks.classifier import Evaluation, Predictions
from featx.tasks.comparison import Comparison, ComparisonRow, Figure

PATHS = tuple(f"/a/rather/long/folder/of/photographs/{i}.jpg" for i in range(5000))
RECIPE = Recipe(
    "resnet18", "ab" * 32, "layer4.1.conv2", "gem(3)", Preprocessing(), "none", "bfloat16", 512
)


TABLE = {"table", "caption", "tr", "th", "td"}


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


class Cells(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.text = set(), ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.text += data + " "


def test_a_notebook_shows_an_encoder_as_a_table_of_what_its_text_holds():
    encoder = featx.Encoder("<b>net</b>", layers=["a&b", "c"], resize_px=64, crop_px=56)
    page = Cells(encoder._repr_html_())
    assert page.tags == {"table", "caption", "tr", "th", "td"}
    for field in re.findall(r"\w+=('[^']*'|\([^)]*\)|\w+)", repr(encoder)):
        assert field in page.text


def test_a_notebook_shows_all_fields_of_a_result(tmp_path):
    """Of a line of text the last ones are left out."""
    store = write_features(tmp_path / "f.h5", np.zeros((3, 2)), paths=["<a>", "b", "c"])
    for result in (store_info(store.path), verify_store(store.path)):
        page = Cells(result._repr_html_())
        assert page.tags == TABLE
        for field in dataclasses.fields(result):
            if field.repr:
                assert f" {field.name} " in f" {page.text}"
                assert shorten(getattr(result, field.name)) in page.text


def test_a_notebook_shows_a_store_as_a_table_of_what_its_text_holds(tmp_path):
    names = [f"<i>{i}</i>" for i in range(30)]
    path = tmp_path / "<b>.h5"
    plain = write_features(path, np.zeros((30, 512)), paths=names, labels=names, recipe=RECIPE)
    with plain, write_features(tmp_path / "f.h5", np.eye(2), paths=["a", "b"]) as bare:
        page = Cells(plain._repr_html_())
        assert page.tags == {"table", "caption", "tr", "th", "td"}
        for text in (str(path), plain.table.key, "(30, 512)", "resnet18", "gem(3)", "<i>11</i>"):
            assert text in page.text
        assert "(30 in all)" in page.text
        assert "<i>9</i>" not in page.text  # of 30 sorted names the last
        assert "resnet18" not in bare._repr_html_()


def test_a_notebook_shows_an_evaluation_as_figures_with_intervals():
    y, names = np.array(["a", "b", "b", "a"]), ("a", "b")
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
    predicted = np.array(names)[scores.argmax(axis=1)]
    predictions = Predictions(tuple("wxyz"), y, predicted, scores, names)
    found = Evaluation.of(predictions, Coverage(), None)
    page = Cells(found._repr_html_())
    low, high = wilson_interval(y == predicted)
    for text in (
        "4 images",
        "accuracy",
        "0.750",
        f"{low:.3f} to {high:.3f}",
        "mean average precision",
    ):
        assert text in page.text


def test_a_notebook_shows_a_comparison_as_its_text():
    row = ComparisonRow(
        "<net>", "l&1", "avg", 8, Figure(0.5, 0.4, 0.6), 12.3, (12.0, 13.0), 1.0, ""
    )
    found = Comparison(
        (dataclasses.replace(row, is_on_frontier=True), row), 9, 2, 5, 0, "<net> wins"
    )
    page = Cells(found._repr_html_())
    assert page.tags == {"table", "caption", "tr", "th", "td", "p"}
    for text in (found.answer, "0.500 (0.400 to 0.600)", "12", row.name, "*"):
        assert text in str(found)
        assert text in page.text


def test_a_notebook_shows_an_audit_as_counts_with_the_estimate():
    findings = [Finding(f"{i}.jpg", kind, 0.9) for i, kind in enumerate(("label", "copy", "copy"))]
    page = Cells(
        Audit(tuple(findings), 1200, 1100, 31, (20, 42), notes=("<no> words",))._repr_html_()
    )
    assert page.tags == TABLE | {"p"}
    for text in (
        "3 findings in 1,200 images",
        "label that is probably wrong 1",
        "the same file as another 2",
        "about 31 of 1,100 labels are wrong (95 % interval 20 to 42); <no> words",
    ):
        assert text in " ".join(page.text.split())
    assert "labels are wrong" not in Audit((), 3)._repr_html_()


def test_a_notebook_shows_a_curve_as_means_with_intervals():
    scores = np.random.default_rng(0).uniform(0.4, 0.6, (2, 5))
    page = Cells(FewLabelCurve((1, 10), {"<svm>": scores}, "balanced_accuracy")._repr_html_())
    assert page.tags == TABLE
    reach = 2.7764 * scores.std(axis=1, ddof=1) / np.sqrt(5)  # t(4) at 97.5 %, as in tables
    for n, mean, half in zip((1, 10), scores.mean(axis=1), reach, strict=True):
        assert f"{n} {mean:.3f} ({mean - half:.3f} to {mean + half:.3f})" in page.text
    assert "Balanced accuracy, 95 % interval" in page.text
    assert "<svm>" in page.text
    once = Cells(FewLabelCurve((1,), {"svm": scores[:1, :1]})._repr_html_())
    assert f"{scores[0, 0]:.3f}" in once.text
    assert " to " not in once.text


def test_a_notebook_shows_a_training_as_its_classes_and_score(tmp_path):
    X = np.eye(2, 512).repeat(6, axis=0) + np.random.default_rng(0).normal(0, 0.01, (12, 512))
    labels = ["<cat>"] * 6 + ["dog"] * 6
    names = [f"{i}.jpg" for i in range(12)]
    with write_features(tmp_path / "f.h5", X, paths=names, labels=labels, recipe=RECIPE) as store:
        page = Cells(train(store)._repr_html_())
    for text in ("trained on 12 images", "plain", "accuracy 1.000", "2 classes <cat>, dog"):
        assert text in " ".join(page.text.split())


def test_a_notebook_shows_a_benchmark_as_its_stages():
    stages = (Stage("decode", 1234.4, 0.25, 0.5), Stage("network", 411.0, 0.75, 0.0))
    found = Benchmark(stages, 300, 308, 0.97, "network", ("a <GPU>", "b"), 9, 0, 9, 1e4, "net",
                      "cpu", "float32", "torch", "", 2, 32, 3)  # fmt: skip
    page = Cells(found._repr_html_())
    assert page.tags == TABLE | {"p"}
    for text in (
        "decode 1,234 25% 50%",
        "network 411 75% 0%",
        "whole extraction 300",
        "a <GPU>; b",
    ):
        assert text in " ".join(page.text.split())
