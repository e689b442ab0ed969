"""A table as people see it: columns with names, one row an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from featx._optional import require
from featx.files.paths import show_path

if TYPE_CHECKING:
    from featx.store.reader import FeatureStore

__all__ = ["feature_names", "text_columns", "to_pandas"]


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


def feature_names(n_features: int) -> tuple[str, ...]:
    """Return what the columns of the features are called."""
    return tuple(f"feature_{i}" for i in range(n_features))


def to_pandas(store: FeatureStore) -> Any:
    """Return a table as a data frame; see `FeatureStore.to_pandas`."""
    pandas = require("pandas", extra="pandas", purpose="FeatureStore.to_pandas")
    names = feature_names(store.n_features)
    text = pandas.DataFrame(text_columns(store, reserved=names))
    return pandas.concat([text, pandas.DataFrame(store[:], columns=list(names))], axis=1)
