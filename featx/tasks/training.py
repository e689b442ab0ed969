"""Train a linear classifier on the labelled images of a store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from featx._progress import Progress, count_steps
from featx._repr import OneLine, as_table, show_count
from featx.errors import ManifestError, ParameterError, choose
from featx.estimators import Preset, SavedModel, _folds, save_model
from featx.estimators.certainty import learn_certainty
from featx.estimators.held_out import final_estimator, predict_held_out
from featx.estimators.path_scores import count_fits, count_folds
from featx.estimators.presets import get_preset
from featx.images import ImageManifest, attribute_labels, class_labels
from featx.images.augmentation import Augmentation
from featx.images.join import AttributeLabels, ClassLabels, Coverage
from featx.images.paths import absolute_path
from featx.store import Failure, FeatureStore
from featx.tasks._rows import find_rows
from featx.tasks.classifier import (
    Classifier,
    Evaluation,
    Predictions,
    labels_array,
)

if TYPE_CHECKING:
    from featx.evaluation import FewLabelCurve

__all__ = ["Training", "find_labels", "train"]

MAX_NAMED = 10
TASKS = ("classification", "attributes")
CURVE_SIZES = (1, 2, 5, 10, 20, 50)  # labels per class
MOST_CURVE_ROWS = 500  # that train at a time: more takes more than seconds


@dataclass(frozen=True, eq=False, repr=False)
class Training(OneLine):
    """A classifier, and what it was trained on.

    Parameters
    ----------
    classifier : Classifier
    preset : Preset
    rows : ndarray of shape (n,), intp
        Rows of the store.
    y : ndarray of shape (n,), str, or (n, n_attributes) with NaN for not known
        Their labels.
    coverage : Coverage
        What the join of the labels left over.
    notes : tuple of str
        What may not have been meant.
    failures : tuple of Failure
        Images with a label that could not be read, and why.
    """

    classifier: Classifier
    preset: Preset
    rows: NDArray[np.intp]
    y: NDArray[Any]
    coverage: Coverage
    notes: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return classes, cross-validated score, C and counts as a JSON-serialisable dict."""
        probe, classes = final_estimator(self.classifier.saved.model), self.classifier.classes
        if self.y.ndim == 1:
            score, metric, C = probe.best_score_, probe.scoring, probe.C_
        else:
            losses = probe.cv_results_.get("log_loss", np.full((1, len(classes)), np.nan))
            measured = losses[:, ~np.isnan(losses).all(axis=0)]
            score = -float(np.nanmin(measured, axis=0).mean()) if measured.size else None
            metric = "neg_log_loss, mean over attributes"
            C = dict(zip(classes, probe.C_.tolist(), strict=True))
        return {
            "classes": list(classes),
            "cv_score": score,
            "cv_metric": metric,
            "C": C,
            "n_samples": len(self.rows),
            "preset": self.preset.name,
            "failures": [{"path": f.path, "reason": f.reason} for f in self.failures],
            **self.coverage.to_dict(),
        }

    def _repr_html_(self) -> str:
        """Show preset, score and classes in a notebook."""
        found = self.to_dict()
        names, score, C = found["classes"], found["cv_score"], found["C"]
        more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
        rows = [
            ("preset", found["preset"]),
            (f"cross-validated {found['cv_metric']}", "" if score is None else f"{score:.3f}"),
            *([] if isinstance(C, dict) else [("C", f"{C:.4g}")]),
            (
                show_count(len(names), "class" if self.y.ndim == 1 else "attribute"),
                f"{', '.join(names[:MAX_NAMED])}{more}",
            ),
            ("images without a label", f"{found['n_unlabelled']:,}"),
        ]
        caption = f"Classifier trained on {show_count(found['n_samples'], 'image')}"
        return as_table(caption, rows, note="; ".join(self.notes))

    def save(self, path: str | os.PathLike[str], store: FeatureStore) -> None:
        """Write the model, with the store's recipe and the digests of the images it has seen."""
        saved = self.classifier.saved
        save_model(
            saved.model, os.fspath(path), recipe=saved.recipe, metadata=saved.metadata,
            digests=store.digests[self.rows], certainty=saved.certainty,
        )  # fmt: skip

    def cross_validate(self, store: FeatureStore) -> Evaluation:
        """Measure it out of fold on what it was trained on, as `predict_held_out` does.

        Images that are never held out, as the only one of its class, are left out. Of more than
        100,000 images with classes those are measured by which C was chosen.

        Raises
        ------
        ParameterError
            If no image is held out.
        """
        saved = self.classifier.saved
        drawn = _folds.draw_rows(self.y, final_estimator(saved.model).random_state)
        rows, y = self.rows[drawn], self.y[drawn]
        n_fits = count_folds(saved.model)
        with Progress(n_fits, "measure", unit="fit") as bar, count_steps(bar.advance):
            scores = predict_held_out(saved.model, store[rows], y, "decision_function")
        held_out = np.flatnonzero(~np.isnan(scores).any(axis=1))
        if not len(held_out):
            raise ParameterError(
                f"labels: got a single image of each of {len(self.classifier.classes)} classes, "
                "so that none can be held out; expected two or more of one: label more images"
            )
        scores, classes = scores[held_out], np.array(self.classifier.classes)
        if saved.certainty is not None:
            scores = saved.certainty.calibrate(saved.model, scores)
        predicted = classes[scores.argmax(axis=1)] if y.ndim == 1 else (scores > 0.5) * 1.0
        paths = tuple(store.paths[rows[held_out]].tolist())
        predictions = Predictions(paths, y[held_out], predicted, scores, tuple(classes))
        return Evaluation.of(predictions, self.coverage, 0)

    def learning_curve(self, store: FeatureStore) -> FewLabelCurve | None:
        """Train on few labels per class, and on more, and measure on the rest; three draws.

        Returns
        -------
        FewLabelCurve or None
            None for attributes, and where the classes are too small or too many for a curve that
            takes seconds.
        """
        if self.y.ndim > 1:
            return None
        counts = np.unique(self.y, return_counts=True)[1]
        model = self.classifier.saved.model
        n_rows = len(counts) * getattr(model, "n_views", 1)
        sizes = [n for n in CURVE_SIZES if n < counts.min() and n * n_rows <= MOST_CURVE_ROWS]
        if len(sizes) < 2:
            return None
        from featx.evaluation import few_label_curve  # whose statistics are slow to import

        return few_label_curve(
            store[self.rows], self.y, {self.preset.name: clone(model)}, n_per_class=sizes,
            n_repeats=3, progress=False,
        )  # fmt: skip


