"""Labels of a store's rows: its own, or those of a CSV."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import ManifestError, nearest
from featx.images import ImageManifest, JoinedLabels, join_labels
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
    labels = np.array(_label_column(joined, csv_path))
    has_label = labels != ""
    return joined.rows[has_label], labels[has_label]


def manifest_labels(source: Any, csv_path: str | None) -> tuple[list[str], list[str], int]:
    """Return the images that have a label, their labels, and how many images have none.

    Raises
    ------
    ManifestError
        If none has one, or the CSV has no such column.
    """
    manifest = ImageManifest.from_source(source)
    labels = list(manifest.labels or [""] * len(manifest))
    if csv_path is not None:
        joined = join_labels(manifest.paths, csv_path)
        labels = [""] * len(manifest)
        for row, label in zip(joined.rows.tolist(), _label_column(joined, csv_path), strict=True):
            labels[row] = label
    found = [(path, label) for path, label in zip(manifest.paths, labels, strict=True) if label]
    if not found:
        raise ManifestError(
            f"source {source!r}: got no labels, expected one an image ({len(labels)} images "
            "without a label); name folders after the classes, or pass --labels L.csv"
        )
    return [p for p, _ in found], [x for _, x in found], len(labels) - len(found)


def _label_column(joined: JoinedLabels, csv_path: str) -> tuple[str, ...]:
    if joined.labels is None:
        raise ManifestError(
            f"CSV {csv_path!r}: got the columns {['path', *joined.columns]}, expected one named "
            f"'label'.{nearest('label', joined.columns)}"
        )
    return tuple(joined.labels)


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
