"""Conditions on the columns of an index as people write them: ``price<=20``, ``label=cat``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx._values import is_missing
from featx.errors import ParameterError, choose

__all__ = ["RANGES", "Condition", "as_numbers", "parse_condition"]

RANGES = {"<=": np.less_equal, ">=": np.greater_equal, "<": np.less, ">": np.greater}
_OPERATOR = re.compile("<=|>=|!=|=|<|>")


@dataclass(frozen=True)
class Condition:
    """What a row must have in one column.

    Parameters
    ----------
    column : str
    operator : {"=", "!=", "<=", ">=", "<", ">"}
        Ranges compare numbers.
    value : str
    """

    column: str
    operator: str
    value: str


def parse_condition(text: str, columns: Iterable[str]) -> Condition:
    """Read a condition on one of some columns.

    Raises
    ------
    ParameterError
        If there is no operator, or no such column, with the nearest one.

    Examples
    --------
    >>> parse_condition("price<=20", ["label", "price"])
    Condition(column='price', operator='<=', value='20')
    """
    # the longest first, since a name may hold an operator itself
    for name in sorted(columns := list(columns), key=len, reverse=True):
        if text.startswith(name) and (found := _OPERATOR.match(text, len(name))):
            return Condition(name, found[0], text[found.end() :])
    found = _OPERATOR.search(text)
    if not found or not found.start():
        raise ParameterError(
            f"filter: got {text!r}, expected COLUMN=VALUE or a range, as label=cat or price<=20"
        )
    name = choose("filter column", text[: found.start()].strip(), sorted(columns))
    return Condition(name, found[0], text[found.end() :])


def as_numbers(name: str, values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return a column's values as numbers, NaN for what is missing.

    Raises
    ------
    ParameterError
        If a value is no number.
    """
    if values.dtype.kind not in "US":
        return values.astype(np.float64)
    different, codes = np.unique(values, return_inverse=True)
    numbers = [np.nan if is_missing(v) else _number(name, v) for v in different.tolist()]
    return np.array(numbers, np.float64)[codes]


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ParameterError(
            f"filter: column {name!r} has {value!r}, expected numbers alone where a range is asked"
        ) from None
