"""What scikit-learn lacks for features of a frozen network."""

from featx.estimators._attributes import AttributeClassifier
from featx.estimators._linear_probe import LinearProbeClassifier
from featx.estimators._multi_view import MultiViewClassifier
from featx.estimators._pca_whitening import PCAWhitening
from featx.estimators._persistence import SavedModel, load_model, save_model
from featx.estimators._power import PowerNormalizer

__all__ = [
    "AttributeClassifier",
    "LinearProbeClassifier",
    "MultiViewClassifier",
    "PCAWhitening",
    "PowerNormalizer",
    "SavedModel",
    "load_model",
    "save_model",
]
