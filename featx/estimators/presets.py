"""Presets: which views of an image, what is done to their vectors, which linear classifier.

A preset is a value without any estimator in it, so that the command line can list presets without
loading scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from featx.errors import ParameterError, choose

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PRESETS", "Preset", "get_preset"]

TEN_CROP = 10  # views


@dataclass(frozen=True)
class Preset:
    """One way from an image to a prediction.

    Parameters
    ----------
    name : str
        What it is called.
    note : str
        One line on what it does and where it comes from.
    augment : str, default "none"
        As for `featx.Encoder`. Extraction takes as many times longer as there are views.
    views : {"average", "train", "places"}, default "average"
        What becomes of several views: their vectors are averaged; or each trains and the
        responses are added up (`MultiViewClassifier`); or, of "ten-crop", the vectors of the five
        places stay side by side, each the mean of itself and its mirror image.
    whitening : float or None, default None
        `PCAWhitening`'s power, learned on the training rows; None is no whitening.
    power : float or None, default None
        `PowerNormalizer`'s, before the classifier; None leaves the vectors as they are.
    method : {"logistic", "svm"}, default "logistic"
        Of the linear classifier; C is chosen by cross-validation.

    Examples
    --------
    >>> preset = get_preset("best")
    >>> preset.encoder_options, preset.classifier()
    ({'augment': 'ten-crop'}, Pipeline(steps=[('powernormalizer', PowerNormalizer()),
                ('linearprobeclassifier', LinearProbeClassifier())]))
    """

    name: str
    note: str
    augment: str = "none"
    views: str = "average"
    whitening: float | None = None
    power: float | None = None
    method: str = "logistic"

    @property
    def encoder_options(self) -> dict[str, Any]:
        """The fields of `featx.Encoder` that it sets: ``Encoder("resnet50", **these)``."""
        is_kept = self.views != "average"
        return {"augment": f"{self.augment}:keep" if is_kept else self.augment}

    def classifier(self, n_views: int = 1) -> Any:
        """Return an unfitted classifier of one label per image.

        Parameters
        ----------
        n_views : int, default 1
            Views that a row of features holds side by side.
        """
        from featx.estimators import LinearProbeClassifier

        return self._prepend_steps(LinearProbeClassifier(self.method), n_views)

    def attribute_classifier(
        self, attribute_names: Sequence[str] | None = None, n_views: int = 1
    ) -> Any:
        """Return an unfitted classifier of several labels per image.

        Parameters
        ----------
        attribute_names : sequence of str, optional
            Names of the columns of y, as for `AttributeClassifier`.
        n_views : int, default 1
            Views that a row of features holds side by side.
        """
        from featx.estimators import AttributeClassifier

        probe = AttributeClassifier(self.method, attribute_names=attribute_names)
        return self._prepend_steps(probe, n_views)

    def _prepend_steps(self, probe: Any, n_views: int) -> Any:
        from featx.estimators import MultiViewClassifier, PCAWhitening, PowerNormalizer
        from featx.estimators.multi_view import MirrorMean

        steps: list[Any] = []
        if self.views == "places" and n_views > 1:
            if n_views != TEN_CROP:
                raise ParameterError(
                    f"preset {self.name!r}: got rows of {n_views} views, expected {TEN_CROP}; "
                    "extract with augment 'ten-crop:keep' (--augment ten-crop:keep)"
                )
            steps.append(MirrorMean())
        if self.whitening is not None:
            steps.append(PCAWhitening(power=self.whitening))
        if self.power is not None:
            steps.append(PowerNormalizer(self.power))
        model = probe
        if steps:
            from sklearn.pipeline import make_pipeline  # half a second that "plain" does not need

            model = make_pipeline(*steps, probe)
        return MultiViewClassifier(model, n_views) if self.views == "train" else model


PRESETS: dict[str, Preset] = {
    p.name: p
    for p in (
        Preset("plain", "one view, logistic regression on unit-length vectors"),
        Preset("svm", "one view, one-vs-rest linear SVM", method="svm"),
        Preset("sqrt", "one view, signed square root of each element", power=0.5),
        Preset("whitened", "one view, PCA and half whitening of the vectors", whitening=0.5),
        Preset("hflip", "mean of the view and its mirror image", augment="hflip"),
        Preset("multi-scale", "mean over three sizes", augment="multi-scale"),
        Preset("ten-crop", "mean over ten crops", augment="ten-crop"),
        Preset(
            "paper",
            "Razavian et al. 2014: 16 views, all train, responses added up, linear SVM",
            augment="sixteen-view",
            views="train",
            method="svm",
        ),
        Preset(
            "best",
            "mean over ten crops, signed square root, logistic regression",
            augment="ten-crop",
            power=0.5,
        ),
        Preset(
            "places",
            "five places of ten crops side by side, for pictures that are aligned, such as faces",
            augment="ten-crop",
            views="places",
        ),
    )
}


def get_preset(name: str | Preset) -> Preset:
    """Return a preset by name; a `Preset` is returned as it is.

    Raises
    ------
    ParameterError
        If there is none of that name.
    """
    if isinstance(name, Preset):
        return name
    return PRESETS[choose("preset", name, PRESETS)]
