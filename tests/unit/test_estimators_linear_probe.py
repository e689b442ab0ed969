"""The linear probe against scikit-learn's own solvers, and what it does with few labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import normalize
from sklearn.svm import LinearSVC

from featx._arrays import scale_to_unit
from featx.errors import ParameterError
from featx.estimators import LinearProbeClassifier, PowerNormalizer, _axes, _folds
from featx.estimators._folds import deal, number_copies
from featx.estimators._losses import Logistic, Softmax, SquaredHinge


def problem(n: int, d: int, k: int, seed: int = 0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % k)
    X = rng.normal(size=(n, d)) + 0.8 * rng.normal(size=(k, d))[y]
    return X, y, rng.uniform(0.2, 3.0, n)


def objective(model: Any, X: Any, y: Any, w: Any, C: float) -> float:
    """The documented objective, written out from scratch."""
    scores = X @ model.coef_.T + model.intercept_
    if scores.shape[1] == 1:
        losses = np.logaddexp(0, -np.where(y == 1, 1, -1) * scores[:, 0])
    else:
        losses = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(y)), y]
    return float(C * (w * losses).sum() + (model.coef_**2).sum() / 2)


def hinge_objective(model: Any, X: Any, y: Any, w: Any, C: float) -> float:
    """The objective that LinearSVC documents, its intercept penalised, over all machines."""
    scores = X @ model.coef_.T + model.intercept_
    k = scores.shape[1]
    own = (y == 1)[:, None] if k == 1 else y[:, None] == np.arange(k)
    losses = np.maximum(0, 1 - np.where(own, scores, -scores)) ** 2
    penalty = (model.coef_**2).sum() + (model.intercept_**2).sum()
    return float(C * (w[:, None] * losses).sum() + penalty / 2)


SHAPES = [(60, 200, 4), (200, 20, 3), (50, 10, 2), (40, 90, 2)]


@pytest.mark.parametrize(("n", "d", "k"), SHAPES, ids=lambda v: str(v))
@pytest.mark.parametrize("C", [0.1, 1.0, 30.0])
def test_logistic_regression_agrees_with_scikit_learn(n: int, d: int, k: int, C: float) -> None:
    X, y, w = problem(n, d, k)
    ours = LinearProbeClassifier(Cs=C, normalize=False, tol=1e-13).fit(X, y, w)
    theirs = LogisticRegression(C=C, tol=1e-10, max_iter=100_000).fit(X, y, w)
    reached, reference = objective(ours, X, y, w, C), objective(theirs, X, y, w, C)
    assert reached <= reference * (1 + 1e-9)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=2e-5)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize(("n", "d", "k"), SHAPES, ids=lambda v: str(v))
@pytest.mark.parametrize("C", [0.1, 5.0])
def test_support_vector_machine_agrees_with_scikit_learn(n: int, d: int, k: int, C: float) -> None:
    X, y, w = problem(n, d, k, seed=1)
    ours = LinearProbeClassifier(method="svm", Cs=C, cv=2, normalize=False, tol=1e-13).fit(X, y, w)
    theirs = LinearSVC(C=C, tol=1e-10, max_iter=1_000_000, dual=False).fit(X, y, w)
    reached, reference = hinge_objective(ours, X, y, w, C), hinge_objective(theirs, X, y, w, C)
    assert reached <= reference * (1 + 1e-9)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=2e-5)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=2e-5)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 3.0, 2: 0.5}], ids=["balanced", "dict"])
def test_class_weights_agree_with_scikit_learn(class_weight: Any) -> None:
    X, y, _ = problem(90, 15, 3, seed=2)
    X, y = X[:70], y[:70] * (np.arange(70) % 5 > 0)  # classes of different sizes
    ours = LinearProbeClassifier(
        Cs=2.0, normalize=False, class_weight=class_weight, tol=1e-13
    ).fit(X, y)
    theirs = LogisticRegression(C=2.0, class_weight=class_weight, tol=1e-10, max_iter=100_000).fit(
        X, y
    )
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-5)


def test_rows_are_scaled_to_unit_length_and_zero_rows_stay() -> None:
    X, y, _ = problem(40, 12, 3)
    X[3] = 0
    ours = LinearProbeClassifier(Cs=10.0, tol=1e-13).fit(X, y)
    theirs = LogisticRegression(C=10.0, tol=1e-10, max_iter=10_000).fit(normalize(X), y)
    np.testing.assert_allclose(
        ours.predict_proba(X), theirs.predict_proba(normalize(X)), atol=1e-6
    )
    np.testing.assert_allclose(ours.predict_proba(X * 1e3), ours.predict_proba(X), atol=1e-12)


@pytest.mark.parametrize("length", [1e-25, 1e25])
@pytest.mark.parametrize("k", [2, 3])
def test_the_length_of_all_rows_changes_nothing_however_far(k: int, length: float) -> None:
    """Their squares are beyond float32; the grid of C follows them."""
    X, y, _ = problem(60, 12, k)
    folds = list(StratifiedKFold(4).split(X, y))  # ours follow the rows' contents
    plain = LinearProbeClassifier(normalize=False, cv=folds).fit(X, y)
    far = LinearProbeClassifier(normalize=False, cv=folds).fit(X * length, y)
    np.testing.assert_allclose(far.C_ * length**2, plain.C_, rtol=1e-9)
    np.testing.assert_allclose(
        far.predict_proba(X * length), plain.predict_proba(X), rtol=0, atol=1e-3
    )


@pytest.mark.parametrize("method", ["logistic", "svm"])
def test_held_out_accuracy_is_that_of_a_fit_on_each_fold(method: str) -> None:
    """Would catch scores of a training row counted as held out, or folds mixed up on the path."""
    X, y, _ = problem(75, 30, 3, seed=3)
    splits = list(StratifiedKFold(4, shuffle=True, random_state=0).split(X, y))
    Cs = [0.3, 3.0, 300.0]
    probe = LinearProbeClassifier(method, Cs, cv=splits, tol=1e-13).fit(X, y)
    hits = np.zeros((3, len(y)))
    for train, test in splits:
        for i, C in enumerate(Cs):
            make = (
                LogisticRegression(C=C, tol=1e-8, max_iter=10_000)
                if method == "logistic"
                else LinearSVC(C=C, tol=1e-8, dual=False)
            )
            make.fit(normalize(X[train]), y[train])
            hits[i, test] = make.predict(normalize(X[test])) == y[test]
    np.testing.assert_allclose(probe.cv_results_["accuracy"], hits.mean(axis=1))
    assert probe.best_score_ == hits.mean(axis=1).max()
    assert probe.n_splits_ == 4
    assert probe.C_ in Cs


def test_path_gives_what_a_fit_at_the_chosen_c_gives() -> None:
    X, y, _ = problem(60, 25, 3, seed=4)
    chosen = LinearProbeClassifier(tol=1e-13).fit(X, y)
    alone = LinearProbeClassifier(Cs=chosen.C_, tol=1e-13).fit(X, y)
    assert chosen.C_ in np.logspace(-1, 3.5, 10)
    np.testing.assert_allclose(chosen.predict_proba(X), alone.predict_proba(X), atol=1e-6)
    assert alone.n_splits_ == 0
    assert np.isnan(alone.best_score_)


def test_ties_in_accuracy_go_to_the_smaller_log_loss() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 20)
    X = rng.normal(size=(40, 6)) * 0.1 + np.where(y == 1, 1, -1)[:, None] * np.eye(6)[0]
    probe = LinearProbeClassifier().fit(X, y)
    results = probe.cv_results_
    assert (results["accuracy"] == 1).sum() > 1
    tied = results["accuracy"] == 1
    assert results["C"][tied][results["log_loss"][tied].argmin()] == probe.C_


@pytest.mark.parametrize(("method", "default"), [("logistic", 100.0), ("svm", 1.0)])
def test_one_image_a_class_takes_the_documented_default(method: str, default: float) -> None:
    probe = LinearProbeClassifier(method).fit(np.eye(4), list("abcd"))
    assert (probe.C_, probe.n_splits_, probe.cv_results_) == (default, 0, {})
    assert np.isnan(probe.best_score_)
    assert probe.predict(np.eye(4)).tolist() == list("abcd")
    assert probe.predict_proba(np.eye(4)).argmax(axis=1).tolist() == [0, 1, 2, 3]
    assert probe.calibration_ == ("none" if method == "logistic" else "default")


def test_a_class_of_one_image_does_not_stop_the_choice_of_c() -> None:
    X, y, _ = problem(41, 10, 2, seed=5)
    y[0] = 7
    probe = LinearProbeClassifier().fit(X, y)
    assert probe.n_splits_ == 5
    assert probe.classes_.tolist() == [0, 1, 7]
    assert probe.predict_proba(X).shape == (41, 3)


@pytest.mark.parametrize("method", ["logistic", "svm"])
@pytest.mark.parametrize("k", [2, 4])
def test_probabilities_sum_to_one_and_agree_with_predict(method: str, k: int) -> None:
    X, y, _ = problem(80, 10, k, seed=6)
    names = np.array(["ant", "bee", "cat", "dog"])[y]
    probe = LinearProbeClassifier(method).fit(X, names)
    p = probe.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert (probe.classes_[p.argmax(axis=1)] == probe.predict(X)).all()
    np.testing.assert_allclose(np.exp(probe.predict_log_proba(X)), p)


def test_svm_probabilities_are_honest_on_new_samples() -> None:
    """Mean confidence of a calibrated model equals its accuracy; raw margins are far off."""
    X, y, _ = problem(3000, 20, 4, seed=7)
    X = X + 1.5 * np.random.default_rng(1).normal(size=X.shape)
    probe = LinearProbeClassifier("svm").fit(X[:500], y[:500])
    p = probe.predict_proba(X[500:])
    accuracy = probe.score(X[500:], y[500:])
    assert 0.4 < accuracy < 0.9
    assert abs(p.max(axis=1).mean() - accuracy) < 0.05
    assert probe.calibration_ == "cross-validated"


def test_order_of_rows_does_not_change_the_result() -> None:
    X, y, _ = problem(50, 8, 3, seed=8)
    order = np.random.default_rng(0).permutation(50)
    a = LinearProbeClassifier(tol=1e-13).fit(X, y)
    b = LinearProbeClassifier(tol=1e-13).fit(X[order], y[order])
    assert a.C_ == b.C_
    assert a.best_score_ == pytest.approx(b.best_score_)
    np.testing.assert_allclose(a.coef_, b.coef_, atol=1e-5)


def test_copies_of_an_image_never_part() -> None:
    """Would catch the optimism of testing on a photograph that was trained on."""
    X, y, _ = problem(30, 5, 3, seed=9)
    X, y = np.tile(X, (2, 1)), np.tile(y, 2)
    folds = deal(y, number_copies(X), 5, 0)
    assert (folds[:30] == folds[30:]).all()
    assert set(folds.tolist()) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("m", [2, 3, 7])
def test_folds_are_stratified_and_of_one_size(m: int) -> None:
    y = np.repeat(np.arange(6), m)
    folds = deal(y, np.arange(len(y)), 5, 0)
    sizes = np.bincount(folds, minlength=5)
    assert sizes.max() - sizes.min() <= 1
    for code in range(6):
        counts = np.bincount(folds[y == code], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_weight_two_is_the_same_as_a_row_twice() -> None:
    X, y, _ = problem(40, 6, 3, seed=10)
    w = np.r_[np.full(10, 2.0), np.ones(25), np.zeros(5)]
    twice = np.r_[np.arange(35), np.arange(10)]
    a = LinearProbeClassifier(tol=1e-13).fit(X, y, w)
    b = LinearProbeClassifier(tol=1e-13).fit(X[twice], y[twice])
    assert a.C_ == b.C_
    assert a.best_score_ == pytest.approx(b.best_score_, abs=1e-12)
    np.testing.assert_allclose(a.coef_, b.coef_, atol=1e-4)


def test_float32_features_give_float32_scores_near_the_float64_ones() -> None:
    X, y, _ = problem(60, 30, 3)
    probe = LinearProbeClassifier(Cs=100.0).fit(X.astype(np.float32), y)
    low = probe.decision_function(X.astype(np.float32))
    assert low.dtype == np.float32
    np.testing.assert_allclose(low, probe.decision_function(X), rtol=1e-4, atol=1e-4)


def test_grid_follows_the_length_of_rows_that_are_not_normalised() -> None:
    X, y, _ = problem(60, 10, 3)
    X = normalize(X)
    a = LinearProbeClassifier(normalize=False, tol=1e-13).fit(X, y)
    b = LinearProbeClassifier(normalize=False, tol=1e-13).fit(X * 30, y)
    assert pytest.approx(a.C_) == b.C_ * 900
    np.testing.assert_allclose(a.predict_proba(X), b.predict_proba(X * 30), atol=1e-5)


def test_works_in_a_pipeline_and_a_grid_search() -> None:
    X, y, _ = problem(60, 10, 3)
    model = make_pipeline(PowerNormalizer(), LinearProbeClassifier(Cs=[1.0, 10.0]))
    search = GridSearchCV(model, {"linearprobeclassifier__method": ["logistic", "svm"]}, cv=2)
    assert search.fit(X, y).best_score_ > 0.5
    assert clone(model).get_params()["linearprobeclassifier__Cs"] == [1.0, 10.0]


def test_max_iter_that_does_not_suffice_warns_with_both_numbers() -> None:
    X, y, _ = problem(60, 30, 3)
    with pytest.warns(ConvergenceWarning, match=r"max_iter=1 iterations .* 1.0e-12"):
        LinearProbeClassifier(Cs=100.0, tol=1e-9, max_iter=1).fit(X, y)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"method": "logistc"}, r"got 'logistc'.*Did you mean 'logistic'"),
        ({"Cs": -1.0}, r"Cs: got -1.0"),
        ({"Cs": []}, r"Cs: got \[\]"),
        ({"Cs": "many"}, r"Cs: got 'many'"),
        ({"cv": 1}, r"cv: got 1, expected an integer of at least 2"),
        ({"tol": 0}, r"tol: got 0"),
        ({"max_iter": 0}, r"max_iter: got 0"),
        ({"scoring": "f1"}, r"scoring: got 'f1'"),
        ({"method": "svm", "scoring": "neg_log_loss"}, r"'neg_log_loss' with method='svm'"),
        ({"class_weight": {5: 1.0}}, r"weight for 5"),
        ({"class_weight": "even"}, r"class_weight: got 'even'"),
    ],
    ids=lambda v: str(v) if isinstance(v, dict) else "",
)
def test_bad_parameters_are_named(params: dict[str, Any], match: str) -> None:
    X, y, _ = problem(20, 4, 2)
    with pytest.raises(ParameterError, match=match):
        LinearProbeClassifier(**params).fit(X, y)


def test_negative_weights_and_a_single_class_are_refused() -> None:
    X, y, _ = problem(20, 4, 2)
    with pytest.raises(ParameterError, match=r"got .*-1.0.* for sample 19"):
        LinearProbeClassifier().fit(X, y, np.r_[np.ones(19), -1])
    with pytest.raises(ParameterError, match=r"zero for every sample"):
        LinearProbeClassifier().fit(X, y, np.zeros(20))
    with pytest.raises(ParameterError, match=r"one class .*3"):
        LinearProbeClassifier().fit(X, np.full(20, 3))


def test_a_splitter_of_ones_own_decides_the_folds() -> None:
    X, y, _ = problem(60, 10, 3)
    groups = np.arange(60) % 4
    splits = list(GroupKFold(4).split(X, y, groups))
    assert LinearProbeClassifier(cv=splits).fit(X, y).n_splits_ == 4


@pytest.mark.parametrize("shape", [(5, 30), (30, 5), (8, 8), (6, 1)])
@pytest.mark.parametrize("weights", [None, np.arange(1.0, 31)])
def test_rotation_keeps_every_distance(
    shape: tuple[int, int], weights: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_axes, "BLOCK_ROWS", 7)  # as with very many rows
    X = np.random.default_rng(0).normal(size=shape)
    X[-1] = X[0]  # rank deficient
    weights = None if weights is None else weights[: len(X)]
    axes = _axes.Axes.of(X, "logistic", weights)
    points, basis = axes.points[:, :-1], axes.basis
    np.testing.assert_allclose(axes.shift, np.average(X, axis=0, weights=weights), atol=1e-12)
    np.testing.assert_allclose(points @ basis.T + axes.shift, X, atol=1e-12)
    np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-12)
    assert (axes.points[:, -1] == 1).all()
    spread = np.linalg.svd(X - X.mean(axis=0), compute_uv=False)
    if weights is None:
        np.testing.assert_allclose(np.linalg.norm(points, axis=0)[::-1], spread, atol=1e-6)


def test_of_very_many_samples_a_share_of_each_class_chooses_c(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    X, y, _ = problem(600, 10, 3)
    y = np.where(np.arange(600) < 5, 3, y)
    with monkeypatch.context() as patch:
        patch.setattr(_folds, "MOST_DEALT", 200)
        drawn = _folds.draw_rows(y, 0)
        probe = LinearProbeClassifier().fit(X, y)
        elsewhere = np.setdiff1d(np.arange(600), drawn)
        Z = X.copy()
        Z[elsewhere] = np.random.default_rng(0).normal(size=Z[elsewhere].shape)
        again = LinearProbeClassifier().fit(Z, y)
    counts, whole = (np.bincount(some, minlength=4) for some in (y[drawn], y))
    np.testing.assert_allclose(counts[:3], whole[:3] / 3, atol=1)
    assert counts[3] == 2  # to learn from, and to hold out
    alone = LinearProbeClassifier().fit(X[drawn], y[drawn])
    for name in ("log_loss", "accuracy"):
        for other in (alone, again):
            np.testing.assert_allclose(
                probe.cv_results_[name], other.cv_results_[name], rtol=0.02, err_msg=name
            )
    given = LinearProbeClassifier(Cs=probe.C_).fit(X, y)  # the model is of all samples
    np.testing.assert_allclose(probe.coef_, given.coef_, atol=1e-3 * np.abs(given.coef_).max())


def test_normalising_survives_the_ends_of_float32() -> None:
    X = np.array([[3e38, 4e38 / 2], [1e-40, 0], [0, 0]], dtype=np.float32)
    np.testing.assert_allclose(np.linalg.norm(scale_to_unit(X), axis=1), [1, 1, 0], rtol=1e-5)


@pytest.mark.parametrize("name", ["softmax", "logistic", "hinge"])
def test_gradients_agree_with_finite_differences(name: str) -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(7, 3))
    weights = rng.uniform(size=7)
    signs = np.where(rng.normal(size=(7, 3)) > 0, 1.0, -1.0)
    loss: Any = {
        "softmax": Softmax(rng.integers(0, 3, 7), 3, weights),
        "logistic": Logistic(signs, np.tile(weights[:, None], 3)),
        "hinge": SquaredHinge(signs, np.tile(weights[:, None], 3)),
    }[name]
    _, gradient = loss.value_and_gradient(scores)
    for i, j in np.ndindex(scores.shape):
        step = np.zeros_like(scores)
        step[i, j] = 1e-6
        up, _ = loss.value_and_gradient(scores + step)
        down, _ = loss.value_and_gradient(scores - step)
        assert gradient[i, j] == pytest.approx((up.sum() - down.sum()) / 2e-6, abs=1e-7)


def test_few_images_of_many_named_classes_bring_no_warning() -> None:
    X = np.random.default_rng(0).normal(size=(40, 8))
    y = np.array([f"class {i % 30}" for i in range(40)])
    assert len(LinearProbeClassifier(Cs=1.0).fit(X, y).classes_) == 30


@pytest.mark.parametrize("n", [30, 200], ids=["fewer rows than features", "more"])
def test_a_warm_start_gets_where_a_cold_one_does_in_fewer_iterations(n: int) -> None:
    # 1e-8 keeps the whole fit in float64, whose iterations are counted.
    X, y, _ = problem(n, 40, 4)
    warm = LinearProbeClassifier(Cs=10.0, tol=1e-8, warm_start=True)
    warm.fit(X[:-2], y[:-2]).fit(X, y)
    cold = LinearProbeClassifier(Cs=10.0, tol=1e-8).fit(X, y)
    assert_near(warm.coef_, cold.coef_)
    assert_near(warm.intercept_, cold.intercept_)
    assert warm.n_iter_ < cold.n_iter_


def test_a_warm_start_takes_classes_by_name_that_come_and_go() -> None:
    X, y, _ = problem(120, 20, 4)
    names = np.array(["d", "a", "c", "b"])[y]
    warm = LinearProbeClassifier(Cs=10.0, tol=1e-8, warm_start=True)
    for kept in (y < 2, y < 3, y < 4, y > 1, y >= 0):
        warm.fit(X[kept], names[kept])
        cold = LinearProbeClassifier(Cs=10.0, tol=1e-8).fit(X[kept], names[kept])
        assert warm.classes_.tolist() == cold.classes_.tolist()
        assert_near(warm.coef_, cold.coef_)
        assert_near(warm.intercept_, cold.intercept_)
    warm.fit(X[:, :7], names)  # features of another table: begin anew
    assert_near(warm.coef_, LinearProbeClassifier(Cs=10.0, tol=1e-8).fit(X[:, :7], names).coef_)


def assert_near(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())
