"""One-vs-one support vector machines with voting, as Razavian et al. 2014 have them.

Section 3.1: one-vs-rest where labels are not exclusive ("svm" and "paper" of attributes do that),
else one-vs-one with voting. Section 3.6: hinge loss by libsvm for one view; for 16 views squared
hinge loss by the primal solver of liblinear; C = 2 for MIT-67, birds and flowers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sklearn.multiclass import OneVsOneClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.svm import SVC, LinearSVC

from featx.estimators import Preset
from featx.estimators.presets import get_preset

__all__ = ["PAIRS", "PairPreset", "find_preset"]


@dataclass(frozen=True)
class PairPreset(Preset):
    """A preset that tells classes apart in pairs; the class that wins most pairs is predicted.

    Parameters
    ----------
    C : float, default 2.0
        As in scikit-learn; not chosen by cross-validation.
    """

    C: float = 2.0

    def classifier(self, n_views: int = 1) -> Any:
        """Return an unfitted classifier of one label per image; it has no `predict_proba`."""
        if n_views == 1:
            machines: Any = SVC(kernel="linear", C=self.C)
        else:
            machines = OneVsOneClassifier(LinearSVC(C=self.C, dual=False))
        return self._prepend_steps(make_pipeline(Normalizer(), machines), n_views)


PAIRS = {
    preset.name: preset
    for preset in (
        PairPreset("svm-pairs", "one view, one-vs-one linear SVM, C = 2", method="svm"),
        PairPreset(
            "paper-pairs",
            "Razavian et al. 2014 for exclusive classes: 16 views, all train, one-vs-one",
            augment="sixteen-view",
            views="train",
            method="svm",
        ),
    )
}


def find_preset(name: str | Preset) -> Preset:
    """Return a preset by name, of `featx.estimators.PRESETS` or `PAIRS`."""
    return PAIRS[name] if isinstance(name, str) and name in PAIRS else get_preset(name)
