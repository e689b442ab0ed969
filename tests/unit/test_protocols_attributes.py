"""`run_attributes` against scikit-learn's scores of the labels that are known."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

from featx import AttributeClassifier, extract
from featx.demo import sample_data_dir
from featx.errors import ParameterError
from featx.extraction import Encoder, RunOptions
from pipelines.datasets import ImageDataset
from pipelines.protocols import TaskResult, run_attributes, task_report

SMALL = {"resize_px": 64, "crop_px": 48, "device": "cpu", "precision": "float32", "workers": 0}
NET = Encoder(resize_px=64, crop_px=48, precision="float32")
RUN = RunOptions("cpu", workers=0)
NAMES = ("striped", "round", "has_legs", "dark")
N = 48


@pytest.fixture(scope="module")
def creatures() -> ImageDataset:
    """Sample pictures with four attributes; a sixth of the answers is not known."""
    folder = sample_data_dir() / "attributes"
    with (folder / "attributes.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))[:N]
    Y = np.array([[float(line[name]) for name in NAMES] for line in lines])
    rng = np.random.RandomState(0)
    Y[rng.rand(*Y.shape) < 1 / 6] = np.nan
    Y[rng.rand(*Y.shape) < 0.1] = 1  # so that no detector is right throughout
    return with_attributes([str(folder / line["path"]) for line in lines], Y)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("tasks") / "features.h5"


@pytest.fixture(scope="module")
def X(creatures, tmp_path_factory) -> np.ndarray:
    """What `featx.extract` gives for the pictures, in their order."""
    file = tmp_path_factory.mktemp("reference") / "x.h5"
    with extract(list(creatures.paths), file, **SMALL) as table:
        rows = {path: i for i, path in enumerate(table.paths.tolist())}
        return table[[rows[path] for path in creatures.paths]]


@pytest.fixture(scope="module")
def last_quarter(creatures, store) -> TaskResult:
    return run_attributes(creatures, store, encoder=NET, run=RUN)


def with_attributes(paths, Y, *, names=NAMES, split=(), task="attributes") -> ImageDataset:
    return ImageDataset(
        "creatures", task, tuple(paths), attributes=Y, attribute_names=names, split=split
    )


def eleven_points(truth: np.ndarray, scores: np.ndarray) -> float:
    """VOC 2007: the mean over eleven recalls of the highest precision at that or more."""
    order = np.argsort(-scores)
    hits = np.cumsum(truth[order])
    recall, precision = hits / truth.sum(), hits / np.arange(1, len(truth) + 1)
    return float(
        np.mean(
            [max(precision[recall >= level - 1e-9], default=0) for level in np.arange(11) / 10]
        )
    )


def figures_by_hand(Y: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    found: dict[str, list[float]] = {
        "map": [], "map_voc2007": [], "auc": [], "balanced_accuracy": [],
    }  # fmt: skip
    for truth, score in zip(Y.T, scores.T, strict=True):
        known = ~np.isnan(truth)
        y, s = truth[known], score[known]
        found["map"].append(average_precision_score(y, s))
        found["map_voc2007"].append(eleven_points(y, s))
        found["auc"].append(roc_auc_score(y, s))
        found["balanced_accuracy"].append(balanced_accuracy_score(y, s > 0.5))
    return {name: float(np.mean(values)) for name, values in found.items()}


def test_the_last_quarter_tests_where_a_set_has_no_split(creatures, last_quarter) -> None:
    assert last_quarter.splits == (
        {"train": list(range(36)), "test": list(range(36, N))},
    )  # fmt: skip
    assert last_quarter.protocol == "first 36 images train, the rest tests"
    counts = {name: last_quarter.counts[name] for name in ("attributes", "train", "test")}
    assert counts == {"attributes": 4, "train": 36, "test": 12}
    assert last_quarter.details.paths == creatures.paths[36:]


def test_figures_equal_scikit_learns_means_over_known_labels(creatures, X, last_quarter) -> None:
    Y = creatures.attributes
    assert np.isnan(Y[:36]).any(axis=0).all()
    assert np.isnan(Y[36:]).any()
    model = AttributeClassifier().fit(X[:36], Y[:36])
    scores = model.predict_proba(X[36:])
    expected = figures_by_hand(Y[36:], scores)
    assert list(last_quarter.figures) == list(expected)
    for name, value in expected.items():
        figure = last_quarter.figures[name]
        assert figure.value == pytest.approx(value, abs=1e-9)
        assert figure.low <= figure.value <= figure.high
        assert figure.low < figure.high
    np.testing.assert_allclose(last_quarter.details.scores, scores, atol=1e-9)
    np.testing.assert_array_equal(last_quarter.details.y_true, Y[36:])
    np.testing.assert_array_equal(last_quarter.details.y_pred, scores > 0.5)
    assert last_quarter.details.classes == NAMES


def test_each_detector_learns_from_the_rows_whose_answer_is_known(
    creatures, X, last_quarter
) -> None:
    Y = creatures.attributes
    for column in range(4):
        known = np.flatnonzero(~np.isnan(Y[:36, column]))
        assert len(known) < 36
        model = AttributeClassifier().fit(X[known], Y[known, column : column + 1])
        alone = model.predict_proba(X[36:])[:, 0]
        np.testing.assert_allclose(last_quarter.details.scores[:, column], alone, atol=1e-3)


def test_a_split_of_its_own_is_used_and_validation_images_train(creatures, X, store) -> None:
    split = np.array(["train", "val", "test", ""])[np.arange(N) % 4]
    Y = creatures.attributes[:, :2]
    own = with_attributes(creatures.paths, Y, names=NAMES[:2], split=split)
    result = run_attributes(own, store, encoder=NET, run=RUN)
    train = np.flatnonzero((split == "train") | (split == "val"))
    test = np.flatnonzero(split == "test")
    assert result.splits == ({"train": train.tolist(), "test": test.tolist()},)
    assert result.protocol == "the set's own split"
    model = AttributeClassifier().fit(X[train], own.attributes[train])
    expected = figures_by_hand(own.attributes[test], model.predict_proba(X[test]))
    for name, value in expected.items():
        assert result.figures[name].value == pytest.approx(value, abs=1e-9)


def test_images_that_cannot_be_read_are_left_out_and_shift_nothing(creatures, X, tmp_path) -> None:
    bad = {0, 17, 40}
    paths = list(creatures.paths)
    for i in bad:
        paths[i] = str(tmp_path / f"{i}.jpg")
        Path(paths[i]).write_bytes(b"\xff\xd8\xff\xe0 no picture")
    Y = creatures.attributes[:, :2]
    some = with_attributes(paths, Y, names=NAMES[:2])
    result = run_attributes(some, tmp_path / "f.h5", encoder=NET, run=RUN)
    train = [i for i in range(36) if i not in bad]
    test = [i for i in range(36, N) if i not in bad]
    assert result.splits == ({"train": train, "test": test},)
    assert (result.counts["failed"], result.counts["test"]) == (3, 11)
    assert result.details.paths == tuple(paths[i] for i in test)
    scores = AttributeClassifier().fit(X[train], Y[train]).predict_proba(X[test])
    np.testing.assert_allclose(result.details.scores, scores, atol=1e-6)
    np.testing.assert_array_equal(result.details.y_true, Y[test])


def test_a_result_is_json_and_holds_its_split(last_quarter) -> None:
    found = json.loads(json.dumps(last_quarter.to_dict(), allow_nan=False))
    assert found["figures"]["map"]["value"] == last_quarter.headline.value
    assert found["task"] == "attributes"
    assert found["splits"] == list(last_quarter.splits)


def test_classes_as_attributes_make_a_page_of_attributes_and_reuse_the_features(
    creatures, last_quarter, store
) -> None:
    Y = creatures.attributes[:, 1:3]
    voc = with_attributes(creatures.paths, Y, names=NAMES[1:3], task="classification")
    result = run_attributes(voc, store, encoder=NET, run=RUN, test_fraction=0.5)
    assert result.splits[0]["test"] == list(range(24, N))
    assert result.costs["images_per_second"] is None
    assert result.fingerprints == last_quarter.fingerprints
    titles = [section["title"] for section in task_report([result]).to_dict()["sections"]]
    assert "Average precision by attribute" in titles


def test_too_few_known_answers_give_figures_without_an_interval(creatures, store) -> None:
    Y = creatures.attributes[:, :1].copy()
    # Of twelve rows drawn from twelve, 41 in 100 times both of two rows are among them.
    Y[36:, 0] = [0, 1, *[np.nan] * 10]
    few = with_attributes(creatures.paths, Y, names=NAMES[:1])
    auc = run_attributes(few, store, encoder=NET, run=RUN).figures["auc"]
    assert auc.value in (0, 1)
    assert (auc.low, auc.high) == (None, None)
    assert str(auc) == f"{auc.value:.3f}"


def test_a_set_without_attributes_is_sent_to_the_other_task(creatures, store) -> None:
    classes = ImageDataset("pets", "classification", creatures.paths, labels=["a", "b"] * (N // 2))
    with pytest.raises(ParameterError, match="'pets': has labels but no attributes; use run_clas"):
        run_attributes(classes, store, encoder=NET, run=RUN)


@pytest.mark.parametrize("share", [0, 1, -0.5, 2])
def test_a_share_that_leaves_no_images_on_one_side_is_refused(creatures, store, share) -> None:
    with pytest.raises(ParameterError, match=f"test_fraction: got {share}, expected between 0 an"):
        run_attributes(creatures, store, encoder=NET, run=RUN, test_fraction=share)


def test_an_attribute_that_no_training_image_answers_is_named(creatures, store) -> None:
    Y = creatures.attributes.copy()
    Y[:36, 2] = np.nan
    with pytest.raises(ParameterError, match="without a single known label: 'has_legs'"):
        run_attributes(with_attributes(creatures.paths, Y), store, encoder=NET, run=RUN)
