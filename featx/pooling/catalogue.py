"""From the text that a user writes to a pooling: ``"gem(2.5)"``."""

from __future__ import annotations

import dataclasses
import re

from featx.errors import ParameterError, nearest
from featx.pooling.base import Pooling
from featx.pooling.rmac import RMACPooling
from featx.pooling.simple import (
    AveragePooling,
    ClassTokenPooling,
    FlattenPooling,
    GeMPooling,
    MaxPooling,
    NoPooling,
)
from featx.pooling.tokens import ClassAndPatchPooling, PatchPooling, TokenPooling
from featx.pooling.weighted import CroWPooling, SPoCPooling

__all__ = ["POOLINGS", "get_pooling"]

_KINDS: tuple[type[Pooling], ...] = (
    AveragePooling,
    MaxPooling,
    GeMPooling,
    SPoCPooling,
    CroWPooling,
    RMACPooling,
    ClassTokenPooling,
    ClassAndPatchPooling,
    PatchPooling,
    FlattenPooling,
    NoPooling,
)
POOLINGS = {kind.word: kind for kind in _KINDS}
ALIASES = {"mac": "max", "r-mac": "rmac"}
_SPEC = re.compile(r"\s*([a-z+-]+)\s*(?:\(([^()]*)\))?\s*")


def get_pooling(spec: str) -> Pooling:
    """Make the pooling that a spec names.

    Parameters
    ----------
    spec : str
        "avg", "max" (also "mac"), "gem" or "gem(p)" (p defaults to 3), "spoc", "crow", "rmac" or
        "rmac(n_scales)" (defaults to 3), "cls", "cls+avg", "patch", "flatten", "none". Case does
        not matter.

    Returns
    -------
    Pooling
        Its `name` is the canonical spec, with defaults filled in.

    Raises
    ------
    ParameterError
        If there is no such pooling, or its parameter cannot be used.

    Examples
    --------
    >>> get_pooling("gem").name, get_pooling("GeM( 2.50 )").name, get_pooling("mac").name
    ('gem(3)', 'gem(2.5)', 'max')
    """
    match = _SPEC.fullmatch(str(spec).lower())
    if match is None:
        raise ParameterError(
            f"pooling: got {spec!r}, expected a name, or a name with one number as in 'gem(3)'"
        )
    written, argument = match.groups()
    kind = POOLINGS.get(ALIASES.get(written, written))
    if kind is None:
        raise ParameterError(
            f"pooling: got {spec!r}, expected one of {', '.join(POOLINGS)} (also "
            f"{', '.join(ALIASES)}).{nearest(written, [*POOLINGS, *ALIASES])}"
        )
    if argument is None:
        return kind()
    fields = () if issubclass(kind, TokenPooling) else dataclasses.fields(kind)
    parameter = next(iter(fields), None)
    if parameter is None:
        raise ParameterError(
            f"pooling: got {spec!r}, but {kind.word!r} takes no parameter; write {kind.word!r}"
        )
    is_whole = isinstance(parameter.default, int)
    try:
        number = int(argument) if is_whole else float(argument)
    except ValueError:
        raise ParameterError(
            f"pooling: got {spec!r}, expected a {'whole ' if is_whole else ''}number in the "
            f"parentheses, found {argument!r}; for example {kind().name!r}"
        ) from None
    return dataclasses.replace(kind(), **{parameter.name: number})
