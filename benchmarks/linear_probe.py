"""How many times as fast the linear probe's path of C is as scikit-learn's grid search.

    python benchmarks/linear_probe.py [--parts classes svm 40 1000] [--budget 300]

Ten values of C, five folds, the same for both; `GridSearchCV` also refits, and so do we.

Features are drawn to resemble a network's: 10,000 rows of 2,048 numbers in 100 classes. A class
mean is that of its group of five plus its own, both normal with a spectrum of (1 + j)**-0.5 over
the axes, as is the noise, four to five times as wide; a random rotation follows, then a ReLU that
zeroes two thirds, then unit length. Held-out accuracy of the best C is about 0.8. Attributes are
the signs of random linear functions of those rows with noise as large; a label's share of yes is
0.02 to 0.5.

scikit-learn's whole search would take up to days, but its cells (C, fold, label) are independent:
all ten C of one fold, for three of the labels, are timed and multiplied. `LogisticRegression`
comes as it is, and again ("same objective") with, for each C, the loosest tol of 1e-4 to 1e-8 that
gets to 1e-3 of the least objective; only that last fit is counted. Both see float32, its faster
dtype; `LinearSVC` turns it into float64. The least objective is ours at tol=1e-8 in float64,
written out by the definition from coefficients; no fit of scikit-learn's may lie below it.

Seconds are of processor time on one core, where scikit-learn's cells run one after the other as
they would beside each other on several; two wall-clock figures on two cores stand beside them.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
from common import keep
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits

from featx.estimators import AttributeClassifier, LinearProbeClassifier
from featx.estimators._axes import Axes
from featx.estimators._losses import make_class_loss, make_column_loss
from featx.estimators._path import GRIDS, solve_path

N_FOLDS = 5
TOLS = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
SAME = 1e-3  # relative distance of two objectives that are called the same
N_LABELS = 3  # labels for which scikit-learn's cells are timed


def draw(n, d=2048, n_classes=100, seed=0):
    """Return unit rows, float32, and their classes."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % n_classes)
    turn, _ = np.linalg.qr(rng.normal(size=(d, d)).astype(np.float32))
    width = (1 + np.arange(d)) ** -0.5
    groups = 0.5 * rng.normal(size=(n_classes // 5, d))
    own = rng.normal(size=(n_classes, d)) * np.exp(0.3 * rng.normal(size=(n_classes, 1)))
    means = 0.2 * (groups[np.arange(n_classes) // 5] + own)
    latent = (means[y] + rng.normal(size=(n, d))) * width
    X = latent @ turn.T * np.sqrt(d / (width**2).sum())
    X = np.maximum(X - 0.5, 0).astype(np.float32)
    return X / np.linalg.norm(X, axis=1, keepdims=True), y


def draw_labels(X, n_labels, seed=1):
    """Return 0 and 1, (n_samples, n_labels)."""
    rng = np.random.default_rng(seed)
    signal = (X - X.mean(axis=0)) @ rng.normal(size=(X.shape[1], n_labels))
    signal = signal / signal.std(axis=0) + rng.normal(size=signal.shape)
    share = rng.uniform(0.02, 0.5, n_labels)
    least = [np.quantile(column, 1 - s) for column, s in zip(signal.T, share, strict=True)]
    return (signal > least).astype(np.float64)


def timed(function, clock=time.process_time):
    """Return the seconds that a call took on one core, and its result."""
    start = clock()
    with threadpool_limits(1 if clock is time.process_time else 2):
        result = function()
    return clock() - start, result


class Fold:
    """One fold of a problem: objectives by the definition, and our solutions on it."""

    def __init__(self, X, loss, method):
        self.X, self.loss = X, loss
        self.axes = Axes.of(X.astype(np.float64), method)

    def objective(self, C, coef, intercept):
        """Return C * sum of losses + penalty, for each column where they are separate."""
        scores = self.X.astype(np.float64) @ coef.T.astype(np.float64) + intercept
        value, _ = self.loss.value_and_gradient(scores)
        squares = (coef.astype(np.float64) ** 2).sum(axis=1) + (not self.axes.free) * intercept**2
        return (
            C * len(self.X) * value
            + (squares if self.loss.is_separable else squares.sum(keepdims=True)) / 2
        )

    def ours(self, Cs, tol, dtype):
        """Return coefficients and intercepts for each C."""
        path = solve_path(
            self.axes.points.astype(dtype), self.loss, total=float(len(self.X)), Cs=Cs,
            free=self.axes.free, tol=tol, max_iter=1000,
        )  # fmt: skip
        return [self.axes.turn_back(s.weights.astype(np.float64)) for s in path]

    def compare(self, Cs):
        """Return the least objectives, and how far above them the default tol stays."""
        tight = self.ours(Cs, 1e-8, np.float64)
        least = np.array([self.objective(C, *m) for C, m in zip(Cs, tight, strict=True)])
        models = self.ours(Cs, LinearProbeClassifier().tol, np.float32)
        ours = np.array([self.objective(C, *m) for C, m in zip(Cs, models, strict=True)])
        return least, ours / least - 1, models


def cell(fold, X, y, C, least, model, **params):
    """Fit one cell of scikit-learn's; return seconds, relative distance and model."""
    seconds, fitted = timed(lambda: model(C=C, **params).fit(X, y))
    reached = fold.objective(C, fitted.coef_, fitted.intercept_)
    return seconds, float((reached / least - 1).max()), fitted


def same_objective(fold, X, y, C, least, first, deadline):
    """Tighten tol until the objective is the same; return seconds, distance and tol."""
    seconds, distance, tol = *first, TOLS[0]
    for tol in TOLS[1:]:
        if distance <= SAME or time.perf_counter() > deadline:
            break
        seconds, distance, _ = cell(
            fold, X, y, C, least, LogisticRegression, tol=tol, max_iter=10_000
        )
    return seconds, distance, tol


def report(ours, theirs, **more):
    """Return the figures of one part; `theirs` maps names to seconds of the whole search."""
    return {
        "featx_cpu_s": np.round(ours, 1).tolist(),
        "scikit_learn_cpu_s, scaled": {k: round(v) for k, v in theirs.items()},
        "times as fast": {k: round(v / float(np.median(ours)), 1) for k, v in theirs.items()},
        **more,
    }


def classes(X, y, folds, budget):
    """Time 100 exclusive classes, multinomial logistic regression."""
    Cs, (train, test) = GRIDS["logistic"], folds[0]
    loss = make_class_loss("logistic", y[train], y.max() + 1, np.ones(len(train)))
    fold = Fold(X[train], loss, "logistic")
    least, above, models = fold.compare(Cs)
    fit = LinearProbeClassifier(Cs=Cs, cv=folds, normalize=False).fit
    ours, first, hits = [timed(lambda: fit(X, y))[0]], [], []
    for C, value in zip(Cs, least, strict=True):
        *figures, model = cell(
            fold, X[train], y[train], C, value, LogisticRegression, max_iter=1000
        )
        first.append(figures)
        hits.append(model.score(X[test], y[test]))
    search = GridSearchCV(
        LogisticRegression(max_iter=1000), {"C": Cs}, cv=folds[:1], refit=False, n_jobs=2
    )
    clock = time.perf_counter
    wall = [
        timed(lambda: fit(X, y), clock)[0],
        N_FOLDS * timed(lambda: search.fit(X, y), clock)[0],
    ]
    wall.append(timed(lambda: fit(X, y), clock)[0])
    deadline = time.perf_counter() + budget
    tightened = [
        same_objective(fold, X[train], y[train], C, value, figures, deadline)
        for C, value, figures in zip(Cs[::-1], least[::-1], first[::-1], strict=True)
    ][::-1]
    ours.append(timed(lambda: fit(X, y))[0])
    scaled = {
        "as it is": sum(s for s, _ in first),
        "at the same objective": sum(s for s, *_ in tightened),
    }
    own = [float(((X[test] @ W.T + b).argmax(1) == y[test]).mean()) for W, b in models]
    return report(
        ours, {name: N_FOLDS * s for name, s in scaled.items()},
        wall_two_cores_featx_scikit_learn_as_it_is_featx=np.round(wall, 1).tolist(),
        C=Cs.round(3).tolist(), featx_above_least=above[:, 0].tolist(),
        scikit_learn_above_least=[d for _, d in first], fold_accuracy_featx=own,
        fold_accuracy_scikit_learn=hits, same_objective_above_least=[d for _, d, _ in tightened],
        same_objective_tol=[t for *_, t in tightened],
        same_objective_seconds=[round(s, 1) for s, *_ in tightened],
    )  # fmt: skip


def columns(X, Y, method, folds, fit):
    """Time separate labels: ours all together, scikit-learn's a few, one fold, every C."""
    Cs, (train, test) = GRIDS[method], folds[0]
    some = np.arange(N_LABELS)
    signs = np.where(Y[:, some] == 1, 1.0, -1.0)
    fold = Fold(X[train], make_column_loss(method, signs[train], np.ones((len(train), N_LABELS))),
                method)  # fmt: skip
    least, above, models = fold.compare(Cs)
    ours, seconds, distances, agree = [timed(fit)[0]], [], [], []
    for a in some:
        one = Fold.__new__(Fold)  # the same rows, one label
        one.X, one.axes, one.loss = fold.X, fold.axes, fold.loss.take(np.array([a]))
        for i, C in enumerate(Cs):
            params = {"dual": "auto"} if method == "svm" else {"max_iter": 1000}
            s, distance, model = cell(
                one, X[train], Y[train, a], C, least[i, a],
                LinearSVC if method == "svm" else LogisticRegression, **params,
            )  # fmt: skip
            W, b = models[i]
            same = model.predict(X[test]) == ((X[test] @ W[a] + b[a]) > 0)
            seconds.append(s)
            distances.append(distance)
            agree.append(float(same.mean()))
    if Y.shape[1] <= 100:
        ours.append(timed(fit)[0])
    return report(
        ours, {"as it is": N_FOLDS * Y.shape[1] / N_LABELS * sum(seconds)},
        featx_above_least=float(above.max()),
        scikit_learn_above_least=np.reshape(distances, (N_LABELS, -1)).max(axis=0).tolist(),
        same_predictions_on_the_fold=np.reshape(agree, (N_LABELS, -1)).min(axis=0).tolist(),
    )  # fmt: skip


def main():
    """Print and keep each part's figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = ("classes", "svm", "40", "1000")
    parser.add_argument("--parts", nargs="+", default=parts, choices=parts)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--budget", type=float, default=300, help="seconds to tighten tol in")
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    X, y = draw(args.samples)
    folds = list(StratifiedKFold(N_FOLDS, shuffle=True, random_state=0).split(X, y))
    for part in args.parts:
        if part == "classes":
            figures = classes(X, y, folds, args.budget)
        elif part == "svm":
            probe = LinearProbeClassifier("svm", cv=folds, normalize=False)
            own = (y[:, None] == np.arange(100)).astype(float)
            figures = columns(X, own, "svm", folds, lambda p=probe: p.fit(X, y))
        else:
            Y, model = draw_labels(X, int(part)), AttributeClassifier(cv=folds, normalize=False)
            figures = columns(X, Y, "logistic", folds, lambda m=model, Y=Y: m.fit(X, Y))
        name = part if part in ("classes", "svm") else f"{part} attributes"
        shape = {"shape": list(X.shape), "Cs": 10, "folds": N_FOLDS}
        keep(f"path of C, {name}", shape | figures)


if __name__ == "__main__":
    main()
