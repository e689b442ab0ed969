"""Training on every view: against loops over views, and without views on both sides of a fold."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from featx.errors import ParameterError
from featx.estimators import (
    AttributeClassifier,
    LinearProbeClassifier,
    MultiViewClassifier,
    PowerNormalizer,
)

N, VIEWS, D = 24, 3, 5


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    y = np.repeat(["a", "b", "c"], N // 3)
    centres = {name: rng.normal(size=D) for name in "abc"}
    X = np.stack([centres[name] + rng.normal(scale=0.4, size=(VIEWS, D)) for name in y])
    return X.reshape(N, VIEWS * D), y


def test_it_is_a_fit_on_all_views_and_the_mean_of_their_scores(rows):
    X, y = rows
    model = MultiViewClassifier(LogisticRegression(), n_views=VIEWS).fit(X, y)
    stacked = np.concatenate([row.reshape(VIEWS, D) for row in X])
    reference = LogisticRegression().fit(stacked, [label for label in y for _ in range(VIEWS)])
    scores = np.stack([reference.decision_function(r.reshape(VIEWS, D)).mean(axis=0) for r in X])
    np.testing.assert_allclose(model.decision_function(X), scores, atol=1e-5)
    np.testing.assert_array_equal(model.predict(X), reference.classes_[scores.argmax(axis=1)])
    shares = np.stack([reference.predict_proba(r.reshape(VIEWS, D)).mean(axis=0) for r in X])
    np.testing.assert_allclose(model.predict_proba(X), shares, atol=1e-5)


class KeepsFolds(ClassifierMixin, BaseEstimator):
    def __init__(self, cv=4):
        self.cv = cv

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.folds_ = self.cv
        return self


def test_views_of_one_image_never_part(rows):
    X, y = rows
    model = MultiViewClassifier(KeepsFolds(), n_views=VIEWS).fit(X, y)
    folds = model.estimator_.folds_
    assert len(folds) == 4
    for train, test in folds:
        assert not set(train // VIEWS) & set(test // VIEWS)
        assert len(train) + len(test) == N * VIEWS
        assert set(np.repeat(y, VIEWS)[test]) == {"a", "b", "c"}
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(N * VIEWS))


def test_folds_reach_the_last_step_of_a_pipeline(rows):
    X, y = rows
    pipeline = make_pipeline(PowerNormalizer(), LinearProbeClassifier(cv=3))
    model = MultiViewClassifier(pipeline, n_views=VIEWS).fit(X, y)
    assert model.estimator_[-1].n_splits_ == 3
    assert model.score(X, y) > 0.9
    assert pipeline[-1].cv == 3


def test_attributes_are_told_from_all_views():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(40, VIEWS * D))
    Y = (X.reshape(40, VIEWS, D).mean(axis=1)[:, :2] > 0).astype(float)
    Y[0, 0] = np.nan
    model = MultiViewClassifier(AttributeClassifier(Cs=10.0), n_views=VIEWS).fit(X, Y)
    assert model.predict(X).shape == (40, 2)
    assert (model.predict(X)[1:] == Y[1:]).mean() > 0.8


def test_rows_that_do_not_divide_are_refused(rows):
    X, y = rows
    with pytest.raises(ParameterError, match="got 4, expected a divisor of the 15 features"):
        MultiViewClassifier(n_views=4).fit(X, y)
    with pytest.raises(ParameterError, match="got 0, expected an integer of at least 1"):
        MultiViewClassifier(n_views=0).fit(X, y)
