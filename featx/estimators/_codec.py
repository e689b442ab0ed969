"""Estimators as JSON and arrays, and back, for the classes in a fixed table and no others.

A class is looked up in the table, never imported by a name from a file; its parameters go through
its own constructor and its learned state is a listed set of attributes with listed shapes.
"""

from __future__ import annotations

import importlib
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from featx.errors import FileFormatError, ParameterError
from featx.estimators._attributes import AttributeClassifier
from featx.estimators._linear_probe import LinearProbeClassifier
from featx.estimators._pca_whitening import PCAWhitening
from featx.estimators._pipeline import is_pipeline
from featx.estimators._power import PowerNormalizer
from featx.estimators.multi_view import MirrorMean, MultiViewClassifier

__all__ = ["CLASSES", "decode", "encode"]

Arrays = dict[str, NDArray[Any]]
DEEPEST = 8  # pipelines within pipelines
LONGEST_LIST = 100_000
TEXTS = ("classes_", "attribute_names_", "feature_names_in_")


@dataclass(frozen=True)
class Layout:
    """What a fitted estimator of a class consists of.

    Parameters
    ----------
    make : callable or str
        The class; its dotted name where it is slow to import.
    arrays : dict of str
        Attribute → letters of its axes; equal letters must have equal lengths, "d" is the number
        of features. A "?" at the end lets the attribute be None.
    values : tuple of str
        Attributes that are numbers, text, None or dicts of arrays.
    notes : tuple of str
        Those of both that no prediction reads, and in which NaN means "does not apply".
    """

    make: Callable[..., Any] | str
    arrays: dict[str, str]
    values: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def kind(self) -> Callable[..., Any]:
        """The class."""
        if not isinstance(self.make, str):
            return self.make
        module, _, name = self.make.rpartition(".")
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
        return found


PROBE_VALUES = ("C_", "n_splits_", "best_score_", "slope_", "calibration_", "n_iter_")
CLASSES: dict[str, Layout] = {
    "LinearProbeClassifier": Layout(
        LinearProbeClassifier,
        {"classes_": "c", "coef_": "kd", "intercept_": "k"},
        (*PROBE_VALUES, "cv_results_"),
        notes=("C_", "best_score_", "cv_results_"),
    ),
    "AttributeClassifier": Layout(
        AttributeClassifier,
        {
            "attribute_names_": "a",
            "coef_": "ad",
            "intercept_": "a",
            "C_": "a",
            "slope_": "a",
            "constant_": "a",
        },
        ("n_splits_", "n_iter_", "cv_results_"),
        notes=("C_", "constant_", "cv_results_"),
    ),
    "PCAWhitening": Layout(
        PCAWhitening,
        {
            "components_": "nd",
            "mean_": "d",
            "explained_variance_": "n",
            "explained_variance_ratio_": "n",
        },
        ("n_components_", "n_samples_"),
        notes=("explained_variance_ratio_",),
    ),
    "PowerNormalizer": Layout(PowerNormalizer, {}),
    "MirrorMean": Layout(MirrorMean, {}),
    "Normalizer": Layout("sklearn.preprocessing.Normalizer", {}),
    "StandardScaler": Layout(
        "sklearn.preprocessing.StandardScaler",
        {"mean_": "d?", "var_": "d?", "scale_": "d?"},
        ("n_samples_seen_",),
    ),
}


