"""What a trained model says of a query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from featx.errors import FingerprintMismatchError
from featx.estimators import load_model
from featx.estimators.certainty import Answers
from featx.files.paths import show_path
from featx.recipe import Recipe, require_same_recipe

__all__ = ["Labeller", "Prediction", "Score"]

MAX_SCORES = 5


@dataclass(frozen=True)
class Score:
    """One class or attribute, and how probable it is."""

    label: Annotated[str, Field(description="The class or attribute.")]
    probability: Annotated[float, Field(description="From 0 to 1.")]


@dataclass(frozen=True)
class Prediction:
    """What a model says of an image."""

    labels: Annotated[
        list[str],
        Field(description="One class; of attributes all that are more probable than not."),
    ]
    scores: Annotated[
        list[Score], Field(description="These and the next most probable, most probable first.")
    ]
    confidence: Annotated[
        float,
        Field(
            description="Probability that the label is right; of attributes the expected share of "
            "right ones."
        ),
    ]
    unknown: Annotated[
        float | None,
        Field(
            description="Share of training images that are less novel than this one; null where "
            "the model does not know."
        ),
    ]
    is_unknown: Annotated[
        bool, Field(description="Whether it is unlike anything the model was trained on.")
    ]


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
        saved = self._saved = load_model(path)
        require_same_recipe(recipe, saved.recipe, thing="the index", maker=f"model {path!r}")
        width = getattr(saved.model, "n_features_in_", recipe.n_features)
        if width != recipe.n_features:
            raise FingerprintMismatchError(
                f"model {path!r}: was trained on {width} features, expected {recipe.n_features}, "
                "what the index has; train it on the store that the index was made from"
            )
        self.names = [show_path(name) for name in saved.classes]

    def __call__(self, vectors: NDArray[np.float32]) -> list[Prediction]:
        """Label vectors of shape (n, n_features)."""
        answers = self._saved.predict(vectors)
        if self._saved.has_attributes:
            is_chosen = answers.labels > 0
        else:
            is_chosen = answers.labels[:, None] == np.array(self._saved.classes)
        return [self._describe(answers, i, is_chosen[i]) for i in range(len(vectors))]

    def _describe(self, answers: Answers, i: int, is_chosen: NDArray[np.bool_]) -> Prediction:
        order = np.lexsort((-answers.scores[i], ~is_chosen)).tolist()
        scores = [Score(self.names[j], float(answers.scores[i, j])) for j in order]
        n_chosen = int(is_chosen.sum())
        return Prediction(
            [s.label for s in scores[:n_chosen]],
            scores[: max(MAX_SCORES, n_chosen)],
            float(answers.confidence[i]),
            None if answers.unknown is None else float(answers.unknown[i]),
            bool(answers.is_unknown[i]),
        )
