"""What a store holds, and which of its tables fits a model, an index or another store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from featx._repr import FieldTable
from featx.errors import FingerprintMismatchError
from featx.recipe import Recipe, describe_differences, require_same_recipe
from featx.store._container import Opened
from featx.store._failures import Failure, read_failures
from featx.store._layout import read_attribute
from featx.store._state import SettledFile
from featx.store.reader import FeatureStore
from featx.store.tables import TableInfo, choose_table, read_tables

__all__ = ["StoreInfo", "fitting_table", "open_fitting", "open_pair", "store_info"]

MAX_NAMED = 3


@dataclass(frozen=True, repr=False)
class StoreInfo(FieldTable):
    """Tables and failures of a store.

    Parameters
    ----------
    tables : tuple of TableInfo
        One for each recipe.
    failures : tuple of Failure
        Images that could not be read.
    creator : str
        The version of featx that made the file.
    """

    tables: tuple[TableInfo, ...]
    failures: tuple[Failure, ...]
    creator: str


def store_info(path: str | os.PathLike[str]) -> StoreInfo:
    """Say what a store holds, also while a writer adds to it; reads no features.

    Raises
    ------
    FileFormatError
        As `open_store`.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from featx.store import write_features
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "f.h5"
    >>> _ = write_features(path, [[1.0, 0.0]], paths=["a.jpg"])
    >>> [str(table) for table in store_info(path).tables]
    ['outside (made outside featx, 1 x 2)']
    """
    with SettledFile(path) as file:
        return file.read(_read, of_one_commit=True)


def _read(opened: Opened) -> StoreInfo:
    creator = read_attribute(opened.h5, "creator")
    return StoreInfo(read_tables(opened.h5), read_failures(opened.h5, opened.file), creator)


def open_fitting(
    path: str | os.PathLike[str],
    recipe: Recipe | None,
    *,
    maker: str,
    table: str | None = None,
) -> FeatureStore:
    """Open the table of a recipe, among whatever others the store has.

    Parameters
    ----------
    path : path or URL
        The store.
    recipe : Recipe or None
        None where it is not known, so that any table fits; one made outside featx comes first.
    maker : str
        What expects it, for the message, for example ``"model flowers.featx"``.
    table : str, optional
        The only table to take, as for `open_store`.

    Raises
    ------
    FingerprintMismatchError
        If no table fits, with the fields in which they differ.
    ParameterError
        If `recipe` is None and several tables fit, or `table` fits none.
    """
    name, tables = os.fspath(path), store_info(path).tables
    if table is not None or not tables:
        tables = (choose_table(name, tables, table),)
    return FeatureStore(path, table=_choose(name, tables, recipe, maker).key)


def fitting_table(store: FeatureStore, recipe: Recipe | None, *, maker: str) -> FeatureStore:
    """Return the store if its table fits a recipe, else the table of the same file that does.

    Raises
    ------
    FingerprintMismatchError
        If none does, with the fields in which they differ.
    """
    if recipe is None or store.recipe is None or store.fingerprint == recipe.fingerprint:
        return store
    key = _choose(store.path, store.tables, recipe, maker).key
    return FeatureStore(store.path, table=key)


def open_pair(
    path: str | os.PathLike[str], other: str | os.PathLike[str], *, table: str | None = None
) -> tuple[FeatureStore, FeatureStore]:
    """Open the tables of two stores that have one recipe: the only one that both have.

    Parameters
    ----------
    path, other : path or URL
        The stores.
    table : str, optional
        The first store's table, as for `open_store`.

    Raises
    ------
    ParameterError, FingerprintMismatchError
        As `open_store` for the first, as `open_fitting` for the second.
    """
    if table is None:
        theirs = {info.key for info in store_info(other).tables}
        common = [info.key for info in store_info(path).tables if info.key in theirs]
        table = common[0] if len(common) == 1 else None
    first = FeatureStore(path, table=table)
    try:
        return first, open_fitting(other, first.recipe, maker=f"store {first.path}")
    except BaseException:
        first.close()
        raise


def _choose(
    path: str, tables: Sequence[TableInfo], recipe: Recipe | None, maker: str
) -> TableInfo:
    if recipe is None:
        return choose_table(path, [info for info in tables if info.recipe is None] or tables)
    for info in tables:
        if info.fingerprint == recipe.fingerprint:
            return info
    for info in tables:
        # Of features made outside featx nothing is known that could disagree, but their width.
        if info.recipe is None and (len(tables) == 1 or info.n_features == recipe.n_features):
            return info
    others = [info for info in tables if info.recipe is not None]
    if len(others) == 1:
        require_same_recipe(others[0].recipe, recipe, thing=path, maker=maker)
    others.sort(key=lambda info: len(info.recipe.differences(recipe)) if info.recipe else 0)
    differences = [
        f"{info.key} ({describe_differences(info.recipe, recipe)})"
        for info in others[:MAX_NAMED]
        if info.recipe is not None
    ]
    more = "; ..." if len(others) > MAX_NAMED else ""
    raise FingerprintMismatchError(
        f"{path}: none of its {len(tables)} tables fits {maker}, which was made with recipe "
        f"{recipe.fingerprint}: {'; '.join(differences)}{more}; extract again with the expected "
        f"settings, or make the {maker.split()[0]} again from one of these tables"
    )
