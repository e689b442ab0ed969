"""Labels of a store's rows: its own, or those of a CSV."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import ManifestError, nearest
from featx.images import ImageManifest, join_labels
from featx.store import FeatureStore

__all__ = ["attribute_labels", "class_labels", "manifest_labels"]

Rows = NDArray[np.intp]
VALUES = {"1": 1.0, "0": 0.0, "-1": 0.0, "true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}


def class_labels(store: FeatureStore, csv_path: str | None) -> tuple[Rows, NDArray[Any]]:
    """Return the rows that have a label, and the labels.

    Raises
    ------
    ManifestError
        If there are none.
    """
    if csv_path is None:
        labels = store.labels
        if labels is None or not (labels != "").any():
            raise ManifestError(
                f"store {store.path!r}: has no labels, expected one an image; extract from "
                "folders named after the classes, or pass --labels L.csv"
            )
        rows = np.flatnonzero(labels != "")
        return rows, labels[rows]
    joined = join_labels(store.paths.tolist(), csv_path)
    if joined.labels is None:
        raise ManifestError(
            f"CSV {csv_path!r}: got the columns {['path', *joined.columns]}, expected one named "
            f"'label'.{nearest('label', joined.columns)}"
        )
    labels = np.array(joined.labels)
    has_label = labels != ""
    return joined.rows[has_label], labels[has_label]


def manifest_labels(
    manifest: ImageManifest, csv_path: str | None
) -> tuple[list[str], NDArray[Any]]:
    """Return the images that have a label, and the labels.

    Raises
    ------
    ManifestError
        If there are none.
    """
    paths = list(manifest.paths)
    if csv_path is None:
        labels = np.array(manifest.labels if manifest.labels is not None else [""] * len(paths))
        rows = np.arange(len(paths))
    else:
        joined = join_labels(paths, csv_path)
        rows, labels = joined.rows, np.array(joined.labels if joined.labels is not None else [])
    has_label = labels != ""
    if not has_label.any():
        raise ManifestError(
            "SOURCE: got no labels, expected one an image; give folders named after the classes, "
            "or pass --labels L.csv with the columns path and label"
        )
    return [paths[i] for i in rows[has_label]], labels[has_label]


def attribute_labels(
    store: FeatureStore, csv_path: str | None, wanted: list[str] | None
) -> tuple[Rows, list[str], NDArray[np.float64]]:
    """Return rows, attribute names, and labels (n_rows, n_attributes): 1, 0, NaN for not known.

    Raises
    ------
    ManifestError
        If there are no such columns, or a value is none of 0, 1 and empty.
    """
    if csv_path is None:
        rows, columns = np.arange(len(store)), {k: v.tolist() for k, v in store.metadata.items()}
        thing = f"store {store.path!r}"
    else:
        joined = join_labels(store.paths.tolist(), csv_path)
        rows, columns = joined.rows, {k: list(v) for k, v in joined.columns.items()}
        thing = f"CSV {csv_path!r}"
    names = wanted or list(columns)
    missing = [name for name in names if name not in columns]
    if missing or not names:
        raise ManifestError(
            f"{thing}: got the columns {list(columns)}, expected "
            f"{missing[0] if missing else 'one an attribute, of 0 and 1'}."
            f"{nearest(missing[0], columns) if missing else ''}"
        )
    return rows, names, np.column_stack([_values(columns[n], n, thing) for n in names])


def _values(column: list[str], name: str, thing: str) -> NDArray[np.float64]:
    values = np.full(len(column), np.nan)
    for i, text in enumerate(column):
        word = text.strip().lower()
        if word and word not in VALUES:
            raise ManifestError(
                f"{thing}: column {name!r} has {text!r}, expected 0, 1 or nothing; name the "
                "columns that are attributes with --attributes"
            )
        if word:
            values[i] = VALUES[word]
    return values
