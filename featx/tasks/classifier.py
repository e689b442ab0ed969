"""A fitted classifier with its labels as text: what it predicts, and how good it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from featx import evaluation
from featx._repr import OneLine, as_table, show_count
from featx.errors import FileFormatError, ParameterError
from featx.estimators import SavedModel, load_model
from featx.estimators.held_out import final_estimator
from featx.images import attribute_labels, class_labels
from featx.images.join import AttributeLabels, ClassLabels, Coverage

if TYPE_CHECKING:
    from featx.extraction import RunOptions
    from featx.store import FeatureStore
    from featx.tasks.class_maps import ClassMaps

__all__ = ["Classifier", "Evaluation", "Predictions", "labels_array"]


@dataclass(frozen=True, eq=False, repr=False)
class Predictions(OneLine):
    """What was predicted for labelled images.

    Parameters
    ----------
    paths : tuple of str
    y_true : ndarray of shape (n,), or (n, n_attributes) with NaN for not known
    y_pred : ndarray of the same shape
    scores : ndarray of shape (n, n_classes or n_attributes), float64
        Probabilities.
    classes : tuple of str
        Columns of `scores`.
    vectors : ndarray of shape (n, n_features), float32, optional
        Their features, for a map of them.
    """

    paths: tuple[str, ...]
    y_true: NDArray[Any]
    y_pred: NDArray[Any]
    scores: NDArray[np.float64]
    classes: tuple[str, ...]
    vectors: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(OneLine):
    """How good a classifier is on some images.

    Parameters
    ----------
    figures : dict
        As `featx.evaluation.evaluate_classes` or `evaluate_attributes` gives them; of classes
        also "calibration_error".
    predictions : Predictions
        What they were computed from.
    coverage : Coverage
        What the join of the labels left over.
    n_seen : int or None
        How many of the images the classifier was trained on; None where that is not known.
    """

    figures: dict[str, Any]
    predictions: Predictions
    coverage: Coverage
    n_seen: int | None

    @classmethod
    def of(cls, predictions: Predictions, coverage: Coverage, n_seen: int | None) -> Self:
        """Compute the figures."""
        p = predictions
        if p.y_true.ndim == 2:
            figures = evaluation.evaluate_attributes(p.y_true, p.scores)
        else:
            figures = evaluation.evaluate_classes(p.y_true, p.y_pred, p.scores, p.classes)
            is_right = p.y_true == p.y_pred
            figures["calibration_error"] = evaluation.calibration_error(
                p.scores.max(axis=1), is_right
            )
        return cls(figures, predictions, coverage, n_seen)

    def _repr_html_(self) -> str:
        """Show the figures with their 95 % intervals in a notebook."""
        intervals = self.figures["intervals"]
        rows = []
        for name, value in self.figures.items():
            if isinstance(value, float):
                span = intervals.get(name)
                low_high = f"{span[0]:.3f} to {span[1]:.3f}" if span else ""
                title = "mean average precision" if name == "map" else name.replace("_", " ")
                rows.append((title, f"{value:.3f}", low_high))
        n_images = show_count(self.figures["n_samples"], "image")
        return as_table(f"Evaluation of {n_images}", rows, head=("", "value", "95 % interval"))

    def to_dict(self) -> dict[str, Any]:
        """Return all but the predictions as a JSON-serialisable dict."""
        return {**self.figures, "n_seen_in_training": self.n_seen, **self.coverage.to_dict()}


@dataclass(frozen=True, eq=False, repr=False)
class Classifier(OneLine):
    """A fitted classifier whose classes are text, as labels are read.

    Parameters
    ----------
    saved : SavedModel
        The model, and what its features were made with.
    name : str
        What it is called in messages.

    Raises
    ------
    FileFormatError
        If the model classifies nothing.
    """

    saved: SavedModel
    name: str

    def __post_init__(self) -> None:
        final = final_estimator(self.saved.model)
        if not hasattr(final, "predict_proba"):
            raise FileFormatError(
                f"{self.name}: holds a {type(final).__name__}, expected a classifier, as "
                "featx train makes one"
            )

    @classmethod
    def load(cls, path: str) -> Self:
        """Read a model of `featx.estimators.save_model`."""
        return cls(load_model(path), f"model file {path!r}")

    @property
    def has_attributes(self) -> bool:
        """Whether it gives several yes-or-no labels per image."""
        return self.saved.has_attributes

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes or attributes, columns of the scores."""
        return self.saved.classes

    def open_store(self, path: str, table: str | None = None) -> FeatureStore:
        """Open the table of a store that has the features that it takes.

        Parameters
        ----------
        path : path or URL
        table : str, optional
            The only table to take, by the beginning of its fingerprint.

        Raises
        ------
        FingerprintMismatchError
            If the recipe is another, with what differs.
        ParameterError
            If the store has no images, or vectors of another width.
        """
        from featx.store.info import open_fitting  # loads HDF5, which images do not wait for

        store = open_fitting(path, self.saved.recipe, maker=self.name, table=table)
        try:
            self._require_width(store.require_images())
        except ParameterError:
            store.close()
            raise
        return store

    def _require_width(self, store: FeatureStore) -> None:
        width = getattr(self.saved.model, "n_features_in_", store.n_features)
        if width != store.n_features:
            raise ParameterError(
                f"store {store.path!r}: got vectors of {store.n_features} numbers, expected "
                f"{width}, as {self.name} was fitted on; take the store that it was trained on, "
                "or one made alike"
            )

    def draw_maps(
        self,
        wanted: Mapping[str, Sequence[str]],
        run: RunOptions | None = None,
        weights: str | None = None,
    ) -> ClassMaps:
        """Compute where in pictures it sees classes, as `featx.tasks.class_maps` does."""
        from featx.tasks.class_maps import draw_class_maps

        return draw_class_maps(self.saved, wanted, run, weights=weights, name=self.name)

    def evaluate(self, store: FeatureStore, labels: Any = None) -> Evaluation:
        """Measure it on the labelled images of a store.

        Parameters
        ----------
        store : FeatureStore
            From `open_store`.
        labels : path, data frame or mapping, optional
            A label file; default the labels in the store.
        """
        found: AttributeLabels | ClassLabels
        if self.has_attributes:
            found = attribute_labels(store, labels, self.classes)
        else:
            found = class_labels(store, labels)
        answers = self.saved.predict(store[found.rows])
        predictions = Predictions(
            tuple(store.paths[found.rows].tolist()), labels_array(found), answers.labels,
            answers.scores, self.classes,
        )  # fmt: skip
        n_seen = self.saved.count_seen(store.digests[found.rows])
        return Evaluation.of(predictions, found.coverage, n_seen)


def labels_array(found: AttributeLabels | ClassLabels) -> NDArray[Any]:
    """Return the labels, (n,), or the attributes, (n, n_attributes)."""
    return found.values if isinstance(found, AttributeLabels) else found.labels
