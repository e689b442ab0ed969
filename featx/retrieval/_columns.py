"""What goes beside the vectors: an id, a label and metadata for each row, and choosing by them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx._values import as_columns, as_text, as_texts, is_missing, plain_values
from featx.errors import ParameterError, choose, nearest, require_number
from featx.files.paths import read_shown
from featx.retrieval._vectors import Mask
from featx.retrieval.filters import RANGES, Condition, as_numbers, parse_condition
from featx.store import FeatureStore

__all__ = ["Columns", "is_text"]

FEW_VALUES = 20  # that a message lists


@dataclass(frozen=True)
class Columns:
    """Names, labels and metadata of the rows of an index.

    Parameters
    ----------
    ids : ndarray of shape (n_samples,), int or str
        Each once.
    labels : ndarray of shape (n_samples,), or None
    metadata : dict of str to ndarray of shape (n_samples,)
    digests : ndarray of shape (n_samples,), str, or None
        SHA-256 of the images' files, "" where it is not known.
    """

    ids: NDArray[Any]
    labels: NDArray[Any] | None
    metadata: dict[str, NDArray[Any]]
    digests: NDArray[np.str_] | None = None
    _numbers: dict[str, NDArray[np.float64]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of(
        cls,
        X: Any,
        n: int,
        ids: Any,
        labels: Any,
        metadata: Any,
        digests: Any = None,
        *,
        first: int = 0,
    ) -> Columns:
        """Check what is given for n rows; what is not is taken from X, where X is a store.

        Parameters
        ----------
        first : int, default 0
            Where row numbers begin that stand for ids.
        """
        store = cls(np.arange(first, first + n), None, {})
        if isinstance(X, FeatureStore):
            store = cls(X.paths, X.labels, X.metadata, X.digests)
        columns = as_columns(metadata).items()
        return cls(
            store.ids if ids is None else _check_ids(ids, n),
            store.labels if labels is None else _check_column("labels", labels, n),
            store.metadata
            if metadata is None
            else {k: _check_column(f"metadata {k!r}", v, n) for k, v in columns},
            store.digests if digests is None else _check_column("digests", digests, n),
        )

    def join(self, other: Columns) -> Columns:
        """Return these rows and then those of another, which must have the same columns."""
        if (other.labels is None) != (self.labels is None):
            got, expected = ("none", "one") if other.labels is None else ("some", "none")
            raise ParameterError(
                f"labels: got {got}, expected {expected} for each row, as the index has"
            )
        if set(other.metadata) != set(self.metadata):
            raise ParameterError(
                f"metadata: got {sorted(other.metadata)}, expected {sorted(self.metadata)}, the "
                "columns of the index"
            )
        # no ids have no type
        ids = np.concatenate([self.ids, other.ids]) if len(self.ids) else other.ids
        return Columns(
            _check_ids(ids, len(ids)),
            None if self.labels is None else np.concatenate([self.labels, other.labels]),
            {k: np.concatenate([v, other.metadata[k]]) for k, v in self.metadata.items()},
            _join_digests(self, other),
        )

    def select(self, rows: Any) -> Columns:
        """Return some rows, by number or mask."""
        labels = None if self.labels is None else self.labels[rows]
        digests = None if self.digests is None else self.digests[rows]
        metadata = {k: v[rows] for k, v in self.metadata.items()}
        return Columns(self.ids[rows], labels, metadata, digests)

    def with_labels(self, labels: Any) -> Columns:
        """Return these rows with other labels."""
        return replace(self, labels=_check_column("labels", labels, len(self.ids)))

    def rows_of(self, ids: Any) -> NDArray[np.intp]:
        """Return the rows of ids.

        Raises
        ------
        ParameterError
            If an id is not there, with the nearest one.
        """
        wanted = [ids] if isinstance(ids, str | int | np.integer) else list(ids)
        row = {name: i for i, name in enumerate(self.ids.tolist())}
        wanted = [i.item() if isinstance(i, np.generic) else i for i in wanted]
        missing = [name for name in wanted if name not in row]
        if missing:
            raise ParameterError(
                f"ids: got {missing[0]!r} ({len(missing)} such ids), expected ids of the index."
                f"{nearest(str(missing[0]), map(str, row))}"
            )
        return np.array([row[name] for name in wanted], np.intp)

    def mask(self, where: Any) -> Mask | None:
        """Say which rows a filter lets through; None lets through all.

        Parameters
        ----------
        where : str, sequence of str, dict, array-like of shape (n_samples,), bool, or None
            Text is a condition on a column ("label", "id" or one of the metadata), as "label=cat"
            or "price<=20"; all must hold, but several values of one column are alternatives. A
            dict names columns and the value, or the list of values, that a row must have in each.

        Raises
        ------
        ParameterError
            If a column is unknown or no number where it is compared as one, the mask does not
            fit, or nothing is let through.
        """
        allowed = self.fitting(where)
        if allowed is not None and not allowed.any():
            hint = self._suggest(self._equalities(where))
            raise ParameterError(f"filter: no row of the index fits {where!r}.{hint}")
        return allowed

    def fitting(self, where: Any, names: Sequence[str] | None = None) -> Mask | None:
        """Do what `mask` does, but let nothing through where no row fits.

        Parameters
        ----------
        names : sequence of str, optional
            Columns that conditions in text may name. Default: all.
        """
        if where is None:
            return None
        n = len(self.ids)
        if is_text(where):
            allowed = self._mask_of(where, self._all() if names is None else names)
        elif isinstance(where, Mapping):
            allowed = np.ones(n, bool)
            for name, value in where.items():
                allowed &= _is_in(self._column(str(name)), value)
        else:
            allowed = np.asarray(where)
            if allowed.dtype == object:  # what is missing is not let through, as in pandas
                allowed = np.array([not is_missing(v) and v for v in allowed.tolist()])
            if allowed.dtype != bool or allowed.shape != (n,):
                raise ParameterError(
                    f"filter: got {allowed.dtype} of shape {allowed.shape}, expected a dict of "
                    f"columns and values, or bool of shape ({n},), one for each row"
                )
        return allowed

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return a column's values as numbers, NaN for what is missing.

        Raises
        ------
        ParameterError
            If there is no such column, or a value is no number.
        """
        if name not in self._numbers:  # a column of text is read once
            self._numbers[name] = as_numbers(name, self._column(name))
        return self._numbers[name]

    def _mask_of(self, words: str | Sequence[str], names: Iterable[str]) -> Mask:
        """Say which rows fit all of some conditions; those of "=" on one column are one."""
        asked = [words] if isinstance(words, str) else words
        conditions = [parse_condition(word, names) for word in asked]
        wanted: dict[str, list[str]] = {}
        allowed = np.ones(len(self.ids), bool)
        for one in conditions:
            # as answers show it, or as it is
            values = list(dict.fromkeys((one.value, read_shown(one.value))))
            if one.operator == "=":
                wanted.setdefault(one.column, []).extend(values)
            elif one.operator == "!=":
                allowed &= ~_is_in(self._column(one.column), values)
            else:
                allowed &= self._is_in_range(one)
        for name, values in wanted.items():
            allowed &= _is_in(self._column(name), values)
        return allowed

    def _is_in_range(self, condition: Condition) -> Mask:
        """Compare as numbers; what is missing is in no range."""
        text = f"filter {condition.column}{condition.operator}{condition.value}"
        try:
            limit = float(condition.value)
        except ValueError:
            raise ParameterError(f"{text}: got {condition.value!r}, expected a number") from None
        require_number(text, limit)
        is_in: Mask = RANGES[condition.operator](self.numbers(condition.column), limit)
        return is_in

    def _all(self) -> dict[str, NDArray[Any]]:
        labels = {} if self.labels is None else {"label": self.labels}
        return {"id": self.ids, **self.metadata, **labels}

    def _column(self, name: str) -> NDArray[Any]:
        columns = self._all()
        return columns[choose("filter column", name, sorted(columns))]

    def _equalities(self, where: Any) -> dict[str, Any]:
        """Return the columns and values that a filter asks to be equal."""
        if isinstance(where, Mapping):
            return dict(where)
        asked = [where] if isinstance(where, str) else where if is_text(where) else []
        conditions = [parse_condition(word, self._all()) for word in asked]
        return {one.column: one.value for one in conditions if one.operator == "="}

    def _suggest(self, where: Mapping[str, Any]) -> str:
        """Give the nearest value, or all few, for the first text that no row has."""
        for name, value in where.items():
            values = {str(v) for v in np.unique(self._column(str(name))).tolist()}
            if isinstance(value, str) and value not in values:
                few = f" {name} is one of {', '.join(map(repr, sorted(values)))}."
                return nearest(value, values) + (few if len(values) <= FEW_VALUES else "")
        return ""


