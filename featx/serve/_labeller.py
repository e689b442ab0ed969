"""What a trained model says of a query."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx.errors import FingerprintMismatchError
from featx.estimators import SavedModel, load_model
from featx.estimators.held_out import final_estimator
from featx.files.paths import show_path
from featx.recipe import Recipe, require_same_recipe

__all__ = ["Labeller", "Prediction", "Score"]

MAX_SCORES = 5
LIKELY = 0.5


@dataclass(frozen=True)
class Score:
    """One class or attribute, and how probable it is."""

    label: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """What a model says: the labels, and these and the next most probable, with probabilities.

    `labels` holds one class; of attributes all that are more probable than not.
    """

    labels: list[str]
    scores: list[Score]


class Labeller:
    """A saved model, for vectors of one recipe.

    Parameters
    ----------
    path : str
        File of `featx.estimators.save_model`.
    recipe : Recipe
        What the vectors will be made with.

    Raises
    ------
    FingerprintMismatchError
        If the model was trained on features of another recipe or width.
    """

    def __init__(self, path: str, recipe: Recipe) -> None:
        saved: SavedModel = load_model(path)
        require_same_recipe(recipe, saved.recipe, thing="the index", maker=f"model {path!r}")
        self._model = saved.model
        width = getattr(self._model, "n_features_in_", recipe.n_features)
        if width != recipe.n_features:
            raise FingerprintMismatchError(
                f"model {path!r}: was trained on {width} features, expected {recipe.n_features}, "
                "what the index has; train it on the store that the index was made from"
            )
        final = final_estimator(self._model)
        self._is_multi_label = hasattr(final, "attribute_names_")
        names = final.attribute_names_ if self._is_multi_label else final.classes_
        self.names = [show_path(str(name)) for name in names.tolist()]

    def __call__(self, vectors: NDArray[np.float32]) -> list[Prediction]:
        """Label vectors of shape (n, n_features)."""
        probabilities = self._model.predict_proba(vectors)
        if self._is_multi_label:
            return [self._prediction(row, np.flatnonzero(row > LIKELY)) for row in probabilities]
        # not the largest probability: where each class has its own calibration, they may differ
        chosen = np.searchsorted(self._model.classes_, self._model.predict(vectors))
        return [self._prediction(r, c[None]) for r, c in zip(probabilities, chosen, strict=True)]

    def _prediction(self, row: NDArray[np.floating], chosen: NDArray[np.intp]) -> Prediction:
        is_chosen = np.zeros(len(row), bool)
        is_chosen[chosen] = True
        order = np.lexsort((-row, ~is_chosen)).tolist()
        scores = [Score(self.names[i], float(row[i])) for i in order]
        return Prediction(
            [s.label for s in scores[: len(chosen)]], scores[: max(MAX_SCORES, len(chosen))]
        )
