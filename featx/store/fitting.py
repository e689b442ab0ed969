"""The table of a store that fits what a model, an index or another store was made with."""

from __future__ import annotations

import os
from collections.abc import Sequence

from featx.errors import FingerprintMismatchError
from featx.recipe import Recipe, describe_differences, require_same_recipe
from featx.store._tables import TableInfo, choose_table
from featx.store.info import store_info
from featx.store.reader import FeatureStore

__all__ = ["fitting_table", "open_fitting", "open_pair"]

MAX_TOLD = 3


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
    told = [
        f"{info.key} ({describe_differences(info.recipe, recipe)})"
        for info in others[:MAX_TOLD]
        if info.recipe is not None
    ]
    raise FingerprintMismatchError(
        f"{path}: none of its {len(tables)} tables fits {maker}, which was made with recipe "
        f"{recipe.fingerprint}: {'; '.join(told)}{'; ...' if len(others) > MAX_TOLD else ''}; "
        f"extract again with the expected settings, or make the {maker.split()[0]} anew from one "
        "of these tables"
    )