def encode(model: Any, arrays: Arrays, prefix: str = "") -> dict[str, Any]:
    """Return the JSON tree of a fitted estimator; its arrays go into `arrays`.

    Raises
    ------
    ParameterError
        For a class outside the table, a parameter that JSON cannot hold, or learned numbers that
        are not finite.
    """
    if is_pipeline(model) and type(model).__name__ == "Pipeline":
        steps = [
            [name, step if isinstance(step, str) else encode(step, arrays, f"{prefix}{i}.")]
            for i, (name, step) in enumerate(model.steps)
            if step is not None
        ]
        return {"class": "Pipeline", "steps": steps}
    if type(model) is MultiViewClassifier and hasattr(model, "estimator_"):
        inner = encode(model.estimator_, arrays, f"{prefix}estimator.")
        return {"class": "MultiViewClassifier", "n_views": int(model.n_views), "estimator": inner}
    name = type(model).__name__
    layout = CLASSES.get(name)
    if layout is None or layout.kind is not type(model):
        raise ParameterError(
            f"save_model: got a {type(model).__module__}.{name}, expected one of "
            f"{', '.join(CLASSES)}, or a Pipeline or MultiViewClassifier of them; "
            "format='joblib' keeps anything, but "
            "whoever can change such a file can run code on the machine that loads it"
        )
    if not hasattr(model, "n_features_in_"):
        raise NotFittedError(f"save_model: this {name} is not fitted; call fit first")
    found = not_finite(name, vars(model))
    if found:
        raise ParameterError(
            f"save_model: {found}, expected finite ones; look for features that are very large "
            "or not finite, scale them, and fit again"
        )
    put = _Putter(arrays, prefix, name)
    state = [*layout.arrays, *layout.values, "n_features_in_"]
    state += ["feature_names_in_"] if hasattr(model, "feature_names_in_") else []
    return {
        "class": name,
        "params": {k: put(k, v) for k, v in model.get_params(deep=False).items()},
        "state": {k: put(k, getattr(model, k)) for k in state},
    }


class _Putter:
    """Turn one value into JSON; arrays are put aside under a name of their own."""

    def __init__(self, arrays: Arrays, prefix: str, owner: str) -> None:
        self.arrays, self.prefix, self.owner = arrays, prefix, owner

    def __call__(self, key: str, value: Any) -> Any:
        if value is None or isinstance(value, str | bool | np.bool_):
            return value if not isinstance(value, np.bool_) else bool(value)
        if isinstance(value, numbers.Integral):
            return int(value)
        if isinstance(value, numbers.Real):
            # NaN is no JSON; text keeps every bit of a float.
            return {"float": float(value).hex()}
        if isinstance(value, np.ndarray):
            is_text = value.dtype.kind == "O" and all(isinstance(v, str) for v in value.flat)
            array = value.astype(str) if is_text else value
            if array.dtype.kind in "biufU" and array.size and array.dtype.itemsize:
                name = f"{self.prefix}{key}"
                self.arrays[name] = array
                return {"array": name}
        if isinstance(value, dict):
            pairs = [[self(f"{key}.{k}.key", k), self(f"{key}.{k}", v)] for k, v in value.items()]
            return {"dict": pairs}
        if isinstance(value, list | tuple | range) and len(value) <= LONGEST_LIST:
            return {"list": [self(f"{key}.{i}", v) for i, v in enumerate(value)]}
        raise ParameterError(
            f"save_model: {self.owner} has {key}={value!r:.80}, which cannot be kept without "
            "pickle; set it to a number, a text or a list of them first, or use format='joblib' "
            "and load the file only where you trust its origin"
        )


def decode(tree: Any, arrays: Arrays, depth: int = 0) -> Any:
    """Rebuild the estimator of a tree.

    Raises
    ------
    FileFormatError
        Where the tree is not one that `encode` makes.
    """
    if not isinstance(tree, dict) or depth > DEEPEST:
        raise FileFormatError(f"got {tree!r:.60} in place of an estimator")
    if tree.get("class") == "Pipeline":
        steps = tree.get("steps")
        if not isinstance(steps, list) or not steps or not all(_is_step(step) for step in steps):
            raise FileFormatError("Pipeline: got no list of [name, estimator] steps")
        from sklearn.pipeline import Pipeline

        return Pipeline(
            [(n, s if isinstance(s, str) else decode(s, arrays, depth + 1)) for n, s in steps]
        )
    name = tree.get("class")
    if name == "MultiViewClassifier":
        return _decode_views(tree.get("n_views"), decode(tree.get("estimator"), arrays, depth + 1))
    if not isinstance(name, str) or name not in CLASSES:
        raise FileFormatError(f"got class {name!r:.60}, expected one of {', '.join(CLASSES)}")
    layout = CLASSES[name]
    try:
        params = {k: _take(v, arrays) for k, v in tree["params"].items()}
        state = {k: _take(v, arrays) for k, v in tree["state"].items()}
        model = layout.kind(**params)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as err:
        raise FileFormatError(f"{name}: parameters or state do not fit: {err}") from err
    _check_state(name, layout, state)
    bad = [key for key, v in params.items() if isinstance(v, float) and np.isnan(v)]
    found = f"{name}: {bad[0]} is NaN" if bad else not_finite(name, state)
    if found:
        raise FileFormatError(
            f"{found}, with which every prediction would be the same, expected finite ones"
        )
    for key, value in state.items():
        setattr(model, key, value)
    return model


