"""Scores of classes and attributes, and their intervals, against references."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

from featx.errors import ParameterError
from featx.evaluation import (
    bootstrap_interval,
    calibration_error,
    evaluate_classes,
    mean_over_attributes,
    wilson_interval,
)
from featx.evaluation._scores import mean_per_class_accuracy, measure_average_precision
from pipelines.protocols.metrics import average_precision_voc, mean_roc_auc


def voc_slowly(truth: Any, score: Any, year: int) -> float:
    """Straight from the definition: best precision at each recall or beyond."""
    points = []
    for threshold in np.unique(score):
        taken = score >= threshold
        right = truth[taken].sum()
        points.append((right / truth.sum(), right / taken.sum()))

    def best(recall: float) -> float:
        return max((p for r, p in points if r >= recall - 1e-12), default=0.0)

    if year == 2007:
        return sum(best(level / 10) for level in range(11)) / 11
    recalls = np.unique([0.0, *(r for r, _ in points)])
    return float(sum((b - a) * best(b) for a, b in pairwise(recalls)))


@st.composite
def scored(draw: Any) -> tuple[Any, Any]:
    n = draw(st.integers(1, 30))
    truth = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), dtype=float)
    truth[0] = 1
    score = np.array(draw(st.lists(st.integers(0, 8), min_size=n, max_size=n)), dtype=float)
    return truth, score


@given(scored(), st.sampled_from([2007, 2010]))
def test_voc_agrees_with_its_definition(case: tuple[Any, Any], year: int) -> None:
    truth, score = case
    got = average_precision_voc(truth, score, year=year)
    assert 0 <= got <= 1
    assert got == pytest.approx(voc_slowly(truth, score, year))


@given(scored())
def test_average_precision_of_a_resample_agrees_with_scikit_learn(case: tuple[Any, Any]) -> None:
    truth, score = case
    assert measure_average_precision(truth, score) == pytest.approx(
        average_precision_score(truth, score), abs=1e-12
    )


@given(scored(), st.randoms(use_true_random=False))
def test_order_of_samples_changes_no_metric(case: tuple[Any, Any], random: Any) -> None:
    truth, score = case
    order = list(range(len(truth)))
    random.shuffle(order)
    for metric in (average_precision_voc, mean_over_attributes):
        assert metric(truth, score) == pytest.approx(metric(truth[order], score[order]))


def test_voc_by_hand() -> None:
    assert average_precision_voc([1, 1, 0], [3, 2, 1]) == 1.0
    # Recall 0.5 at precision 1, recall 1 at precision 2 / 3: six levels of one, five of the other.
    assert average_precision_voc([1, 0, 1], [3, 2, 1]) == pytest.approx((6 + 5 * 2 / 3) / 11)
    assert average_precision_voc([1, 0, 1], [3, 2, 1], year=2010) == pytest.approx(5 / 6)


def test_eleven_levels_meet_recalls_of_tenths() -> None:
    """Would catch 0.3 == 3 * 0.1 in floating point: ten positives, the third found late."""
    truth, score = np.ones(20), -np.arange(20.0)
    truth[[1, 3, 5, 7, 9, 11, 13, 15, 17, 19]] = 0
    assert average_precision_voc(truth, score) == pytest.approx(voc_slowly(truth, score, 2007))


def test_multilabel_mean_leaves_out_what_is_not_known() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random((50, 4)) > 0.6).astype(float)
    truth[::3, 1] = np.nan
    truth[:, 3] = np.where(np.isnan(truth[:, 1]), np.nan, 0)
    score = rng.normal(size=(50, 4))
    known = ~np.isnan(truth[:, 1])
    expected = [
        average_precision_score(truth[:, 0], score[:, 0]),
        average_precision_score(truth[known, 1], score[known, 1]),
        average_precision_score(truth[:, 2], score[:, 2]),
    ]
    each = mean_over_attributes(truth, score, average=None)
    np.testing.assert_allclose(each[:3], expected)
    assert np.isnan(each[3])
    assert mean_over_attributes(truth, score) == pytest.approx(np.mean(expected))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1))
def test_mean_per_class_accuracy_is_balanced_accuracy(pairs: list[tuple[str, str]]) -> None:
    truth, predicted = zip(*pairs, strict=True)
    predicted = tuple(p if p in truth else truth[0] for p in predicted)
    got = mean_per_class_accuracy(truth, predicted)
    if len(set(truth)) == 1:  # scikit-learn warns
        assert got == 1
        return
    assert got == pytest.approx(balanced_accuracy_score(truth, predicted))


def test_a_class_predicted_but_absent_raises_no_warning() -> None:
    assert mean_per_class_accuracy(["a", "a"], ["a", "b"]) == 0.5


def test_interval_of_a_mean_is_that_of_theory() -> None:
    x = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap_interval(lambda v: float(v.mean()), x, n_resamples=2000)
    half = 1.96 * x.std() / 20
    assert low == pytest.approx(x.mean() - half, abs=0.015)
    assert high == pytest.approx(x.mean() + half, abs=0.015)
    narrow = bootstrap_interval(lambda v: float(v.mean()), x, level=0.5)
    assert low < narrow[0] < narrow[1] < high


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.5, 0.99))
def test_wilsons_interval_solves_its_equation(n_right: int, n_wrong: int, level: float) -> None:
    """Its ends are the shares p from which what was seen lies z standard errors away."""
    n = n_right + n_wrong
    if not n:
        return
    z = norm.ppf((1 + level) / 2)
    for end in wilson_interval([True] * n_right + [False] * n_wrong, level=level):
        distance = (n_right / n - end) ** 2
        assert distance == pytest.approx(z**2 * end * (1 - end) / n, abs=1e-9)


def test_a_test_without_mistakes_is_no_proof() -> None:
    y = np.repeat(["a", "b"], 10)
    scores = np.repeat(np.eye(2), 10, axis=0)
    spans = evaluate_classes(y, y, scores, ["a", "b"])["intervals"]
    assert spans["accuracy"] == [pytest.approx(0.8389, abs=1e-4), 1.0]  # 20 of 20, by tables
    assert spans["balanced_accuracy"] is spans["map"] is None


def test_interval_is_the_same_again_and_resamples_arrays_together() -> None:
    x = np.arange(50)
    pairs: list[bool] = []

    def metric(a: Any, b: Any) -> float:
        pairs.append(bool((a == b).all()))
        return float(a.mean())

    first = bootstrap_interval(metric, x, x, n_resamples=20)
    assert first == bootstrap_interval(metric, x, x, n_resamples=20)
    assert all(pairs)


def test_resamples_without_a_value_are_left_out() -> None:
    truth = np.r_[1, 1, np.zeros(30)]
    score = np.arange(32.0)
    low, high = bootstrap_interval(mean_over_attributes, truth, score)
    assert 0 < low <= high <= 1
    lonely = np.array([True, *[False] * 9])
    nan = bootstrap_interval(lambda t: float(t[t].mean()) if t.any() else float("nan"), lonely)
    assert nan == (1.0, 1.0)
    with pytest.raises(ParameterError, match=r"of 50 resamples, expected at least half"):
        bootstrap_interval(
            lambda t: 1.0 if t.sum() > 8 else float("nan"), np.arange(10) > 4, n_resamples=50
        )


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: average_precision_voc([1, 0], [1, 2], year=2008), r"year: got 2008"),
        (
            lambda: average_precision_voc([1, 2], [1, 2]),
            r"y_true: got 2.0 for sample 1, expected 1 for yes, 0 for no",
        ),
        (lambda: average_precision_voc([1, 0], [1, np.nan]), r"score: got NaN"),
        (lambda: average_precision_voc([1, 0], [1]), r"shapes \(2,\) and \(1,\)"),
        (lambda: average_precision_voc([0, 0], [1, 2]), r"no positive label"),
        (lambda: average_precision_voc([1], [1], average="micro"), r"average: got 'micro'"),
        (lambda: mean_per_class_accuracy([1], [1, 2]), r"shapes \(1,\) and \(2,\)"),
        (lambda: bootstrap_interval(len, [1], [1, 2]), r"lengths \[1, 2\]"),
        (lambda: bootstrap_interval(len, [1], level=1), r"level: got 1"),
        (lambda: bootstrap_interval(len, [1], n_resamples=0), r"n_resamples: got 0"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_bad_arguments_are_named(call: Any, match: str) -> None:
    with pytest.raises(ParameterError, match=match):
        call()


def test_what_fails_on_all_rows_is_not_hidden_by_resampling() -> None:
    with pytest.raises(ParameterError, match=r"no positive label"):
        bootstrap_interval(mean_over_attributes, np.zeros(5), np.arange(5.0))


def test_mean_roc_auc_is_scikit_learns_on_known_labels_and_skips_attributes_of_one_answer():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (40, 4)).astype(float)
    truth[rng.random(truth.shape) < 0.2] = np.nan
    truth[:, 3] = 1
    scores = rng.normal(size=truth.shape)
    values = mean_roc_auc(truth, scores, average=None)
    expected = [
        roc_auc_score(truth[known, c], scores[known, c])
        for c in range(3)
        for known in [~np.isnan(truth[:, c])]
    ]
    np.testing.assert_allclose(values[:3], expected)
    assert np.isnan(values[3])
    assert mean_roc_auc(truth, scores) == pytest.approx(np.mean(expected))


def test_calibration_error_is_the_mean_gap_of_the_bins() -> None:
    rng = np.random.default_rng(0)
    sure = np.append(rng.random(500), [0.0, 1.0])
    is_right = rng.random(502) < sure**2
    expected = 0.0
    for low in np.arange(10) / 10:
        within = (sure >= low) & ((sure < low + 0.1 - 1e-12) | (low == 0.9))
        expected += within.mean() * abs(sure[within].mean() - is_right[within].mean())
    assert calibration_error(sure, is_right, n_bins=10) == pytest.approx(expected)
    assert calibration_error([1.0, 0.0], [True, False]) == 0