def train(
    store: FeatureStore,
    labels: Any = None,
    *,
    images: ImageManifest | None = None,
    task: str = "classification",
    attributes: list[str] | None = None,
    preset: str | Preset = "plain",
) -> Training:
    """Train a linear classifier on the labelled images of a store.

    Parameters
    ----------
    store : FeatureStore
    labels : path, data frame or mapping, optional
        A label file (see docs/cli.md); default the labels of `images`.
    images : ImageManifest, optional
        Images of the store to train on; default all, with the labels in the store.
    task : {"classification", "attributes"}, default "classification"
        One label per image, or a column of 0 and 1 for each attribute.
    attributes : list of str, optional
        Columns that are attributes; default all.
    preset : str or Preset, default "plain"
        Its classifier is trained, whatever the store's features are; `Training.notes` says where
        they are not those that the preset asks for.

    Returns
    -------
    Training

    Raises
    ------
    ManifestError
        If no image has a label, or none that has one could be read.
    ParameterError
        If there is no such task or preset, or all labels are the same.

    Examples
    --------
    >>> import featx, tempfile
    >>> from featx.images import sample_data_dir
    >>> with featx.extract(sample_data_dir() / "objects", tempfile.mkdtemp() + "/f.h5") as store:
    ...     training = train(store, preset="sqrt")
    ...     accuracy = training.cross_validate(store).figures["accuracy"]
    >>> training.to_dict()["C"] > 0, accuracy > 0.8
    (True, True)
    """
    chosen = get_preset(preset)
    store.require_images()
    found = find_labels(store if images is None else images, labels, task, attributes)
    failures: tuple[Failure, ...] = ()
    rows, y = found.rows, labels_array(found)
    if images is not None:
        paths = [images.paths[i] for i in rows.tolist()]
        failures = _find_failures(store, paths)
        rows, read = find_rows(store, paths)
        y = y[read]
        if not len(rows):
            raise ManifestError(
                f"store {store.path!r}: has none of the {len(found.rows)} labelled images, "
                f"expected at least one that could be read; featx info {store.path} lists why"
            )
    n_views = _count_views(store)
    if isinstance(found, AttributeLabels):
        model = chosen.attribute_classifier(list(found.names), n_views)
    else:
        model = chosen.classifier(n_views)
    X = store[rows]
    with Progress(count_fits(model), "train", unit="fit") as bar, count_steps(bar.advance):
        model.fit(X, y)
        certainty = learn_certainty(model, X, y)
    about = {"task": task, "made_with": store.made_with}
    saved = SavedModel(model, store.recipe, about, certainty=certainty)
    classifier = Classifier(saved, "the model")
    notes = (*_compare(chosen, store), *_name_rare(y, classifier.classes), *_name_drawn(y))
    return Training(classifier, chosen, rows, y, found.coverage, notes, failures)


