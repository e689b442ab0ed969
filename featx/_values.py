"""Values of tables as text: what is missing, what is the same, and the columns of data frames.

A CSV, a data frame and a list that hold the same values give the same text here, so that the
command line and Python agree. Nothing imports pandas, polars or pyarrow: their frames are known by
their methods.
"""

from __future__ import annotations

import contextlib
import re
import unicodedata
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import FeatxWarning, ParameterError

__all__ = [
    "WORDS",
    "answer_array",
    "as_columns",
    "as_text",
    "as_texts",
    "float_array",
    "frame_columns",
    "is_frame",
    "is_missing",
    "label_array",
    "plain_values",
    "require_known",
]

# What programs write where a number is missing.
MARKS = frozenset({
    "", "nan", "NaN", "-nan", "-NaN", "<NA>", "NaT", "#N/A", "#N/A N/A", "#NA",
    "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN",
})  # fmt: skip
WORDS = frozenset({"NA", "N/A", "n/a", "NULL", "null", "None"})
"""The other words that pandas reads as missing, which could also be the name of a class."""

_MISSING_TYPES = ("NAType", "NaTType", "MaskedConstant")
_WHOLE = re.compile(r"-?\d+\.0+")


def is_missing(value: Any, *, words: bool = True) -> bool:
    """Say whether a value means "not known": None, NaN, NaT, pandas' NA, or text for these.

    Parameters
    ----------
    value : Any
        One value; text is stripped first.
    words : bool, default True
        Whether the words in `WORDS` mean it too, as they do in tables.
    """
    if isinstance(value, str):
        text = value.strip()
        return text in MARKS or (words and text in WORDS)
    if value is None or type(value).__name__ in _MISSING_TYPES:
        return True
    try:
        return bool(value != value)
    except (TypeError, ValueError):
        return False


