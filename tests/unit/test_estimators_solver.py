"""The solver of the linear probe against scipy's, on problems that are hard on purpose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize as scipy_minimize

from featx.estimators import AttributeClassifier, _attributes
from featx.estimators._lbfgs import Memory
from featx.estimators._line_search import FLATTER, Line, search
from featx.estimators._losses import Logistic, Softmax, SquaredHinge, column_dot, whole_dot
from featx.estimators._path import GRIDS, make_ridge, solve_path
from featx.estimators._solver import solve

NAMES = ["softmax", "logistic", "hinge"]


def make_loss(name: str, n: int, k: int, rng: Any) -> Any:
    if name == "softmax":
        weights = rng.uniform(0.2, 1, n)
        return Softmax(rng.integers(0, k, n), k, weights / weights.sum())
    weights = rng.uniform(0.2, 1, (n, k)) * (rng.uniform(size=(n, k)) > 0.2)
    weights[0] = 1
    signs = np.where(rng.normal(size=(n, k)) > 0, 1.0, -1.0)
    return (Logistic if name == "logistic" else SquaredHinge)(signs, weights / weights.sum(axis=0))


def make_points(n: int, d: int, rng: Any) -> Any:
    """Axes whose lengths span a decade and a half, as a network's features do, and ones."""
    points = rng.normal(size=(n, d)) * np.logspace(0, -1.5, d)
    return np.column_stack([points, np.ones(n)])


def objective(points: Any, loss: Any, ridge: Any, W: Any) -> float:
    value, _ = loss.value_and_gradient(points @ W)
    return float(value.sum() + (ridge * W * W).sum() / 2)


def least(points: Any, loss: Any, ridge: Any) -> float:
    """What scipy reaches, with a gradient of its own from the definition."""

    def value(flat: Any) -> tuple[float, Any]:
        W = flat.reshape(ridge.shape)
        _, by_score = loss.value_and_gradient(points @ W)
        return objective(points, loss, ridge, W), (points.T @ by_score + ridge * W).ravel()

    options = {"maxiter": 20_000, "maxfun": 100_000, "gtol": 1e-12, "ftol": 1e-16}
    found = scipy_minimize(
        value, np.zeros(ridge.size), jac=True, method="L-BFGS-B", options=options
    )
    return float(found.fun)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("tol", "share"), [(3e-5, 1e-2), (1e-11, 1e-6)])
@given(seed=st.integers(0, 10_000), place=st.integers(0, 9))
def test_objective_is_near_the_least_whatever_the_problem(
    name: str, tol: float, share: float, seed: int, place: int
) -> None:
    """From zero, a few rows of hard problems: the estimate of what is left is worst there."""
    rng = np.random.default_rng(seed)
    n, d, k = rng.integers(5, 60), rng.integers(2, 30), rng.integers(2, 6)
    points, loss = make_points(n, d, rng), make_loss(name, n, k, rng)
    C = GRIDS["svm" if name == "hinge" else "logistic"][place]
    ridge = make_ridge(1 / (C * n), d + 1, k, free=False, dtype=np.float64)
    found = solve(points, loss, ridge=ridge, starts=[], tol=tol, max_iter=1000)
    reached = objective(points, loss, ridge, found.weights)
    assert reached <= least(points, loss, ridge) * (1 + share)
    np.testing.assert_allclose(found.scores, points @ found.weights, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_path_reaches_the_least_objective_for_every_c(name: str, dtype: Any) -> None:
    """Would catch a start on the line through the last two that leads the solver astray."""
    rng = np.random.default_rng(0)
    points, loss = make_points(80, 40, rng), make_loss(name, 80, 4, rng)
    Cs = GRIDS["svm" if name == "hinge" else "logistic"]
    path = solve_path(
        points.astype(dtype), loss, total=80.0, Cs=Cs, free=True, tol=3e-5, max_iter=1000
    )
    for C, solution in zip(Cs, path, strict=True):
        ridge = make_ridge(1 / (80 * C), 41, 4, free=True, dtype=np.float64)
        reached = objective(points, loss, ridge, solution.weights.astype(np.float64))
        assert reached <= least(points, loss, ridge) * (1 + 1e-3)
        assert solution.weights.dtype == solution.scores.dtype == dtype


@pytest.mark.parametrize("name", ["logistic", "hinge"])
def test_columns_together_are_columns_alone(name: str) -> None:
    """Would catch a converged column that the others drag along, or steps mixed up."""
    rng = np.random.default_rng(1)
    points, loss = make_points(50, 12, rng), make_loss(name, 50, 6, rng)
    alpha = np.logspace(-6, 0, 6)
    options: Any = {"starts": [], "tol": 1e-14, "max_iter": 5000}
    ridge = make_ridge(alpha, 13, 6, free=False, dtype=np.float64)
    together = solve(points, loss, ridge=ridge, **options)
    for k in range(6):
        some = np.array([k])
        alone = solve(points, loss.take(some), ridge=ridge[:, some], **options)
        np.testing.assert_allclose(together.scores[:, k], alone.scores[:, 0], atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 10_000), log_length=st.floats(-4, 4))
