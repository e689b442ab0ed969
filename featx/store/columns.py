"""The columns of a table that is exported or becomes a data frame."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from featx.files.paths import show_path

if TYPE_CHECKING:
    from featx.store.reader import FeatureStore

__all__ = ["convert_column", "name_features", "text_columns"]

# Text that is a number and nothing else: 007 is a name.
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,17})(\.\d+)?([eE][+-]?\d{1,2})?", re.ASCII)


def text_columns(store: FeatureStore, *, reserved: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """Return the columns of text: `path`, `label` ("" where absent), and those of the manifest.

    Parameters
    ----------
    store : FeatureStore
        The table.
    reserved : tuple of str, default ()
        Names that other columns have; a column of the manifest that is called so, or `path` or
        `label`, is ``metadata.<name>``.
    """
    labels = store.labels
    columns = {"path": store.paths.tolist()}
    columns["label"] = [""] * len(store) if labels is None else labels.tolist()
    for name, values in store.metadata.items():
        taken = name in columns or name in reserved
        columns[f"metadata.{name}" if taken else name] = values.tolist()
    return {
        show_path(name): [show_path(value) for value in values] for name, values in columns.items()
    }


def name_features(n_features: int) -> tuple[str, ...]:
    """Return what the columns of the features are called."""
    return tuple(f"feature_{i}" for i in range(n_features))


def convert_column(values: list[str]) -> tuple[str, list[Any]]:
    """Return the type of a column of text, and its values in that type.

    It is "integer" or "number" where every value that is not empty is one as people write it, and
    None then stands for the empty ones; else "text".

    Examples
    --------
    >>> convert_column(["3", "", "12"])
    ('integer', [3, None, 12])
    >>> convert_column(["1.50", "2"])
    ('number', [1.5, 2.0])
    >>> convert_column(["007", "8"])
    ('text', ['007', '8'])
    """
    found = {value: _NUMBER.fullmatch(value) for value in set(values) - {""}}
    if not found or not all(found.values()):
        return "text", values
    is_whole = not any(match and (match[2] or match[3]) for match in found.values())
    make = int if is_whole else float
    numbers: dict[str, Any] = {value: make(value) for value in found} | {"": None}
    return "integer" if is_whole else "number", [numbers[value] for value in values]