def as_text(value: Any) -> str:
    """Return a value of a table as text.

    Parameters
    ----------
    value : Any
        Text, bytes, a number, or what is missing.

    Returns
    -------
    str
        "" for what is missing; else without white space around it, in Unicode's composed form
        (NFC), and a whole number without decimals.

    Examples
    --------
    >>> [as_text(value) for value in (" cat", b"cat", 1, 1.0, "1.0", 0.5, True, None, "nan")]
    ['cat', 'cat', '1', '1', '1', '0.5', 'True', '', '']
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if is_missing(value):
        return ""
    text = str(value).strip()
    if _WHOLE.fullmatch(text):
        return str(int(text.partition(".")[0]))
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def as_texts(values: Iterable[Any], name: str) -> list[str]:
    """Return a column as text, one value each, as `as_text` does.

    Raises
    ------
    ParameterError
        If `values` is a single text, or a mapping, which has no order that could be meant.

    Warns
    -----
    FeatxWarning
        If one of `WORDS` is taken as missing, since it could be the name of a class.
    """
    plain = plain_values(values, name)
    # Each text once: of a million labels few differ.
    known = {text: as_text(text) for text in dict.fromkeys(v for v in plain if type(v) is str)}
    words = [word for word in known if word.strip() in WORDS]
    if words:
        warnings.warn(
            f"{name}: {words[0].strip()!r} is taken as missing, as pandas does; write another "
            "word where it is a name",
            FeatxWarning,
            stacklevel=3,
        )
    return [known[v] if type(v) is str else as_text(v) for v in plain]


def plain_values(values: Any, name: str) -> list[Any]:
    """Return the values of a list, an array, or a column of pandas, polars or pyarrow."""
    if isinstance(values, str | bytes | Mapping) or is_frame(values):
        raise ParameterError(
            f"{name}: got {type(values).__name__}, expected a list, an array or one column of a "
            "data frame, with one value for each row"
        )
    if getattr(values, "dtype", None) in (np.float16, np.float32):
        return list(np.asarray(values))  # as text 0.1, where Python's numbers have more digits
    for method in ("to_pylist", "tolist", "to_list"):
        if hasattr(values, method):
            return list(getattr(values, method)())
    return list(values)


def is_frame(value: Any) -> bool:
    """Say whether a value is a data frame of pandas or polars, or a table of pyarrow."""
    return (hasattr(value, "columns") or hasattr(value, "column_names")) and hasattr(
        value, "shape"
    )


def frame_columns(frame: Any) -> dict[str, list[Any]]:
    """Return the columns of a data frame by name; a named index of pandas is a column too.

    Raises
    ------
    ParameterError
        If two columns have one name.
    """
    index_names = getattr(getattr(frame, "index", None), "names", [])
    if any(name is not None and name not in frame.columns for name in index_names):
        frame = frame.reset_index()
    names = [str(name) for name in getattr(frame, "column_names", None) or frame.columns]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ParameterError(
            f"data frame: got the column {min(twice)!r} more than once, expected different names"
        )
    if hasattr(frame, "iloc"):
        return {name: plain_values(frame.iloc[:, i], name) for i, name in enumerate(names)}
    return {name: plain_values(frame[name], name) for name in names}


def as_columns(columns: Any) -> dict[str, Any]:
    """Return a data frame, or a mapping of columns, as a dict of columns; None gives none."""
    if columns is None:
        return {}
    return frame_columns(columns) if is_frame(columns) else {str(k): columns[k] for k in columns}


def float_array(values: Any) -> NDArray[np.float64]:
    """Return numbers of any shape, NaN for what is missing, pandas' NA and None included.

    Raises
    ------
    ValueError
        If something else is no number, with its row.
    """
    if np.ma.is_masked(values):
        values = values.tolist()  # None for what is masked
    with contextlib.suppress(TypeError, ValueError):
        return np.asarray(values, dtype=np.float64)
    array = np.asarray(values, dtype=object)
    numbers = np.full(array.shape, np.nan)
    for place, value in np.ndenumerate(array):
        if not is_missing(value, words=False):
            try:
                numbers[place] = float(value)
            except (TypeError, ValueError) as err:
                where = f"row {place[0]}" if place else "the value"
                raise ValueError(f"{where} has {value!r}, which is no number") from err
    return numbers


def answer_array(
    y: Any, name: str = "y", columns: Sequence[str] | None = None
) -> NDArray[np.float64]:
    """Return answers to yes-or-no questions: 1, 0, and NaN for what is not known.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_attributes)
        1 or True for yes, 0 or False for no, NaN, None or pandas' NA for not known.
    name : str, default "y"
        What the caller calls them, for the message.
    columns : sequence of str, optional
        Names of the attributes, for the message.

    Raises
    ------
    ParameterError
        Naming the first value that is something else.
    """
    expected = "expected 1 for yes, 0 for no or NaN for not known"
    try:
        answers = float_array(y)
    except (TypeError, ValueError) as err:
        raise ParameterError(f"{name}: {err}; {expected} in every column") from err
    wrong = np.argwhere(~((answers == 0) | (answers == 1) | np.isnan(answers)))
    if len(wrong):
        row, *place = wrong[0].tolist()
        which = "".join(f", attribute {(columns[c] if columns else c)!r}" for c in place)
        raise ParameterError(
            f"{name}: got {float(answers[tuple(wrong[0])])!r} for sample {row}{which}, "
            f"{expected}; turn -1 into the one that you mean"
        )
    return answers


def label_array(y: Any) -> NDArray[Any]:
    """Return labels as an array; of objects where something is missing beside text or masked.

    NumPy alone makes the text 'nan' of a NaN beside text, and takes what a mask hides.
    """
    y = y.tolist() if np.ma.is_masked(y) else y
    array = np.asarray(y)
    if isinstance(y, np.ndarray) or array.dtype.kind not in "US" or array.ndim != 1:
        return array
    values = plain_values(y, "y")
    if all(isinstance(value, str | bytes) for value in values):
        return array
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found if any(is_missing(value, words=False) for value in values) else array


def require_known(y: Any, name: str = "y") -> NDArray[Any]:
    """Return labels as an array, each of which is known.

    Parameters
    ----------
    y : array-like
        Labels of shape (n_samples,); another shape is left to whoever asked.
    name : str, default "y"
        What the caller calls them, for the message.

    Raises
    ------
    ParameterError
        Naming the first sample that has no label: None, NaN, pandas' NA or "".
    """
    array = label_array(y)
    if array.dtype.kind in "biu" or array.ndim == 0:
        return array
    values = array.ravel().tolist()
    missing = [i for i, value in enumerate(values) if is_missing(value, words=False)]
    if missing:
        raise ParameterError(
            f"{name}: sample {missing[0]} has no label ({values[missing[0]]!r}; {len(missing)} of "
            f"{len(values)} samples have none), expected one for each; leave these samples out"
        )
    return array
