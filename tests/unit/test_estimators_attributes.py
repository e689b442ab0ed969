"""Attributes: the joint fit is the same as one model for each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold
from sklearn.preprocessing import normalize
from sklearn.svm import LinearSVC

from featx.errors import ParameterError
from featx.estimators import AttributeClassifier


def faces(n: int = 120, d: int = 20, a: int = 5, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    Y = (X @ rng.normal(size=(d, a)) + rng.normal(size=(n, a)) > 0).astype(float)
    return X, Y


class Frame:
    """As much of a data frame as is looked at."""

    def __init__(self, values: Any, columns: list[str]) -> None:
        self.values, self.columns = values, columns

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.asarray(self.values, dtype=dtype)

    def __len__(self) -> int:
        return len(self.values)


@pytest.mark.parametrize("balanced", [None, "balanced"], ids=["plain", "balanced"])
def test_each_attribute_is_its_own_logistic_regression(balanced: Any) -> None:
    X, Y = faces()
    Y[:30, 1] = np.nan
    ours = AttributeClassifier(Cs=5.0, class_weight=balanced, tol=1e-13).fit(X, Y)
    for a in range(5):
        known = ~np.isnan(Y[:, a])
        theirs = LogisticRegression(C=5.0, class_weight=balanced, tol=1e-10, max_iter=10_000)
        theirs.fit(normalize(X[known]), Y[known, a])
        np.testing.assert_allclose(ours.coef_[a], theirs.coef_[0], atol=1e-5)
        np.testing.assert_allclose(
            ours.predict_proba(X)[:, a], theirs.predict_proba(normalize(X))[:, 1], atol=1e-5
        )


@pytest.mark.parametrize("length", [1e-25, 1e25])
def test_rows_whose_squares_are_beyond_float32_are_fitted(length: float) -> None:
    X, Y = faces()
    Cs = [0.01 / length**2, 5.0 / length**2]
    far = AttributeClassifier(Cs=Cs, normalize=False).fit(X * length, Y)
    assert ((far.predict_proba(X * length) > 0.5) == Y).mean() > 0.85


def test_each_attribute_is_its_own_support_vector_machine() -> None:
    X, Y = faces(n=15, d=40)
    ours = AttributeClassifier("svm", Cs=2.0, tol=1e-13).fit(X, Y)
    for a in range(5):
        theirs = LinearSVC(C=2.0, tol=1e-10, dual=False).fit(normalize(X), Y[:, a])
        np.testing.assert_allclose(ours.coef_[a], theirs.coef_[0], atol=1e-6)


def test_c_is_chosen_for_each_attribute_by_its_held_out_log_loss() -> None:
    """Would catch a fold's weights mixed up between attributes, or missing labels counted."""
    X, Y = faces(n=90)
    Y[::7, 2] = np.nan
    splits = list(KFold(3).split(X))
    Cs = np.array([0.1, 3.0, 100.0])
    ours = AttributeClassifier(Cs=Cs, cv=splits, tol=1e-13).fit(X, Y)
    for a in range(5):
        known = ~np.isnan(Y[:, a])
        for i, C in enumerate(Cs):
            p = np.zeros(len(X))
            for train, test in splits:
                rows = train[known[train]]
                model = LogisticRegression(C=C, tol=1e-9, max_iter=10_000)
                p[test] = model.fit(normalize(X[rows]), Y[rows, a]).predict_proba(
                    normalize(X[test])
                )[:, 1]
            assert ours.cv_results_["log_loss"][i, a] == pytest.approx(
                log_loss(Y[known, a], p[known]), abs=1e-4
            )
        assert ours.C_[a] == Cs[ours.cv_results_["log_loss"][:, a].argmin()]
    assert ours.n_splits_ == 3


@pytest.mark.parametrize("method", ["logistic", "svm"])
def test_constant_attributes_are_said_and_predicted(method: str) -> None:
    X, Y = faces(n=30)
    Y[:, 0], Y[:, 3] = 1, 0
    Y[:10, 3] = np.nan
    model = AttributeClassifier(method).fit(X, Y)
    np.testing.assert_array_equal(model.constant_, [1, np.nan, np.nan, 0, np.nan])
    assert (model.predict(X)[:, [0, 3]] == [1, 0]).all()
    np.testing.assert_allclose(model.predict_proba(X)[0, [0, 3]], [31 / 32, 1 / 22])
    assert np.isnan(model.C_[[0, 3]]).all()


def test_only_constant_attributes_are_fine() -> None:
    model = AttributeClassifier().fit(np.eye(3), np.ones((3, 2)))
    assert (model.predict(np.eye(3)) == 1).all()


def test_an_attribute_with_one_yes_takes_the_default_c() -> None:
    X, Y = faces(n=40)
    Y[:, 1] = 0
    Y[5, 1] = 1
    model = AttributeClassifier().fit(X, Y)
    assert model.C_[1] == 100.0
    assert np.isnan(model.cv_results_["log_loss"][:, 1]).all()
    assert model.predict_proba(X)[:, 1].argmax() == 5


def test_names_come_from_the_frame_the_parameter_or_the_place() -> None:
    X, Y = faces(n=20, a=2)
    frame = Frame(Y, ["smiling", "hat"])
    assert AttributeClassifier().fit(X, frame).attribute_names_.tolist() == ["smiling", "hat"]
    named = AttributeClassifier(attribute_names=["a", "b"]).fit(X, frame)
    assert named.attribute_names_.tolist() == ["a", "b"]
    assert AttributeClassifier().fit(X, Y).attribute_names_.tolist() == [
        "attribute0",
        "attribute1",
    ]


def test_svm_probabilities_are_honest_on_new_samples() -> None:
    X, Y = faces(n=2000, d=10, seed=1)
    model = AttributeClassifier("svm").fit(X[:400], Y[:400])
    p, truth = model.predict_proba(X[400:]), Y[400:]
    confidence = np.maximum(p, 1 - p).mean()
    assert abs(confidence - model.score(X[400:], truth)) < 0.04


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ([(2, 1, -1.0)], r"got .*-1.0.* for sample 2, attribute 'attribute1'"),
        ([(slice(None), 0, np.nan)], r"without a single known label: 'attribute0'"),
    ],
    ids=["minus one", "all missing"],
)
def test_bad_labels_are_named(change: list[Any], match: str) -> None:
    X, Y = faces(n=20)
    for row, column, value in change:
        Y[row, column] = value
    with pytest.raises(ParameterError, match=match):
        AttributeClassifier().fit(X, Y)


def test_other_mistakes_are_named() -> None:
    X, Y = faces(n=20)
    with pytest.raises(ParameterError, match=r"got 19 rows for 20 rows"):
        AttributeClassifier().fit(X, Y[:19])
    with pytest.raises(ParameterError, match=r"got 2 names"):
        AttributeClassifier(attribute_names=["a", "b"]).fit(X, Y)
    with pytest.raises(ParameterError, match=r"\['a'\] more than once"):
        AttributeClassifier(attribute_names=["a", "a"]).fit(X, Y[:, :2])
    with pytest.raises(ParameterError, match=r"row 0 has 'yes', which is no number"):
        AttributeClassifier().fit(X, np.full((20, 1), "yes"))
    with pytest.raises(ParameterError, match=r"got 'even'"):
        AttributeClassifier(class_weight="even").fit(X, Y)
    with pytest.raises(ParameterError, match=r"row 0 in the test part of two"):
        AttributeClassifier(cv=[([1, 2], [0]), ([3, 4], [0])]).fit(X, Y)
