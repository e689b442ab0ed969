"""The tables of a store: what each is, and which one was meant."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from featx._repr import OneLine
from featx.errors import FileFormatError, ParameterError, choose, nearest, require_count
from featx.recipe import Recipe, tell_apart
from featx.store._layout import read_attribute, table_key

__all__ = [
    "TableInfo",
    "choose_table",
    "list_tables",
    "new_table",
    "read_tables",
    "table_info",
]


@dataclass(frozen=True, repr=False)
class TableInfo(OneLine):
    """One table of a store.

    Parameters
    ----------
    key : str
        Name of its group below /tables: the fingerprint, or "outside".
    recipe : Recipe or None
        What the features were made with.
    n_samples, n_features : int
        Its shape.
    dtype : str
        "float32" or "float16".
    has_labels : bool
        Whether any image has one.
    made_with : dict
        Engine, device and versions of the last run that wrote to it.
    """

    key: str
    recipe: Recipe | None
    n_samples: int
    n_features: int
    dtype: str
    has_labels: bool = field(default=False, repr=False)
    made_with: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def fingerprint(self) -> str | None:
        """The recipe's; None for features made outside featx."""
        return None if self.recipe is None else self.key

    @property
    def backbone(self) -> str:
        """The recipe's backbone; "" without a recipe."""
        return self.recipe.backbone if self.recipe else ""

    @property
    def layer(self) -> str:
        """The recipe's layer; "" without a recipe."""
        return self.recipe.layer if self.recipe else ""

    @property
    def pooling(self) -> str:
        """The recipe's pooling; "" without a recipe."""
        return self.recipe.pooling if self.recipe else ""

    def __str__(self) -> str:
        shape = f"{self.n_samples} x {self.n_features}"
        if self.recipe is None:
            return f"{self.key} (made outside featx, {shape})"
        return f"{self.key} ({self.backbone}, {self.layer}, {self.pooling}, {shape})"


def table_info(key: str, group: Any) -> TableInfo:
    """Describe the table in an open group."""
    fields = json.loads(read_attribute(group, "recipe"))
    recipe = None if fields is None else Recipe.from_dict(fields)
    if table_key(recipe) != key:
        raise FileFormatError(
            f"table {key!r}: its recipe has fingerprint {table_key(recipe)!r}, expected the "
            "table's name; the file is damaged: extract into a new file"
        )
    features = group["features"]
    n_samples, n_features = features.shape
    # Else reading what is claimed, and not there, would go on for ever.
    if features.chunks and features.id.get_num_chunks() * features.chunks[0] < n_samples:
        raise FileFormatError(
            f"table {key!r}: claims {n_samples} rows, of which some are in no chunk of the file; "
            "it is damaged: extract into a new file"
        )
    return TableInfo(
        key,
        recipe,
        n_samples,
        n_features,
        features.dtype.name,
        bool(group.attrs["has_labels"]),
        dict(json.loads(read_attribute(group, "made_with"))),
    )


def read_tables(h5: Any) -> tuple[TableInfo, ...]:
    """Describe all tables of an open store."""
    return tuple(table_info(key, group) for key, group in h5["tables"].items())


def choose_table(
    path: str, tables: Sequence[TableInfo], wanted: str | None = None, **fields: str | None
) -> TableInfo:
    """Return the table whose key starts with `wanted`, and whose recipe has these fields.

    Parameters
    ----------
    path : str
        The store, for messages.
    tables : sequence of TableInfo
        All of the store's.
    wanted : str, optional
        A key, or enough of its start.
    **fields
        `backbone`, `layer`, `pooling`; None fits all.

    Raises
    ------
    ParameterError
        If none or several fit; the message tells them apart by the fields that differ.
    """
    asked = {name: value for name, value in fields.items() if value is not None}
    fits = [
        info
        for info in tables
        if (wanted is None or info.key.startswith(wanted))
        and all(getattr(info, name) == value for name, value in asked.items())
    ]
    exact = [info for info in fits if info.key == wanted]
    if len(fits) == 1 or exact:
        return (exact or fits)[0]
    if not tables:
        raise ParameterError(
            f"store {path!r} has no table yet: nothing was committed to it; extract into it first"
        )
    asked |= {} if wanted is None else {"table": wanted}
    words = ", ".join(f"{name}={value!r}" for name, value in asked.items())
    if not fits:
        raise ParameterError(
            f"store {path!r}: {words} fits none of its {len(tables)} tables: "
            f"{list_tables(tables, asked)}.{_nearest(asked, tables)}"
        )
    key = fits[0].key[:6]
    raise ParameterError(
        f"store {path!r} has {len(fits)} tables{f' with {words}' if words else ''}: "
        f"{list_tables(fits)}; choose one by what differs, or with table={key!r} (--table {key} "
        "on the command line)"
    )


def list_tables(tables: Sequence[TableInfo], fields: Iterable[str] = ()) -> str:
    """Name tables in one line, each with what tells it from the others, and with `fields`."""
    recipes = [info.recipe for info in tables if info.recipe is not None]
    differ = iter(tell_apart(recipes))
    parts = []
    for info in tables:
        words = "made outside featx" if info.recipe is None else next(differ)
        also = [f"{name} {getattr(info, name)!r}" for name in fields if hasattr(info, name)]
        details = [word for word in also if word not in words] + ([words] if words else [])
        parts.append(f"{info.key} ({', '.join(details)})" if details else info.key)
    return "; ".join(parts)


def _nearest(asked: Mapping[str, str], tables: Sequence[TableInfo]) -> str:
    """Say what was probably meant, for the first value that no table has."""
    for name, value in asked.items():
        values = [info.key if name == "table" else getattr(info, name) for info in tables]
        fits = (v.startswith(value) if name == "table" else v == value for v in values)
        if not any(fits):
            return nearest(value, values)
    return ""


def new_table(recipe: Recipe | None, n_features: int | None, dtype: str) -> TableInfo:
    """Describe a table that is to be made; without a recipe by its width and type.

    Raises
    ------
    ParameterError
        If these are none.
    """
    if recipe is not None:
        n_features, dtype = recipe.n_features, recipe.dtype
    require_count("n_features", n_features)
    choose("dtype", dtype, ("float32", "float16"))
    key = table_key(recipe)
    return TableInfo(key, recipe, 0, int(n_features or 0), dtype)
