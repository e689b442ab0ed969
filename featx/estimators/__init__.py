"""What scikit-learn lacks for features of a frozen network.

The names below are loaded on first use, so that the command line lists presets without waiting for
scikit-learn.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featx.estimators._attributes import AttributeClassifier
    from featx.estimators._linear_probe import LinearProbeClassifier
    from featx.estimators._pca_whitening import PCAWhitening
    from featx.estimators._persistence import SavedModel, load_model, save_model
    from featx.estimators._power import PowerNormalizer
    from featx.estimators.multi_view import MultiViewClassifier
    from featx.estimators.presets import PRESETS, Preset

_MODULES = {
    "AttributeClassifier": "_attributes",
    "LinearProbeClassifier": "_linear_probe",
    "MultiViewClassifier": "multi_view",
    "PCAWhitening": "_pca_whitening",
    "PRESETS": "presets",
    "PowerNormalizer": "_power",
    "Preset": "presets",
    "SavedModel": "_persistence",
    "load_model": "_persistence",
    "save_model": "_persistence",
}

__all__ = [
    "PRESETS",
    "AttributeClassifier",
    "LinearProbeClassifier",
    "MultiViewClassifier",
    "PCAWhitening",
    "PowerNormalizer",
    "Preset",
    "SavedModel",
    "load_model",
    "save_model",
]


def __getattr__(name: str) -> Any:
    """Load a name from its module on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module 'featx.estimators' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"featx.estimators.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
