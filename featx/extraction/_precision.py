"""Go on with the precision of a table that exists, where none is asked for.

"auto" depends on the processor. Without this, the same command on another machine would make a
second table of everything.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from featx.errors import MissingDependencyError, ParameterError
from featx.extraction.notes import AS_TABLE
from featx.recipe import Recipe

if TYPE_CHECKING:
    from featx.extraction.loaded import LoadedEncoder

__all__ = ["follow_tables"]


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
