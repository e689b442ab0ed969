"""Probe frozen features on labelled photographs: what a network's vectors are worth.

Every figure comes from the same recipe: L2-normalised vectors, scikit-learn's logistic regression
with C = 100, fixed seeds. The sets are read from one folder with the layout of ``shared/assets``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.preprocessing import normalize

__all__ = ["Embed", "LabelledSet", "colour_histogram", "raw_pixels", "read_sets", "score_sets"]

Floats = NDArray[np.float32]
Embed = Callable[[tuple[Path, ...]], Floats]
N_CELEBA, N_CELEBA_TRAIN = 2000, 1500


@dataclass(frozen=True)
class LabelledSet:
    """Photographs of one set, in a fixed order.

    Parameters
    ----------
    name : str
        Folder name.
    paths : tuple of Path
        Photographs.
    labels : ndarray
        (n,) of str, or (n, 40) of bool for attributes.
    is_train : ndarray of bool or None
        The set's own split; None where splits are drawn.
    """

    name: str
    paths: tuple[Path, ...]
    labels: NDArray[np.generic]
    is_train: NDArray[np.bool_] | None = None


def read_sets(root: Path) -> tuple[LabelledSet, ...]:
    """List the six sets below `root`."""
    return (
        _with_own_split(root / "flowers12"),
        _with_own_split(root / "scene15"),
        _by_folder(root / "caltech101"),
        _by_folder(root / "cats_dogs"),
        _celeba(root / "celeba"),
        _covers(root / "smvs_dvd"),
    )


def score_sets(sets: tuple[LabelledSet, ...], embed: Embed) -> dict[str, float]:
    """Score every set; keys are ``set`` or ``set:variant``, values lie in [0, 1]."""
    scores: dict[str, float] = {}
    for one in sets:
        X = normalize(embed(one.paths)).astype(np.float32)
        scores.update(_SCORERS[one.name](X, one))
        if one.name in ("flowers12", "scene15", "caltech101"):
            scores[f"{one.name}:map"] = leave_one_out_map(X, one.labels)
    return scores


def leave_one_out_map(X: Floats, y: NDArray[np.generic]) -> float:
    """Mean AP of each vector's neighbours, those of its own label being right; X has unit rows."""
    similarity = X @ X.T
    np.fill_diagonal(similarity, -np.inf)
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :-1]
    is_right = y[order] == y[:, None]
    precision = is_right.cumsum(axis=1) / np.arange(1, len(y))
    return float(np.mean((precision * is_right).sum(axis=1) / is_right.sum(axis=1)))


def _by_folder(folder: Path) -> LabelledSet:
    paths = tuple(sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".png")))
    return LabelledSet(folder.name, paths, np.array([p.parent.name for p in paths]))


def _with_own_split(folder: Path) -> LabelledSet:
    found = _by_folder(folder)
    is_train = np.array([p.relative_to(folder).parts[0] == "train" for p in found.paths])
    return LabelledSet(found.name, found.paths, found.labels, is_train)


def _covers(folder: Path) -> LabelledSet:
    found = _by_folder(folder)
    labels = np.array([p.stem for p in found.paths])
    is_reference = np.array([p.parent.name == "reference" for p in found.paths])
    return LabelledSet(found.name, found.paths, labels, is_reference)


def _celeba(folder: Path) -> LabelledSet:
    lines = (folder / "list_attr_celeba.txt").read_text().splitlines()[2 : 2 + N_CELEBA]
    rows = [line.split() for line in lines]
    paths = tuple(folder / "images" / row[0] for row in rows)
    return LabelledSet("celeba", paths, np.array([[v == "1" for v in r[1:]] for r in rows]))


def _accuracy(X: Floats, y: NDArray[np.generic], train: NDArray[np.intp]) -> float:
    rest = np.setdiff1d(np.arange(len(y)), train)
    probe = LogisticRegression(C=100, max_iter=1000).fit(X[train], y[train])
    return float(probe.score(X[rest], y[rest]))


def _few(y: NDArray[np.generic], pool: NDArray[np.intp], n: int, seed: int) -> NDArray[np.intp]:
    rng = np.random.default_rng(seed)
    rows = [rng.choice(pool[y[pool] == c], n, replace=False) for c in np.unique(y)]
    return np.concatenate(rows)


def _score_own_split(X: Floats, one: LabelledSet) -> dict[str, float]:
    assert one.is_train is not None
    train, test = np.flatnonzero(one.is_train), np.flatnonzero(~one.is_train)
    full = _accuracy(X, one.labels, train)
    few = []
    for seed in range(5):
        rows = np.concatenate([_few(one.labels, train, 5, seed), test])
        few.append(_accuracy(X[rows], one.labels[rows], np.arange(len(rows) - len(test))))
    return {one.name: full, f"{one.name}:5": float(np.mean(few))}


def _score_drawn(X: Floats, one: LabelledSet) -> dict[str, float]:
    n, n_splits = (10, 5) if one.name == "caltech101" else (10, 10)
    everyone = np.arange(len(X))
    result = {}
    for key, k in ((one.name, n), (f"{one.name}:5", 5)):
        runs = [_few(one.labels, everyone, k, seed) for seed in range(n_splits)]
        result[key] = float(np.mean([_accuracy(X, one.labels, rows) for rows in runs]))
    return result


def _score_attributes(X: Floats, one: LabelledSet) -> dict[str, float]:
    cut, found = N_CELEBA_TRAIN, []
    for y in one.labels.T:
        if len(np.unique(y[:cut])) == 2 and y[cut:].any():
            probe = LogisticRegression(C=100, max_iter=1000).fit(X[:cut], y[:cut])
            found.append(average_precision_score(y[cut:], probe.decision_function(X[cut:])))
    return {"celeba": float(np.mean(found))}


def _score_retrieval(X: Floats, one: LabelledSet) -> dict[str, float]:
    """Each query has one right answer, so its average precision is 1 / its rank."""
    assert one.is_train is not None
    query, reference = ~one.is_train, one.is_train
    similarity = X[query] @ X[reference].T
    right = one.labels[query][:, None] == one.labels[reference][None, :]
    rank = 1 + (similarity > similarity[right][:, None]).sum(axis=1)
    return {"smvs_dvd": float(np.mean(1 / rank)), "smvs_dvd:top1": float(np.mean(rank == 1))}


def raw_pixels(paths: tuple[Path, ...]) -> Floats:
    """Return 32 x 32 RGB pixels, (n, 3072), centred."""
    found = np.stack([np.asarray(_open(p).resize((32, 32)), np.float32) for p in paths])
    centred: Floats = found.reshape(len(paths), -1) / np.float32(255) - np.float32(0.5)
    return centred


def colour_histogram(paths: tuple[Path, ...]) -> Floats:
    """Return joint RGB histograms of 8 bins a channel, (n, 512), square-rooted."""
    edges = [np.linspace(0, 256, 9)] * 3
    found = [
        np.histogramdd(np.asarray(_open(p).resize((64, 64))).reshape(-1, 3), edges)[0].ravel()
        for p in paths
    ]
    rooted: Floats = np.sqrt(np.stack(found)).astype(np.float32)
    return rooted


def _open(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


_SCORERS: dict[str, Callable[[Floats, LabelledSet], dict[str, float]]] = {
    "flowers12": _score_own_split,
    "scene15": _score_own_split,
    "caltech101": _score_drawn,
    "cats_dogs": _score_drawn,
    "celeba": _score_attributes,
    "smvs_dvd": _score_retrieval,
}