def find_labels(
    images: Any, labels: Any, task: str, attributes: list[str] | None
) -> AttributeLabels | ClassLabels:
    """Return the labels of a store or a manifest that the task needs."""
    if choose("task", task, TASKS) == "attributes":
        return attribute_labels(images, labels, attributes)
    return class_labels(images, labels)


def _find_failures(store: FeatureStore, paths: list[str]) -> tuple[Failure, ...]:
    """Return which of some images could not be read."""
    wanted = {absolute_path(path) for path in paths}
    return tuple(failure for failure in store.failures if failure.path in wanted)


def _count_views(store: FeatureStore) -> int:
    """Return how many views' vectors lie side by side in a row."""
    augmentation = Augmentation.parse("none" if store.recipe is None else store.recipe.augment)
    return augmentation.n_views if augmentation.keeps_views else 1


def _name_rare(y: NDArray[Any], names: Sequence[str]) -> tuple[str, ...]:
    """Name attributes that at most one image has, or at most one lacks: none can be held out."""
    if y.ndim == 1:
        return ()
    yes, no = (y == 1).sum(axis=0).tolist(), (y == 0).sum(axis=0).tolist()
    rare = [
        f"{name} ({min(a, b)} {'yes' if a < b else 'no'})"
        for name, a, b in zip(names, yes, no, strict=True)
        if min(a, b) < 2
    ]
    if not rare:
        return ()
    more = f" and {len(rare) - MAX_NAMED} more" if len(rare) > MAX_NAMED else ""
    note = (
        f"{show_count(len(rare), 'attribute')} with a single yes or no, or none, cannot be "
        f"measured: {', '.join(rare[:MAX_NAMED])}{more}; label at least two images of each"
    )
    return (note,)


def _name_drawn(y: NDArray[Any]) -> tuple[str, ...]:
    """Say where the choice of C rests on some of the images."""
    if y.ndim == 2 or len(y) <= _folds.MOST_DEALT:
        return ()
    note = (
        f"all {len(y):,} images train the model; C, the score and the confidence come from about "
        f"{_folds.MOST_DEALT:,} of them, a share of each class, because more would hardly change "
        "them"
    )
    return (note,)


def _compare(preset: Preset, store: FeatureStore) -> tuple[str, ...]:
    """Say where a store's features are not those that the preset asks for."""
    expected = preset.encoder_options["augment"]
    found = "none" if store.recipe is None else store.recipe.augment
    if Augmentation.parse(found).asked == expected or preset.name == "plain":
        return ()
    note = (
        f"preset {preset.name!r} asks for features with augment {expected!r}, and those of "
        f"{store.path} have {found!r}: only its classifier was taken; extract with --preset "
        f"{preset.name} for the rest"
    )
    return (note,)