def test_line_search_flattens_the_slope_and_never_climbs(
    name: str, seed: int, log_length: float
) -> None:
    rng = np.random.default_rng(seed)
    loss = make_loss(name, 30, 3, rng)
    scores = rng.normal(size=(30, 3))
    value, by_score = loss.value_and_gradient(scores)
    along = -by_score * 10**log_length
    slope = np.einsum("ij,ij->j", along, by_score)
    slope = slope if loss.is_separable else slope.sum(keepdims=True)
    square = np.full_like(slope, 1e-3 * 10 ** (2 * log_length))
    nothing = np.zeros_like(slope)
    step = search(loss, Line(scores, along, value, slope, (nothing, nothing, square)))
    assert (step.value <= value + 1e-12).all()
    after = np.einsum("ij,ij->j", along, step.by_score)
    after = (after if loss.is_separable else after.sum(keepdims=True)) + step.t * square
    assert (np.abs(after) <= FLATTER * np.abs(slope) + 1e-12).all()


def test_line_search_stays_where_it_would_climb() -> None:
    rng = np.random.default_rng(0)
    loss = make_loss("logistic", 20, 3, rng)
    scores = rng.normal(size=(20, 3))
    value, by_score = loss.value_and_gradient(scores)
    along = by_score * np.array([1, -1, 1])  # only the second goes down
    slope, nothing = np.einsum("ij,ij->j", along, by_score), np.zeros(3)
    step = search(loss, Line(scores, along, value, slope, (nothing, nothing, nothing)))
    assert (step.t > 0).tolist() == [False, True, False]
    np.testing.assert_array_equal(step.scores[:, [0, 2]], scores[:, [0, 2]])


@pytest.mark.parametrize("inner", [column_dot, whole_dot])
def test_memory_knows_a_quadratic_after_as_many_pairs_as_axes(inner: Any) -> None:
    """On a quadratic, BFGS with exact steps along conjugate directions holds the true inverse."""
    rng = np.random.default_rng(2)
    d = 6
    root = rng.normal(size=(d, d))
    hessian = root @ root.T + np.eye(d)
    memory = Memory(inner)
    steps = np.linalg.eigh(hessian)[1]  # conjugate
    for step in steps.T:
        memory.add(step[:, None], hessian @ step[:, None])
    gradient = rng.normal(size=(d, 1))
    direction = memory.direction(gradient, np.ones((d, 1)))
    np.testing.assert_allclose(direction, -np.linalg.solve(hessian, gradient), rtol=1e-9)


def test_blocks_of_attributes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 8))
    Y = (X @ rng.normal(size=(8, 7)) + rng.normal(size=(60, 7)) > 0).astype(float)
    Y[:, 3] = 1
    whole = AttributeClassifier(tol=1e-12).fit(X, Y)
    monkeypatch.setattr(_attributes, "BLOCK", 2)
    parts = AttributeClassifier(tol=1e-12).fit(X, Y)
    np.testing.assert_array_equal(parts.C_, whole.C_)
    np.testing.assert_allclose(parts.coef_, whole.coef_, atol=1e-5)
    np.testing.assert_allclose(
        parts.cv_results_["log_loss"], whole.cv_results_["log_loss"], atol=1e-6
    )