def is_text(where: Any) -> bool:
    """Tell whether a filter is conditions in text."""
    if isinstance(where, list | tuple):
        return bool(where) and all(isinstance(word, str) for word in where)
    return isinstance(where, str)


def _join_digests(first: Columns, second: Columns) -> NDArray[np.str_] | None:
    """Join those of two parts; "" for the rows of a part that has none."""
    parts = [
        np.zeros(len(part.ids), "U64") if part.digests is None else part.digests
        for part in (first, second)
    ]
    digests = np.concatenate(parts)
    return digests if (digests != "").any() else None


def _is_in(values: NDArray[Any], wanted: Any) -> Mask:
    is_one = isinstance(wanted, str | bytes) or not isinstance(wanted, Iterable)
    one_of = [wanted] if is_one else list(wanted)
    # text stays text: numpy would make '1' of 1, and compare False with nothing
    if values.dtype.kind in "US":
        names = [v for v in one_of if isinstance(v, str)] + [as_text(v) for v in one_of]
        return np.isin(values, np.array(names))
    if all(isinstance(v, str) for v in one_of):  # of a condition in text
        return np.isin(values.astype(str), np.array(one_of))
    return np.isin(values, np.array(one_of))


def _check_column(name: str, values: Any, n: int) -> NDArray[Any]:
    """Return one value per row: numbers where all are, else text, "" for what is missing.

    Raises
    ------
    ParameterError
        If there are not n of them.
    """
    found = values if isinstance(values, np.ndarray) else np.asarray(plain_values(values, name))
    if found.shape != (n,):
        raise ParameterError(f"{name}: got shape {found.shape}, expected ({n},), one for each row")
    is_number = found.dtype.kind in "iub" or (found.dtype.kind == "f" and np.isfinite(found).all())
    return found if is_number else np.array(as_texts(values, name), dtype=np.str_)


def _check_ids(ids: Any, n: int) -> NDArray[Any]:
    """Return n different ids, text or integers.

    Raises
    ------
    ParameterError
        If they are anything else.
    """
    is_plain = isinstance(ids, np.ndarray) and ids.dtype.kind in "iuU"
    given = ids if is_plain else plain_values(ids, "ids")
    missing = [] if is_plain else [i for i, v in enumerate(given) if is_missing(v, words=False)]
    if missing:
        raise ParameterError(
            f"ids: row {missing[0]} has none ({given[missing[0]]!r}), expected one"
        )
    names = np.asarray(given)
    if names.shape != (n,):
        raise ParameterError(f"ids: got shape {names.shape}, expected ({n},), one for each row")
    if names.dtype.kind not in "iuU":
        raise ParameterError(f"ids: got {names.dtype}, expected text or integers")
    different, counts = np.unique(names, return_counts=True)
    if len(different) < n:
        twice = different[counts > 1][0].item()
        raise ParameterError(f"ids: got {twice!r} more than once, expected each id once")
    return names
