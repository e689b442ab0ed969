"""Judge the labels of a collection: which are probably wrong, and how many."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featx._repr import show_count
from featx._values import as_texts
from featx.auditing._classes import find_confused_pairs
from featx.auditing._held_out import N_FOLDS, hold_out, iter_judged
from featx.auditing._neighbours import join_groups
from featx.auditing._noise import NoiseModel
from featx.auditing.result import Finding
from featx.errors import ManifestError, ParameterError
from featx.images import attribute_labels, class_labels
from featx.images.labels import is_table, read_labels

if TYPE_CHECKING:
    from featx.store import FeatureStore

__all__ = ["Given", "Judgement", "judge_attributes", "judge_classes", "read_given"]

Rows = NDArray[np.intp]
Floats = NDArray[np.float64]

# Labels from this probability on are findings: lower than even odds, since a look is cheap and a
# wrong label that is kept is not. docs/audit.md has the false alarms.
LEAST_WRONG = 0.3
LEAST_JUDGED = 10  # labels, for three parameters
LEAST_GAIN = 5.0  # of the log-likelihood, by those parameters
UNPREDICTED = "the features predict them no better than the number of each does"


@dataclass(frozen=True, eq=False)
class Given:
    """The labels of some rows of a store: classes, or attributes.

    Parameters
    ----------
    rows : ndarray of shape (n_labelled,), intp
    classes : ndarray of shape (n_classes,), str
    codes : ndarray of shape (n_labelled,), intp
        Place of each label in `classes`; zeros where there are attributes.
    values : ndarray of shape (n_labelled, n_attributes), float64
    names : tuple of str
        The attributes.
    notes : tuple of str
        Images without a label, labels without an image.
    """

    rows: Rows
    classes: NDArray[np.str_]
    codes: Rows
    values: Floats = field(default_factory=lambda: np.empty((0, 0)))
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def text(self, n_samples: int) -> list[str]:
        """Return the label of each row of the store, "" where it has none or has attributes."""
        texts = [""] * n_samples
        if not self.names:
            for row, code in zip(self.rows.tolist(), self.codes.tolist(), strict=True):
                texts[row] = str(self.classes[code])
        return texts


@dataclass(frozen=True, eq=False)
class Judgement:
    """What became of the labels.

    Parameters
    ----------
    findings : list of Finding
    wrong : ndarray of shape (n_labelled,), float64
        Probability that each is wrong, NaN where it was not judged.
    expected, low, high : float or None
        Number of wrong labels with its 95 % interval.
    notes : list of str
    """

    findings: list[Finding] = field(default_factory=list)
    wrong: Floats = field(default_factory=lambda: np.empty(0))
    expected: float | None = None
    low: float | None = None
    high: float | None = None
    notes: list[str] = field(default_factory=list)


def read_given(store: FeatureStore, labels: Any) -> Given | None:
    """Join labels to the rows of a store; None where there are none at all.

    Raises
    ------
    ManifestError, ParameterError
        If labels are given and fit no image, or are of another number.
    """
    if labels is None:
        if store.labels is None and not store.metadata:
            return None
        is_attributes = store.labels is None
    elif is_table(labels) or isinstance(labels, (str, os.PathLike)):
        table = read_labels(labels)
        labels, is_attributes = table, table.labels is None and bool(table.columns)
    else:
        labels, is_attributes = _in_row_order(store, labels), False
    if is_attributes:
        try:
            found = attribute_labels(store, labels)
        except ManifestError:
            if labels is None:  # columns of a manifest that are no attributes
                return None
            raise
        codes = np.zeros(len(found.rows), np.intp)
        classes = np.empty(0, np.str_)
        notes = _coverage_notes(found.coverage)
        return Given(found.rows, classes, codes, found.values, found.names, notes)
    given = class_labels(store, labels)
    classes, codes = np.unique(given.labels, return_inverse=True)
    codes = codes.reshape(-1).astype(np.intp)
    return Given(given.rows, classes, codes, notes=_coverage_notes(given.coverage))


def _in_row_order(store: FeatureStore, labels: Any) -> dict[str, list[str]]:
    texts = as_texts(labels, "labels")
    if len(texts) != len(store):
        raise ParameterError(
            f"labels: got {len(texts)} labels for {len(store)} images, expected one for each row "
            'of the store ("" where there is none), a label file, or a mapping with "path" and '
            '"label"'
        )
    return {"path": store.paths.tolist(), "label": texts}


def _coverage_notes(coverage: Any) -> tuple[str, ...]:
    notes = []
    if coverage.n_unlabelled:
        notes.append(
            f"not judged, without a label: {show_count(coverage.n_unlabelled, 'image')}: "
            f"{', '.join(coverage.unlabelled)}"
        )
    if coverage.n_unused:
        notes.append(
            f"{show_count(coverage.n_unused, 'row')} of {coverage.labels_from} that fit none of "
            f"the images: {', '.join(coverage.unused)}"
        )
    return tuple(notes)


def judge_classes(
    X: NDArray[np.float32],
    given: Given,
    groups: Rows,
    digests: NDArray[np.str_],
    paths: NDArray[np.str_],
    *,
    show: bool | None = None,
    random_state: int = 0,
) -> Judgement:
    """Judge one label per image.

    Parameters
    ----------
    X : ndarray of shape (n_labelled, n_features), float32
        Unit rows of the labelled images.
    given : Given
    groups : ndarray of shape (n_labelled,), intp
        Of copies.
    digests, paths : ndarray of shape (n_labelled,), str
    """
    n_classes = len(given.classes)
    if n_classes < 2:
        only = given.classes[0]
        return Judgement(notes=[f"labels were not judged: all are {str(only)!r}"])
    groups = join_groups(groups, given.codes, digests, N_FOLDS)
    scores = hold_out(X, given.codes, groups, show=show, random_state=random_state)
    ((_, judged, found, codes),) = iter_judged(scores, given.codes)
    notes = _unjudged_notes(given, judged)
    if len(judged) < LEAST_JUDGED:
        notes.append(
            f"labels were not judged: {len(judged)} images have another of their class to learn "
            f"from, expected at least {LEAST_JUDGED}"
        )
        return Judgement(notes=notes)
    pairs = [
        Finding(
            str(paths[judged[pair.row]]), "classes", pair.score,
            str(given.classes[pair.first]), str(given.classes[pair.second]),
        )
        for pair in find_confused_pairs(found, codes)
    ]  # fmt: skip
    model = NoiseModel.fit(found, codes)
    if not _predicts(model, codes):
        notes.append(f"labels were not judged: {UNPREDICTED}")
        return Judgement(pairs, notes=notes)
    wrong = np.full(len(X), np.nan)
    wrong[judged] = model.wrong(found, codes)
    findings = [*_wrong_labels(given, scores, wrong, paths), *pairs]
    return Judgement(findings, wrong, *model.interval(found, codes), notes)


def _predicts(model: NoiseModel, codes: Rows) -> bool:
    """Tell whether labels are likelier by their scores than by how many there are of each."""
    shares = np.unique(codes, return_counts=True)[1] / len(codes)
    entropy = -float(shares @ np.log(shares))
    return len(codes) * (entropy - model.loss) > LEAST_GAIN


def _wrong_labels(
    given: Given, scores: NDArray[np.float32], wrong: Floats, paths: NDArray[np.str_]
) -> Iterator[Finding]:
    for i in np.flatnonzero(wrong >= LEAST_WRONG).tolist():
        others = scores[i].copy()
        others[given.codes[i]] = -np.inf
        label, better = given.classes[given.codes[i]], given.classes[int(others.argmax())]
        yield Finding(str(paths[i]), "label", float(wrong[i]), str(label), str(better))


def _unjudged_notes(given: Given, judged: Rows) -> list[str]:
    left = np.delete(given.codes, judged)
    if not len(left):
        return []
    missed = np.unique(left)
    names = ", ".join(str(given.classes[code]) for code in missed[:3])
    what = "having no other image of their class to learn from"
    more = ", ..." if len(missed) > 3 else ""
    counts = f"{show_count(len(left), 'image')} of {show_count(len(missed), 'class')}"
    was = "was" if len(left) == 1 else "were"
    return [f"{counts} {was} not judged, {what}: {names}{more}"]


def judge_attributes(
    X: NDArray[np.float32],
    given: Given,
    groups: Rows,
    paths: NDArray[np.str_],
    *,
    show: bool | None = None,
    random_state: int = 0,
) -> Judgement:
    """Judge several labels per image, each attribute by itself; parameters as `judge_classes`."""
    scores = hold_out(X, given.values, groups, show=show, random_state=random_state)
    findings: list[Finding] = []
    wrong = np.full(len(X), np.nan)
    expected = below = above = 0.0
    few, unpredicted = [], []
    for k, judged, both, codes in iter_judged(scores, given.values):
        name = given.names[k]
        if len(judged) < LEAST_JUDGED:
            few.append(name)
            continue
        model = NoiseModel.fit(both, codes)
        if not _predicts(model, codes):
            unpredicted.append(name)
            continue
        p = model.wrong(both, codes)
        number, low, high = model.interval(both, codes)
        expected += number
        below, above = below + (number - low) ** 2, above + (high - number) ** 2
        wrong[judged] = np.fmax(wrong[judged], p)
        findings += [
            Finding(
                str(paths[judged[i]]), "label", float(p[i]), f"{name}={codes[i]}",
                f"{name}={1 - codes[i]}",
            )
            for i in np.flatnonzero(p >= LEAST_WRONG).tolist()
        ]  # fmt: skip
    notes = [
        f"{len(names)} attributes were not judged, since {why}: {', '.join(names[:3])}"
        f"{', ...' if len(names) > 3 else ''}"
        for names, why in (
            (few, f"fewer than {LEAST_JUDGED} of their labels can be held out"),
            (unpredicted, UNPREDICTED),
        )
        if names
    ]
    if len(few) + len(unpredicted) == len(given.names):
        return Judgement(notes=notes)
    low, high = max(expected - below**0.5, 0.0), expected + above**0.5
    return Judgement(findings, wrong, expected, low, high, notes)
