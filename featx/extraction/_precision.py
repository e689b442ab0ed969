"""Go on with the precision of a table that exists, where none is asked for.

"auto" depends on the processor. Without this, the same command on another machine would make a
second table of everything.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from featx.errors import FeatxError, MissingDependencyError, ParameterError
from featx.extraction._shards import shards_folder
from featx.recipe import Recipe
from featx.store import TableInfo, store_info

if TYPE_CHECKING:
    from featx.extraction.loaded import LoadedEncoder

__all__ = ["AS_TABLE", "follow_tables", "known_recipes"]

AS_TABLE = "auto: as the table that exists"


def known_recipes(store: str | os.PathLike[str]) -> list[Recipe]:
    """Return the recipes that a store and its shards have tables of, the largest first.

    What cannot be read is left out: whoever writes there says what is wrong with it.
    """
    folder = shards_folder(store)
    shards = sorted(folder.glob("*.h5")) if folder.is_dir() else []
    tables: list[TableInfo] = []
    for path in (Path(store), *shards):
        with contextlib.suppress(FeatxError, OSError):
            tables += store_info(path).tables if path.is_file() else ()
    tables.sort(key=lambda table: -table.n_samples)
    return [table.recipe for table in tables if table.recipe is not None]


def follow_tables(
    loaded: LoadedEncoder, known: Sequence[Recipe], prepare: Callable[[str], LoadedEncoder]
) -> LoadedEncoder:
    """Return the loaded encoder, or one in the precision of tables that differ in nothing else.

    Parameters
    ----------
    loaded : LoadedEncoder
        In the precision that this machine takes by itself, which wins where tables have it too.
    known : sequence of Recipe
        Of the tables, the largest first.
    prepare : callable
        Makes the loaded encoder in another precision.

    Returns
    -------
    LoadedEncoder
        Its `precision_reason` says what was done and why.
    """
    own = loaded.backbone.precision
    counts = Counter(
        recipe.precision
        for recipe in known
        for mine in loaded.recipes
        if dataclasses.replace(mine, precision=recipe.precision) == recipe
    )
    for precision, n in counts.most_common():
        if precision == own or n <= counts[own]:
            break
        problem = _problem(precision, loaded)
        if problem is None:
            try:
                other = prepare(precision)
            except (ParameterError, MissingDependencyError) as err:
                problem = str(err)
            else:
                reason = f"{AS_TABLE} (this machine would take {own})"
                return dataclasses.replace(other, precision_reason=reason)
        reason = (
            f"{loaded.precision_reason}; a table in {precision} exists, which cannot be "
            f"gone on with here: {problem}"
        )
        loaded = dataclasses.replace(loaded, precision_reason=reason)
    return loaded


def _problem(precision: str, loaded: LoadedEncoder) -> str | None:
    from featx.engines import why_not_precision

    return why_not_precision(precision, loaded.backbone.device)
