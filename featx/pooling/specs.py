"""From the text that a user writes to a pooling: ``"gem(2.5)"``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from featx.errors import ParameterError, nearest
from featx.pooling.base import Pooling
from featx.pooling.crow import CroWPooling
from featx.pooling.gem import GeMPooling
from featx.pooling.reshape import ClassTokenPooling, FlattenPooling, NoPooling
from featx.pooling.rmac import RMACPooling
from featx.pooling.simple import AveragePooling, MaxPooling
from featx.pooling.spoc import SPoCPooling

__all__ = ["POOLINGS", "get_pooling"]

POOLINGS: dict[str, Callable[[], Pooling]] = {
    "avg": AveragePooling,
    "max": MaxPooling,
    "gem": GeMPooling,
    "spoc": SPoCPooling,
    "crow": CroWPooling,
    "rmac": RMACPooling,
    "cls": ClassTokenPooling,
    "flatten": FlattenPooling,
    "none": NoPooling,
}
ALIASES = {"mac": "max", "r-mac": "rmac"}
_N = TypeVar("_N", int, float)
_SPEC = re.compile(r"\s*([a-z-]+)\s*(?:\(([^()]*)\))?\s*")


def get_pooling(spec: str) -> Pooling:
    """Make the pooling that a spec names.

    Parameters
    ----------
    spec : str
        "avg", "max" (also "mac"), "gem" or "gem(p)" (p defaults to 3), "spoc", "crow", "rmac" or
        "rmac(n_scales)" (defaults to 3), "cls", "flatten", "none". Case does not matter.

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
    name = ALIASES.get(written, written)
    if name not in POOLINGS:
        raise ParameterError(
            f"pooling: got {spec!r}, expected one of {', '.join(POOLINGS)} (also "
            f"{', '.join(ALIASES)}).{nearest(written, [*POOLINGS, *ALIASES])}"
        )
    if argument is None:
        return POOLINGS[name]()
    if name == "gem":
        return GeMPooling(_number(spec, argument, float, "a number"))
    if name == "rmac":
        return RMACPooling(_number(spec, argument, int, "a whole number"))
    raise ParameterError(f"pooling: got {spec!r}, but {name!r} takes no parameter; write {name!r}")


def _number(spec: str, text: str, kind: type[_N], expected: str) -> _N:
    try:
        return kind(text)
    except ValueError:
        raise ParameterError(
            f"pooling: got {spec!r}, expected {expected} in the parentheses, found {text!r}; "
            "for example 'gem(3)'"
        ) from None
