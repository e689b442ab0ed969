"""Conditions of ``--filter`` on the columns of a database, for any engine to write down."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from featx.errors import ParameterError, require_number
from featx.files.paths import read_shown
from featx.retrieval.filters import parse_condition

__all__ = ["Clause", "parse_clauses", "write_clauses"]

Column = tuple[str, str, str]  # its name in the database, in the store, and its type


@dataclass(frozen=True)
class Clause:
    """What a row must have in one column.

    Parameters
    ----------
    column : str
        As the database calls it.
    operator : {"in", "not in", "<=", ">=", "<", ">"}
    values : tuple of str, int or float
        One for a range.
    missing : bool
        Whether a missing number is let through.
    """

    column: str
    operator: str
    values: tuple[Any, ...]
    missing: bool = False


def parse_clauses(
    words: str | Iterable[str] | None, columns: Sequence[Column]
) -> tuple[Clause, ...]:
    """Read conditions as an index takes them; "id" is the path, as there.

    Raises
    ------
    ParameterError
        If a column is unknown, or is text and compared as a number.
    """
    by_name = {theirs: (ours, kind) for ours, theirs, kind in columns}
    by_name["id"] = by_name["path"]
    wanted: dict[str, list[str]] = {}
    clauses = []
    for word in [words] if isinstance(words, str) else words or ():
        one = parse_condition(word, by_name)
        ours, kind = by_name[one.column]
        if one.operator == "=":
            wanted.setdefault(one.column, []).append(one.value)
        elif one.operator == "!=":
            clauses.append(_compare("not in", ours, kind, [one.value]))
        else:
            clauses.append(_limit(word, ours, kind, one.operator, one.value))
    return (*clauses, *(_compare("in", *by_name[name], wanted[name]) for name in wanted))


def _compare(operator: str, column: str, kind: str, values: list[str]) -> Clause:
    if kind == "text":
        shown = [read_shown(value) for value in values]
        return Clause(column, operator, tuple(dict.fromkeys([*values, *shown])))
    numbers = []
    for value in filter(None, values):
        try:
            numbers.append(int(value) if kind == "integer" else float(value))
        except ValueError:
            continue  # text that no row of a column of numbers has
    return Clause(column, operator, tuple(numbers), ("" in values) == (operator == "in"))


def _limit(word: str, column: str, kind: str, operator: str, value: str) -> Clause:
    if kind == "text":
        raise ParameterError(
            f"filter: got {word!r}, but the database holds {column!r} as text, expected a column "
            "of numbers; compare it with = or !="
        )
    try:
        limit = float(value)
    except ValueError:
        raise ParameterError(f"filter {word}: got {value!r}, expected a number") from None
    require_number(f"filter {word}", limit)
    if kind == "integer":  # some engines compare integers with integers alone
        whole = math.ceil(limit) if operator in ("<", ">=") else math.floor(limit)
        return Clause(column, operator, (max(-(2**62), min(whole, 2**62)),))
    return Clause(column, operator, (limit,))


def write_clauses(
    clauses: Sequence[Clause],
    literal: Callable[[Any], str],
    *,
    quote: str = '"',
    brackets: str = "()",
) -> str:
    r"""Write clauses as an expression of SQL, or of what resembles it; "" for none.

    Parameters
    ----------
    clauses : sequence of Clause
    literal : callable
        Writes a value, or a mark that stands for it.
    quote, brackets : str
        What encloses names, and lists.

    Examples
    --------
    >>> write_clauses([Clause("label", "in", ("cat", "dog")), Clause("price", "<", (3.0,))], repr)
    '("label" in (\'cat\', \'dog\')) and ("price" < 3.0)'
    >>> write_clauses([Clause("price", "not in", (3,), missing=True)], repr)
    '("price" not in (3) or "price" is null)'
    """
    parts = []
    for clause in clauses:
        name = f"{quote}{clause.column}{quote}"
        if clause.operator not in ("in", "not in"):
            parts.append(f"({name} {clause.operator} {literal(clause.values[0])})")
            continue
        values = ", ".join(map(literal, clause.values))
        some = [f"{name} {clause.operator} {brackets[0]}{values}{brackets[1]}"]
        if not clause.values:  # an empty list fits nothing, and a list without it everything
            some = [] if clause.operator == "in" else [f"{name} is not null"]
        if clause.missing:
            some.append(f"{name} is null")
        parts.append(f"({' or '.join(some) or f'{name} is null and {name} is not null'})")
    return " and ".join(parts)
