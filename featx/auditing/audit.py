"""Look for what is wrong with a collection before anything is built on it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._arrays import scale_to_unit
from featx._repr import show_count
from featx.auditing._labels import (
    Given,
    Judgement,
    judge_attributes,
    judge_classes,
    read_given,
)
from featx.auditing._neighbours import (
    Neighbours,
    copy_groups,
    find_neighbours,
    outlier_scores,
)
from featx.auditing._pictures import find_poor_pictures
from featx.auditing.result import KINDS, Audit, Finding
from featx.errors import ParameterError, require_number
from featx.store import FeatureStore, open_store
from featx.store.info import fitting_table, open_fitting

__all__ = ["audit"]

Floats = NDArray[np.float32]

COPY = 0.95  # as `featx.evaluation.find_leaks`, which has what it finds
ROUNDING = 1e-6
NOT_EQUAL = 1 - ROUNDING  # the most that a leak with other bytes scores
LEAST_FOR_OUTLIERS = 30  # images, for a usual distance
BLOCK_ROWS = 4096


def audit(
    store: FeatureStore | str | os.PathLike[str],
    labels: Any = None,
    *,
    against: FeatureStore | str | os.PathLike[str] | None = None,
    pictures: bool = True,
    copy_threshold: float = COPY,
    workers: int | None = None,
    random_state: int = 0,
    progress: bool | None = None,
) -> Audit:
    """Find wrong labels, outliers, copies, leaks, classes that are one, and poor pictures.

    Parameters
    ----------
    store : FeatureStore or path
        The images.
    labels : path, data frame, mapping or sequence of str, optional
        A label file (``path,label``, or ``path`` and a 0/1 column for each attribute), or one
        label for each row of the store. Default: those of the store, if it has any.
    against : FeatureStore or path, optional
        Another store of the same recipe, such as a test set: images that are in both are leaks.
    pictures : bool, default True
        Whether each file is read once more, to see if it is dark, blurred, blank, tiny or odd in
        shape. Takes about as long as decoding them.
    copy_threshold : float, default 0.95
        Smallest cosine of a near copy, in (0, 1]. Raise it for a network whose features are all
        alike.
    workers : int, optional
        Processes that read pictures. Default: one per core.
    random_state : int, default 0
        Shuffles the folds, and draws the 10,000 images that C is chosen by where there are more.
    progress : bool, optional
        False shows none; default where it takes long.

    Returns
    -------
    Audit

    Raises
    ------
    ManifestError
        If labels are given and fit no image.
    FingerprintMismatchError
        If `against` has no table of the same recipe.
    ParameterError
        If the store has no images, a label is missing its row, or a number is out of range.

    Notes
    -----
    Each label is judged by probes that have seen neither its image nor a copy of it. Holds the
    features as float32, n_samples * n_classes scores, and four times the features of 100,000
    images. Compares every image with every other up to a GiB of features; above, an approximate
    index finds the nearest, which holds half as much as the features, and a note says so.
    docs/audit.md has what it finds on five sets, beside cleanlab, and what it costs.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from featx.store import write_features
    >>> rng = np.random.default_rng(0)
    >>> X = np.repeat(np.eye(3, 8), 40, axis=0) + rng.normal(0, 0.1, (120, 8))
    >>> labels = np.repeat(["cat", "dog", "cow"], 40)
    >>> labels[[5, 50, 90]] = "cow", "cat", "dog"
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "f.h5"
    >>> store = write_features(path, X, paths=[f"{i}.jpg" for i in range(120)], labels=labels)
    >>> found = audit(store, copy_threshold=0.999, pictures=False)
    >>> sorted((f.path, f.given, f.suggested) for f in found.findings if f.kind == "label")
    [('5.jpg', 'cow', 'cat'), ('50.jpg', 'cat', 'dog'), ('90.jpg', 'dog', 'cow')]
    >>> found.interval[0] <= 3 <= found.interval[1]
    True
    """
    require_number("copy_threshold", copy_threshold, 0, 1, above=True)
    store = store if isinstance(store, FeatureStore) else open_store(store)
    n = len(store)
    if not n:
        raise ParameterError(
            f"store {store.path!r}: has no images, expected at least one; featx info "
            f"{store.path} lists those that could not be read"
        )
    given = read_given(store, labels)  # before the work, since it may be refused
    other = None if against is None else _open_other(against, store)
    X = _read_unit(store)
    paths, digests = store.paths, store.digests
    texts = [""] * n if given is None else given.text(n)
    notes: list[str] = []
    findings = [Finding(f.path, "unreadable", 1.0, suggested=f.reason) for f in store.failures]
    groups = np.arange(n)
    if n > 1:
        near = find_neighbours(X, show=progress)
        if near.recall is not None:
            notes.append(
                "an approximate index found the nearest images, because their features exceed 1 "
                f"GiB. It finds {near.recall:.1%} of the ten nearest (measured on 500 images), so "
                f"some copies may be missing; featx duplicates {store.path} compares all pairs"
            )
        groups = copy_groups(near, digests, copy_threshold)
        findings += _copies(X, near, digests, paths, texts, copy_threshold)
        findings += _outliers(near, paths, texts, notes)
    if other is not None:
        leaks, recall = _find_leaks(X, digests, paths, texts, other, copy_threshold, progress)
        findings += leaks
        if not leaks:
            found = "is also" if recall is None else "was found"
            notes.append(
                f"none of the {n:,} images {found} in {other.path} "
                f"({show_count(len(other), 'image')})"
            )
        if recall is not None:
            notes.append(
                f"an approximate index searched {other.path}, because its features exceed 1 GiB. "
                f"It finds {recall:.1%} of the ten nearest (measured on 500 images), so some "
                f"leaks may be missing; featx duplicates {store.path} {other.path} compares all "
                "pairs"
            )
    judged = _judge(X, given, groups, digests, paths, progress, random_state)
    findings += judged.findings
    if pictures:
        findings += _poor_pictures(paths, texts, notes, workers, progress)
    return _result(findings, given, judged, notes, n)


def _open_other(
    against: FeatureStore | str | os.PathLike[str], store: FeatureStore
) -> FeatureStore:
    maker = f"store {store.path}"
    if isinstance(against, FeatureStore):
        other = fitting_table(against, store.recipe, maker=maker)
    else:
        other = open_fitting(against, store.recipe, maker=maker)
    if other.n_features != store.n_features:
        raise ParameterError(
            f"against: store {other.path!r} has {other.n_features} features per image, expected "
            f"{store.n_features} as {store.path!r}; both need one recipe"
        )
    return other


def _read_unit(store: FeatureStore) -> Floats:
    X = np.empty(store.shape, np.float32)
    for start, block in store.iter_blocks(BLOCK_ROWS):
        X[start : start + len(block)] = scale_to_unit(block)
    if not np.isfinite(X).all():
        row = int(np.argmin(np.isfinite(X).all(axis=1)))
        raise ParameterError(
            f"store {store.path!r}: row {row} ({store.paths[row]!s}) has NaN or infinity, "
            "expected finite numbers"
        )
    return X


def _copies(
    X: Floats,
    near: Neighbours,
    digests: NDArray[np.str_],
    paths: NDArray[np.str_],
    texts: list[str],
    threshold: float,
) -> Iterator[Finding]:
    """Yield each image that copies an earlier one, with the earlier one that it is nearest to."""
    first_of: dict[str, int] = {}
    is_near = (near.cosines >= threshold - ROUNDING) & (near.rows < np.arange(len(X))[:, None])
    for row, digest in enumerate(digests.tolist()):
        first = first_of.setdefault(digest, row) if digest else row
        if first != row:
            cosine = float(np.clip(X[row] @ X[first], -1, 1))
            yield Finding(str(paths[row]), "copy", cosine, texts[row], str(paths[first]))
        elif is_near[row].any():
            place = int(is_near[row].argmax())
            cosine = min(float(near.cosines[row, place]), 1.0)
            other = str(paths[near.rows[row, place]])
            yield Finding(str(paths[row]), "near copy", cosine, texts[row], other)


def _outliers(
    near: Neighbours, paths: NDArray[np.str_], texts: list[str], notes: list[str]
) -> Iterator[Finding]:
    if len(paths) < LEAST_FOR_OUTLIERS:
        notes.append(
            f"outliers were not looked for among {len(paths)} images, expected at least "
            f"{LEAST_FOR_OUTLIERS} to know a usual distance"
        )
        return
    scores, is_outlier = outlier_scores(near)
    for row in np.flatnonzero(is_outlier).tolist():
        yield Finding(str(paths[row]), "outlier", float(scores[row]), texts[row])


def _find_leaks(
    X: Floats,
    digests: NDArray[np.str_],
    paths: NDArray[np.str_],
    texts: list[str],
    other: FeatureStore,
    threshold: float,
    show: bool | None,
) -> tuple[list[Finding], float | None]:
    """Return each image that is in the other store, too, and the recall of the search there."""
    leaks: list[Finding] = []
    if not len(other):
        return leaks, None
    Y = _read_unit(other)
    near = find_neighbours(X, Y, k=1, show=show)
    theirs = other.paths
    place_of = {digest: i for i, digest in enumerate(other.digests.tolist()) if digest}
    for row, digest in enumerate(digests.tolist()):
        is_same = digest in place_of
        place = place_of[digest] if is_same else int(near.rows[row, 0])
        cosine = 1.0 if is_same else min(float(X[row] @ Y[place]), NOT_EQUAL)
        if is_same or cosine >= threshold - ROUNDING:
            leaks.append(Finding(str(paths[row]), "leak", cosine, texts[row], str(theirs[place])))
    return leaks, near.recall


def _judge(
    X: Floats,
    given: Given | None,
    groups: NDArray[np.intp],
    digests: NDArray[np.str_],
    paths: NDArray[np.str_],
    show: bool | None,
    random_state: int,
) -> Judgement:
    if given is None:
        return Judgement(notes=["labels were not judged: there are none; give them (--labels)"])
    rows = given.rows
    if given.names:
        return judge_attributes(
            X[rows], given, groups[rows], paths[rows], show=show, random_state=random_state
        )
    return judge_classes(
        X[rows], given, groups[rows], digests[rows], paths[rows], show=show,
        random_state=random_state,
    )  # fmt: skip


def _poor_pictures(
    paths: NDArray[np.str_],
    texts: list[str],
    notes: list[str],
    workers: int | None,
    show: bool | None,
) -> list[Finding]:
    found, n_missing = find_poor_pictures(paths.tolist(), workers=workers, show=show)
    if n_missing:
        notes.append(
            f"{n_missing} of {len(paths)} images are not on this disk, so their pictures were not "
            "looked at"
        )
    label_of = dict(zip(paths.tolist(), texts, strict=True))
    return [Finding(f.path, f.kind, f.score, label_of[f.path], f.suggested) for f in found]


def _result(
    findings: list[Finding], given: Given | None, judged: Judgement, notes: list[str], n: int
) -> Audit:
    order = {kind: place for place, kind in enumerate(KINDS)}
    findings.sort(key=lambda f: (order[f.kind], -f.score, f.path))
    wrong = np.full(n, np.nan)
    if given is not None and len(judged.wrong):
        wrong[given.rows] = judged.wrong
    interval = None
    if judged.low is not None and judged.high is not None:
        interval = math.floor(judged.low), math.ceil(judged.high)
    return Audit(
        findings=tuple(findings),
        n_samples=n,
        n_labelled=int((~np.isnan(wrong)).sum()),
        estimated_label_errors=None if judged.expected is None else round(judged.expected),
        interval=interval,
        wrong=wrong,
        notes=(*(given.notes if given is not None else ()), *judged.notes, *notes),
    )
