"""The confusion matrix: a grid for few classes, a list of the commonest confusions for many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.errors import ParameterError, nearest
from featx.report._section import Section, as_json, require_length
from featx.report._thumbnails import PictureSource, ThumbnailPress

__all__ = ["confusion_section", "count_confusions"]

MAX_GRID = 40  # classes; beyond, cells are too small to read and the page grows with the square
MAX_LISTED = 40
MAX_PICTURES, MAX_OF_WRONG, MAX_OF_RIGHT = 160, 12, 4  # in all, and of a cell
CELL_PX = 96  # about 3.5 kB each


def count_confusions(
    y_true: Sequence[Any], y_pred: Sequence[Any], labels: Sequence[Any] | None
) -> tuple[list[Any], np.ndarray]:
    """Return the labels and the counts (n_labels, n_labels), a row for each true label."""
    true, pred = [as_json(v) for v in y_true], [as_json(v) for v in y_pred]
    require_length(pred, len(true), "y_pred", "y_true")
    found = set(true) | set(pred)
    names = [as_json(v) for v in labels] if labels is not None else sorted(found, key=_order)
    position = {name: k for k, name in enumerate(names)}
    if len(position) != len(names):
        raise ParameterError(f"labels: found duplicates in {names!r:.200}, expected each once")
    if unknown := sorted(found - set(position), key=_order):
        hint = nearest(str(unknown[0]), map(str, names))
        raise ParameterError(
            f"labels: {unknown[0]!r} is in y_true or y_pred, expected one of the {len(names)} "
            f"labels given.{hint}"
        )
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    rows = np.array([position[v] for v in true], dtype=np.intp)
    np.add.at(counts, (rows, np.array([position[v] for v in pred], dtype=np.intp)), 1)
    return names, counts


def _order(value: Any) -> tuple[bool, Any]:
    return isinstance(value, str), value


def confusion_section(
    y_true: Sequence[Any],
    y_pred: Sequence[Any],
    labels: Sequence[Any] | None,
    title: str,
    paths: Sequence[PictureSource] | None,
    press: ThumbnailPress,
) -> Section:
    """Count and lay out; a cell is as deep as its share of the row."""
    if paths is not None:
        require_length(paths, len(y_true), "paths", "y_true")
    names, counts = count_confusions(y_true, y_pred, labels)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    off = counts * (1 - np.eye(len(names), dtype=np.int64))
    pairs = sorted(np.argwhere(off > 0).tolist(), key=lambda p: (-off[p[0], p[1]], p))
    texts = [str(n) for n in names]
    listed = [
        {"true": texts[i], "predicted": texts[j], "n": int(off[i, j]), "id": f"{i}-{j}"}
        for i, j in pairs[:MAX_LISTED]
    ]
    shown = {}
    if paths is not None:
        chosen = pairs if len(names) <= MAX_GRID else pairs[:MAX_LISTED]
        shown = _pictures(_samples_of(y_true, y_pred, names), chosen, texts, paths, press)
    view = {
        "labels": texts,
        "is_grid": len(names) <= MAX_GRID,
        "rows": _cells(texts, counts, shares) if len(names) <= MAX_GRID else [],
        "listed": listed,
        "shown": shown,
        "n_pairs": len(pairs),
        "n_right": int(np.trace(counts)),
        "n_samples": int(counts.sum()),
    }
    entries = [
        {"true": names[i], "predicted": names[j], "n": int(counts[i, j])}
        for i, j in np.argwhere(counts > 0).tolist()
    ]
    return Section("confusion", title, view, {"labels": names, "counts": entries})


def _samples_of(
    y_true: Sequence[Any], y_pred: Sequence[Any], names: Sequence[Any]
) -> dict[tuple[int, int], list[int]]:
    """Return the samples of each cell."""
    position = {name: k for k, name in enumerate(names)}
    cells: dict[tuple[int, int], list[int]] = {}
    for k, (true, predicted) in enumerate(zip(y_true, y_pred, strict=True)):
        cell = position[as_json(true)], position[as_json(predicted)]
        cells.setdefault(cell, []).append(k)
    return cells


def _pictures(
    samples: dict[tuple[int, int], list[int]],
    pairs: Sequence[Sequence[int]],
    names: Sequence[str],
    paths: Sequence[PictureSource],
    press: ThumbnailPress,
) -> dict[str, dict[str, Any]]:
    """Return the pictures of the given cells, then of what is right, as far as they go."""
    shown: dict[str, dict[str, Any]] = {}
    left = MAX_PICTURES
    for i, j in [*map(tuple, pairs), *((k, k) for k in range(len(names)))]:
        found = samples.get((i, j), [])
        some = found[: min(left, MAX_OF_RIGHT if i == j else MAX_OF_WRONG)]
        left -= len(some)
        if some:
            pictures = [press.press(paths[k], side_px=CELL_PX) for k in some]
            title = names[i] if i == j else f"{names[i]} predicted as {names[j]}"
            shown[f"{i}-{j}"] = {"title": title, "pictures": pictures, "n": len(found)}
    return shown


def _cells(names: list[str], counts: np.ndarray, shares: np.ndarray) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "total": int(counts[i].sum()),
            "cells": [
                {
                    "id": f"{i}-{j}",
                    "n": int(counts[i, j]),
                    "share": round(float(shares[i, j]), 3),
                    "is_right": i == j,
                    "predicted": names[j],
                }
                for j in range(len(names))
            ],
        }
        for i, name in enumerate(names)
    ]
