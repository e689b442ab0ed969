"""Learning curves: fair draws, and laws that find their own parameters again."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import trapezoid
from scipy.stats import ttest_1samp
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import balanced_accuracy_score, precision_recall_curve
from sklearn.neighbors import KNeighborsClassifier

import featx
from featx import LinearProbeClassifier
from featx.errors import ParameterError
from featx.evaluation import (
    FewLabelCurve,
    extrapolate,
    few_label_curve,
    find_leaks,
    labels_needed,
    precision_recall_points,
)


class Spy(ClassifierMixin, BaseEstimator):
    """Notes what it is trained and asked on; answers the first label."""

    def __init__(self, notes: Any = None) -> None:
        self.notes = notes

    def __sklearn_clone__(self) -> Spy:
        return Spy(self.notes)

    def fit(self, X: Any, y: Any) -> Spy:
        self.answer_ = y[0]
        self.notes.append(("fit", list(X), list(y)))
        return self

    def predict(self, X: Any) -> np.ndarray:
        self.notes.append(("predict", list(X)))
        return np.full(len(X), self.answer_)


def blobs(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return rng.normal(size=(3, 8))[y] + rng.normal(size=(n, 8)), y


def test_every_estimator_gets_the_same_nested_draws_and_the_same_test_rows() -> None:
    paths = [f"{k:02}.jpg" for k in range(40)]  # paths are passed on as they are
    y = np.array(["a", "b"] * 20)
    first: list[Any] = []
    second: list[Any] = []
    few_label_curve(paths, y, {"one": Spy(first), "two": Spy(second)}, n_repeats=2,
                    n_per_class=(1, 3, 5), test=np.arange(40) >= 30)  # fmt: skip
    assert first == second
    fits = [(set(note[1]), note[2]) for note in first if note[0] == "fit"]
    assert [len(rows) for rows, _ in fits] == [2, 6, 10] * 2
    assert fits[0][0] < fits[1][0] < fits[2][0]
    assert fits[2][0] != fits[5][0]
    assert all(sorted(labels) == sorted(y[[int(p[:2]) for p in rows]]) for rows, labels in fits)
    assert all(note[1] == paths[30:] for note in first if note[0] == "predict")
    assert not any(rows & set(paths[30:]) for rows, _ in fits)


def test_without_test_rows_all_sizes_of_a_draw_are_tested_on_what_the_largest_leaves() -> None:
    notes: list[Any] = []
    few_label_curve(list(range(20)), [0, 1] * 10, {"spy": Spy(notes)}, n_per_class=(1, 4),
                    n_repeats=1)  # fmt: skip
    train, tested = notes[2][1], [note[1] for note in notes if note[0] == "predict"]
    assert len(train) == 8
    assert tested[0] == tested[1] == sorted(set(range(20)) - set(train))


def test_copies_of_test_rows_are_never_drawn_and_counted() -> None:
    notes: list[Any] = []
    groups = np.r_[np.arange(16), 0, 1, 2, 3]
    curve = few_label_curve(list(range(20)), [0, 1] * 10, {"spy": Spy(notes)}, n_repeats=5,
                            n_per_class=(6,), test=[16, 17, 18, 19], groups=groups)  # fmt: skip
    assert curve.n_left_out == 4
    assert {row for note in notes if note[0] == "fit" for row in note[1]} == set(range(4, 16))


def test_scores_are_those_of_a_loop_by_hand() -> None:
    X, y = blobs(120)
    y[y == 2] = np.arange((y == 2).sum()) % 2  # two classes
    test = np.arange(90, 120)
    model = KNeighborsClassifier(1)
    curve = few_label_curve(X, y, {"nn": model}, n_per_class=(2, 8), n_repeats=3, test=test,
                            scoring="balanced_accuracy")  # fmt: skip
    own = few_label_curve(
        X,
        y,
        {"nn": model},
        n_per_class=(2, 8),
        n_repeats=3,
        test=test,
        scoring=lambda m, X, y: balanced_accuracy_score(y, m.predict(X)),
    )
    np.testing.assert_allclose(curve.scores["nn"], own.scores["nn"])
    assert (curve.scoring, own.scoring) == ("balanced_accuracy", "<lambda>")
    ((rows, _),) = featx.evaluation.few_label_splits(y, 8, pool=np.arange(90))
    expected = balanced_accuracy_score(y[test], model.fit(X[rows], y[rows]).predict(X[test]))
    assert curve.scores["nn"][1, 0] == pytest.approx(expected)


def test_intervals_are_students() -> None:
    scores = np.random.default_rng(0).uniform(0.5, 0.7, (4, 6))
    curve = FewLabelCurve((1, 2, 5, 10), {"a": scores})
    expected = [ttest_1samp(row, 0).confidence_interval(0.95) for row in scores]
    np.testing.assert_allclose(curve.intervals["a"], expected)
    np.testing.assert_allclose(curve.mean["a"], scores.mean(axis=1))
    assert FewLabelCurve((1,), {"a": np.ones((1, 1))}).intervals == {}
    sure = FewLabelCurve((1,), {"a": np.array([[0.7, 1.0]])})
    assert sure.intervals["a"][0, 1] == 1
    loss = FewLabelCurve((1,), {"a": np.array([[0.7, 1.0]])}, scoring="neg_log_loss")
    assert loss.intervals["a"][0, 1] > 1


def test_attributes_are_scored_by_a_scorer() -> None:
    X, y = blobs(90)
    Y = np.stack([y == 0, y == 1], axis=1).astype(float)
    curve = few_label_curve(
        X,
        Y,
        {"nn": KNeighborsClassifier(1)},
        n_per_class=(5, 40),
        n_repeats=4,
        scoring=lambda m, X, Y: (m.predict(X) == Y).mean(),
    )
    assert curve.mean["nn"][0] < curve.mean["nn"][1]


def test_an_estimator_that_fails_is_named_with_its_size() -> None:
    with pytest.raises(ValueError, match="n_neighbors") as caught:
        few_label_curve(*blobs(60), {"five nearest": KNeighborsClassifier(5)}, n_per_class=(1, 5))
    assert caught.value.__notes__ == ["few_label_curve: 'five nearest' at 1 labels per class"]


def synthetic(
    law: tuple[float, float, float], sizes: Any, noise: float = 0.0, n_repeats: int = 10
) -> FewLabelCurve:
    a, b, c = law
    n = np.array(sizes, dtype=float)[:, None]
    jitter = np.random.default_rng(0).normal(size=(len(sizes), n_repeats)) * noise
    return FewLabelCurve(tuple(sizes), {"p": np.clip(1 - a - b * n**-c + jitter, 0, 1)})


@settings(max_examples=40)
@given(st.floats(0, 0.3), st.floats(0.2, 0.6), st.floats(0.2, 1.5))
def test_a_law_without_noise_is_found_again(a: float, b: float, c: float) -> None:
    curve = synthetic((a, b, c), (1, 2, 5, 10, 20))
    for n in (1, 3, 10, 40, 80):
        found = extrapolate(curve, "p", n)
        # The exponents tried are 2.5 % apart, which moves the end of a steep law most.
        assert found.score == pytest.approx(1 - a - b * n**-c, abs=0.01)
        assert found.problem == ""
    target = 1 - a - b * 8**-c
    assert labels_needed(curve, "p", target).n_per_class == pytest.approx(8, abs=1)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    law, hits = (0.08, 0.5, 0.6), 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n = np.array([1, 2, 5, 10.0])[:, None]
        scores = np.clip(1 - 0.08 - 0.5 * n**-0.6 + rng.normal(size=(4, 10)) * 0.03, 0, 1)
        found = extrapolate(FewLabelCurve((1, 2, 5, 10), {"p": scores}), "p", 40)
        hits += found.low <= 1 - law[0] - law[1] * 40 ** -law[2] <= found.high
    assert hits >= 50  # of 57 expected; ten draws resampled are a little narrow


def test_what_cannot_be_told_is_said() -> None:
    flat = synthetic((0.3, 0.0, 1.0), (1, 2, 5, 10), noise=0.02)
    assert "the curve is flat" in extrapolate(flat, "p", 20).problem
    assert "the curve is flat" in labels_needed(flat, "p", 0.9).problem
    steep = synthetic((0.1, 0.5, 0.8), (1, 2, 5, 10), noise=0.01)
    beyond = labels_needed(steep, "p", 0.99)
    assert beyond.n_per_class == beyond.high == math.inf
    assert "the target 0.99 lies beyond 0.9" in beyond.problem
    assert extrapolate(steep, "p", 40).problem == ""
    assert "over 4 times the 10 labels" in extrapolate(steep, "p", 41).problem
    assert "over 4 times the 10 labels" in labels_needed(steep, "p", 0.884).problem
    reached = labels_needed(steep, "p", 0.1)
    assert (reached.n_per_class, reached.problem) == (1, "")
    assert labels_needed(flat, "p", 0.5).problem == ""


def test_a_single_draw_has_no_interval() -> None:
    found = extrapolate(synthetic((0.1, 0.5, 0.8), (1, 2, 5), n_repeats=1), "p", 10)
    assert found.score == pytest.approx(1 - 0.1 - 0.5 * 10**-0.8, abs=0.004)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_a_noisy_size_weighs_less() -> None:
    """Would catch equal weights: the law bends to one label per class, where draws vary most."""
    curve = synthetic((0.1, 0.5, 0.5), (2, 5, 10, 20), n_repeats=10)
    scores = curve.scores["p"] + np.random.default_rng(1).normal(size=(4, 10)) * 0.003
    spoiled = scores.copy()
    spoiled[0] += np.linspace(-0.1, 0.2, 10)
    sizes = curve.n_per_class
    clean, bent = (
        extrapolate(FewLabelCurve(sizes, {"p": s}), "p", 40).score for s in (scores, spoiled)
    )
    assert clean == pytest.approx(bent, abs=0.01)


@pytest.mark.slow
def test_few_labels_foretell_more_on_photographs(shared_assets: Path, tmp_path: Path) -> None:
    # The pairs were looked at with features of this size.
    folder = shared_assets / "datasets" / "flowers12"
    store = featx.extract([folder / "train", folder / "test"], tmp_path / "f.h5", "featx_small",
                          resize_px=164, crop_px=144)  # fmt: skip
    species, parts = store.labels, np.array([Path(p).parent.parent.name for p in store.paths])
    train, test = np.flatnonzero(parts == "train"), np.flatnonzero(parts == "test")
    leaks = find_leaks(store[train], store[test], train_hashes=store.digests[train],
                       test_hashes=store.digests[test], threshold=0.984)  # fmt: skip
    assert len(leaks) == 25  # looked at: each is one photograph saved twice
    curve = few_label_curve(store[:], species, {"p": LinearProbeClassifier(Cs=10.0)}, test=test,
                            n_per_class=(1, 2, 5, 10, 20, 40), progress=False)  # fmt: skip
    short = FewLabelCurve(curve.n_per_class[:4], {"p": curve.scores["p"][:4]})
    for place, n in ((4, 20), (5, 40)):
        found = extrapolate(short, "p", n)
        assert found.low <= curve.mean["p"][place] <= found.high
        assert found.score == pytest.approx(curve.mean["p"][place], abs=0.015)


@given(st.integers(0, 1000), st.integers(2, 400), st.booleans())
def test_precision_recall_points_are_scikit_learns(seed: int, n: int, has_ties: bool) -> None:
    rng = np.random.default_rng(seed)
    truth = (rng.random(n) < 0.3).astype(float)
    truth[0], truth[-1] = 1, np.nan
    score = rng.integers(0, 9, n).astype(float) if has_ties else rng.normal(size=n)
    recall, precision = precision_recall_points(truth, score, max_points=1000)
    expected = precision_recall_curve(truth[:-1], score[:-1], drop_intermediate=True)
    np.testing.assert_array_equal(recall, expected[1][::-1])
    np.testing.assert_array_equal(precision, expected[0][::-1])


def test_thinned_points_lie_on_the_curve_from_end_to_end() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random(20_000) < 0.2).astype(float)
    score = truth + rng.normal(size=20_000)
    whole = precision_recall_points(truth, score, max_points=10**6)
    thin = precision_recall_points(truth, score)
    assert 150 <= len(thin[0]) <= 200 < len(whole[0])
    assert set(zip(*thin, strict=True)) <= set(zip(*whole, strict=True))
    assert (thin[0][0], thin[0][-1]) == (0, 1)
    assert (np.diff(thin[0]) >= 0).all()
    area = [trapezoid(p, r) for r, p in (whole, thin)]
    assert area[0] == pytest.approx(area[1], abs=0.005)  # recalls are 0.01 apart


ONE = {"p": KNeighborsClassifier(1)}
SHORT = FewLabelCurve((1, 2), {"probe": np.ones((2, 3))})
LOSSES = FewLabelCurve((1, 2, 3), {"probe": -np.ones((3, 3))})
FINE = FewLabelCurve((1, 2, 3), {"probe": np.ones((3, 3))})


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: few_label_curve([[1]], [0, 1], ONE), r"X: got 1 rows, expected 2"),
        (lambda: few_label_curve([[1], [2]], [0, 1], {}), r"estimators: got none"),
        (
            lambda: few_label_curve(*blobs(9), ONE, n_per_class=(1, 3)),
            r"class 0 has 3 rows, expected at least 4, one of them to test on; 2 more classes",
        ),
        (lambda: few_label_curve(*blobs(9), ONE, n_per_class=(2, 1)), r"got \(2, 1\), expected r"),
        (lambda: few_label_curve(*blobs(9), ONE, n_per_class=()), r"got \(\), expected rising"),
        (lambda: few_label_curve(*blobs(9), ONE, n_per_class=(1.5,)), r"n_per_class: got 1.5"),
        (lambda: few_label_curve(*blobs(9), ONE, n_repeats=0), r"n_repeats: got 0"),
        (
            lambda: few_label_curve(*blobs(9), ONE, scoring="acuracy"),
            r"scoring: got 'acuracy'.*Did you mean 'accuracy'",
        ),
        (
            lambda: few_label_curve([[1], [2]], [[0], [1]], ONE),
            r"scoring: got 'accuracy' for y of shape \(2, 1\)",
        ),
        (lambda: few_label_curve(*blobs(9), ONE, test=range(9)), r"test: got 9 of 9 rows"),
        (lambda: extrapolate(SHORT, "probe", 5), r"curve: got 2 sizes, expected at least 3"),
        (lambda: extrapolate(LOSSES, "probe", 5), r"got scores from -1 to -1 for 'probe'"),
        (lambda: extrapolate(FINE, "prob", 5), r"name: got 'prob'.*Did you mean 'probe'"),
        (lambda: extrapolate(FINE, "probe", 0.5), r"n: got 0.5, expected a number of at least 1"),
        (lambda: extrapolate(FINE, "probe", math.inf), r"n: got inf"),
        (lambda: labels_needed(FINE, "probe", 1), r"target: got 1, expected"),
        (lambda: precision_recall_points([0, 0], [1, 2]), r"no positive label"),
        (lambda: precision_recall_points([[1]], [[1]]), r"got shape \(1, 1\).*one attribute"),
        (lambda: precision_recall_points([1], [1], max_points=3), r"max_points: got 3"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_bad_arguments_are_named(call: Any, match: str) -> None:
    with pytest.raises(ParameterError, match=match):
        call()
