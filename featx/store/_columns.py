"""The columns of a table that is exported or becomes a data frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featx.files.paths import show_path

if TYPE_CHECKING:
    from featx.store.reader import FeatureStore

__all__ = ["name_features", "text_columns"]


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