def _decode_views(n_views: Any, inner: Any) -> MultiViewClassifier:
    width = getattr(inner, "n_features_in_", None)
    if type(n_views) is not int or n_views < 1 or not isinstance(width, int):
        raise FileFormatError(f"MultiViewClassifier: got n_views={n_views!r:.40} of {width!r:.40}")
    model = MultiViewClassifier(clone(inner), n_views)
    model.estimator_, model.n_features_in_ = inner, n_views * width
    if hasattr(inner, "classes_"):
        model.classes_ = inner.classes_
    return model


def not_finite(name: str, state: Mapping[str, Any]) -> str:
    """Say which learned number of a known class is NaN or infinite; "" where none is."""
    layout = CLASSES[name]
    for key in (*layout.arrays, *layout.values):
        if key in layout.notes or not isinstance(state.get(key), float | np.ndarray):
            continue
        numbers = np.asarray(state[key])
        if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
            n = int((~np.isfinite(numbers)).sum())
            return f"{name}: {key} has {n} of {numbers.size} numbers that are NaN or infinite"
    return ""


def _is_step(step: Any) -> bool:
    return (
        isinstance(step, list)
        and len(step) == 2
        and isinstance(step[0], str)
        and (isinstance(step[1], dict) or step[1] == "passthrough")
    )


def _take(value: Any, arrays: Arrays) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, dict) and len(value) == 1:
        ((kind, content),) = value.items()
        if kind == "float":
            return float.fromhex(content)
        if kind == "array":
            return arrays[content]
        if kind == "list":
            return [_take(item, arrays) for item in content]
        if kind == "dict":
            return {_take(k, arrays): _take(v, arrays) for k, v in content}
    raise ValueError(f"got {value!r:.60} in place of a value")


def _check_state(name: str, layout: Layout, state: dict[str, Any]) -> None:
    """Check that every listed attribute is there, alone, and of a shape that fits the others."""
    expected = {*layout.arrays, *layout.values, "n_features_in_"}
    got = set(state) - {"feature_names_in_"}
    if got != expected:
        raise FileFormatError(
            f"{name}: missing {sorted(expected - got)!r}, unknown {sorted(got - expected)!r}"
        )
    n_features = state["n_features_in_"]
    if not isinstance(n_features, int) or n_features < 1:
        raise FileFormatError(f"{name}: got n_features_in_={n_features!r:.40}")
    sizes = {"d": n_features}
    axes = {
        **layout.arrays,
        **({"feature_names_in_": "d"} if "feature_names_in_" in state else {}),
    }
    for key, letters in axes.items():
        value = state[key]
        if value is None and letters.endswith("?"):
            continue
        shape = letters.removesuffix("?")
        if not isinstance(value, np.ndarray) or value.ndim != len(shape):
            raise FileFormatError(f"{name}: {key} is not an array with {len(shape)} axes")
        if value.dtype.kind == "U" and key not in TEXTS:
            raise FileFormatError(f"{name}: {key} holds text, expected numbers")
        for letter, size in zip(shape, value.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise FileFormatError(
                    f"{name}: {key} has shape {value.shape}, expected {sizes[letter]} for {size}"
                )
    if name == "LinearProbeClassifier" and sizes["k"] != (1 if sizes["c"] == 2 else sizes["c"]):
        raise FileFormatError(f"{name}: got {sizes['k']} rows of coef_ for {sizes['c']} classes")
    if state.get("feature_names_in_") is not None:
        state["feature_names_in_"] = state["feature_names_in_"].astype(object)
