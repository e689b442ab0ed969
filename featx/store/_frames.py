"""A store's table as others have theirs: a frame of pandas, a table of Arrow or a notebook."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from featx._optional import require
from featx._repr import as_table
from featx.store.columns import convert_column, name_features, text_columns

if TYPE_CHECKING:
    from featx.store.reader import FeatureStore

__all__ = ["ArrowBlocks", "Frames"]

MAX_NAMES = 12
TYPES = {"text": "string", "integer": "int64", "number": "float64"}


class Frames:
    """What `FeatureStore` gives to packages that have tables of their own, and to notebooks."""

    def _repr_html_(self) -> str:
        """Show in a notebook what it holds, and what made it."""
        store = cast("FeatureStore", self)
        rows: list[tuple[str, object]] = [
            ("path", store.path),
            ("table", store.table.key),
            ("shape", store.shape),
        ]
        if store.recipe is not None:
            names = ("backbone", "layer", "pooling", "augment", "precision")
            rows += [(name, getattr(store.recipe, name)) for name in names]
        if store.labels is not None:
            classes = sorted(set(store.labels.tolist()) - {""})
            rows.append(("labels", _list_few(classes)))
        rows += [("columns", _list_few(list(store.metadata)))] if store.metadata else []
        rows += [("images that could not be read", len(store.failures))] if store.failures else []
        return as_table("FeatureStore", rows)

    def to_pandas(self) -> Any:
        r"""Return the table as a pandas data frame, one row per image.

        Returns
        -------
        pandas.DataFrame
            Columns `path` and `label` (text; "" where an image has no label), the further columns
            of the manifest under their names, and ``feature_0`` to ``feature_<n_features - 1>``
            in the type of the store. A further column that is called like one of these is
            ``metadata.<name>``. Text that is not UTF-8 has ``\xe9`` for a byte that does not
            decode; `paths` has the names themselves. Holds all features.

        Raises
        ------
        MissingDependencyError
            If pandas is not installed, with the install command.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> import numpy as np
        >>> from featx.store import write_features
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "f.h5"
        >>> store = write_features(path, np.eye(2), paths=["a.jpg", "b.jpg"], labels=["x", "y"])
        >>> store.to_pandas()
            path label  feature_0  feature_1
        0  a.jpg     x        1.0        0.0
        1  b.jpg     y        0.0        1.0
        """
        pandas = require("pandas", extra="pandas", purpose="FeatureStore.to_pandas")
        store = cast("FeatureStore", self)
        names = name_features(store.n_features)
        text = pandas.DataFrame(text_columns(store, reserved=names))
        return pandas.concat([text, pandas.DataFrame(store[:], columns=list(names))], axis=1)

    def to_arrow(self) -> Any:
        r"""Return the table as a table of Arrow, as ``featx export F.h5 OUT.parquet`` writes it.

        Returns
        -------
        pyarrow.Table
            Columns `path` and `label` (text; "" where an image has no label); the columns of the
            manifest, as int64 or float64 with null for what is missing where every value is a
            number, else as text; `digest` (SHA-256 of the image, "" where not known); and
            `features`, lists of fixed size in the type of the store. A column of the manifest that
            is called like another one is ``metadata_<name>``, and "_" stands for each "." of a
            name, which Lance takes in none. Text that is not UTF-8 has ``\xe9``
            for a byte that does not decode. The schema's metadata has ``featx_fingerprint`` and,
            as JSON, ``featx_recipe``. Holds all features.

        Raises
        ------
        MissingDependencyError
            If pyarrow is not installed, with the install command.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> import numpy as np
        >>> from featx.store import write_features
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "f.h5"
        >>> columns = {"year": ["2019", ""]}
        >>> store = write_features(path, np.eye(2), paths=["a.jpg", "b.jpg"], metadata=columns)
        >>> store.to_arrow().select(["path", "year", "features"]).to_pylist()
        [{'path': 'a.jpg', 'year': 2019, 'features': [1.0, 0.0]},
         {'path': 'b.jpg', 'year': None, 'features': [0.0, 1.0]}]
        """
        blocks = ArrowBlocks(cast("FeatureStore", self), 4096, purpose="FeatureStore.to_arrow")
        return blocks.arrow.Table.from_batches(blocks, blocks.schema)


class ArrowBlocks:
    """The rows of a store as record batches of one schema.

    Parameters
    ----------
    store : FeatureStore
        The table.
    n_rows : int
        Rows per batch; memory grows with it.
    purpose : str
        What needs pyarrow, for the message where it is missing.

    Attributes
    ----------
    arrow : module
        pyarrow.
    schema : pyarrow.Schema
        `path`, `label`, the columns of the manifest with their types, `digest`, `features`; and
        as notes the fingerprint and, as JSON, the recipe.
    """

    def __init__(self, store: FeatureStore, n_rows: int, *, purpose: str) -> None:
        self.arrow = arrow = require("pyarrow", extra="parquet", purpose=purpose)
        self._store, self._n_rows = store, n_rows
        text = text_columns(store, reserved=("digest", "features"))
        typed = {name: convert_column(values) for name, values in text.items()}
        typed |= {name: ("text", text[name]) for name in ("path", "label")}
        typed["digest"] = ("text", store.digests.tolist())
        names = _undot(list(typed))
        self._columns = [
            arrow.array(values, arrow.type_for_alias(TYPES[kind]))
            for kind, values in typed.values()
        ]
        vector = arrow.list_(arrow.from_numpy_dtype(store.dtype), store.n_features)
        fields = [
            *((name, column.type) for name, column in zip(names, self._columns, strict=True)),
            ("features", vector),
        ]
        notes = {"featx_fingerprint": store.fingerprint or ""}
        if store.recipe is not None:
            notes["featx_recipe"] = json.dumps(store.recipe.to_dict())
        self.schema = arrow.schema(fields, metadata=notes)

    def __iter__(self) -> Iterator[Any]:
        arrow, width = self.arrow, self._store.n_features
        for start, block in self._store.iter_blocks(self._n_rows):
            parts = [column.slice(start, len(block)) for column in self._columns]
            flat = arrow.array(block.reshape(-1))
            vectors = arrow.FixedSizeListArray.from_arrays(flat, width)
            yield arrow.RecordBatch.from_arrays([*parts, vectors], schema=self.schema)


def _undot(names: list[str]) -> list[str]:
    """Return names without ".", each once: Lance takes a dot for a field of a struct."""
    taken = {name for name in names if "." not in name}
    found = []
    for name in names:
        plain = name.replace(".", "_")
        while "." in name and plain in taken:
            plain += "_"
        taken.add(plain)
        found.append(plain)
    return found


def _list_few(names: list[str]) -> str:
    """Return the first names, and how many there are where that is not all."""
    text = ", ".join(names[:MAX_NAMES])
    return text if len(names) <= MAX_NAMES else f"{text}, ... ({len(names):,} in all)"
