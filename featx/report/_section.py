"""One section of a report: what the template shows, and the same numbers as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from featx.errors import ParameterError

__all__ = [
    "ImagePath",
    "Section",
    "as_json",
    "as_text",
    "require_finite",
    "require_length",
    "shorten_path",
    "shorten_paths",
]


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Parameters
    ----------
    kind : str
        Name of the template in ``templates/sections``.
    title : str
        Heading, plain text; empty for none.
    view : dict
        What the template is given besides the title. Plain values: the template escapes them.
    data : dict
        The same content for the JSON.
    """

    kind: str
    title: str
    view: dict[str, Any]
    data: dict[str, Any]


def as_text(value: Any) -> str:
    """Return a value as text for people.

    Examples
    --------
    >>> as_text(0.91372), as_text(12345), as_text(12345.6), as_text("0.1"), as_text(None)
    ('0.914', '12,345', '12,346', '0.1', '-')
    """
    if value is None:
        return "-"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{int(value):,}"
    if isinstance(value, (float, np.floating)):
        value = float(value)
        if not math.isfinite(value):
            return str(value)
        if 0.001 <= abs(value) < 10 or value == 0:
            return f"{value:.3f}"
        return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"
    return str(value)


def as_json(value: Any) -> Any:
    """Return a value as JSON knows it; what JSON does not know becomes text."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): as_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [as_json(v) for v in value]
    return str(value)


def require_finite(values: Any, name: str, *, shape: tuple[int | None, ...]) -> np.ndarray:
    """Return `values` as float64 of `shape` (None: any length), or say what is wrong with it."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as err:
        raise ParameterError(f"{name}: expected numbers, found {str(values)[:80]!r}") from err
    fits = array.ndim == len(shape) and all(
        want in (None, got) for want, got in zip(shape, array.shape, strict=True)
    )
    if not fits:
        expected = str(tuple("any" if s is None else s for s in shape)).replace("'", "")
        raise ParameterError(f"{name}: got shape {array.shape}, expected {expected}")
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        found = float(array[where])
        raise ParameterError(
            f"{name}: value {found!r} at {where}, expected finite numbers; leave out what was not "
            "measured"
        )
    return array


def require_length(values: Sequence[Any], n: int, name: str, other: str) -> None:
    """Refuse sequences that do not pair up."""
    if len(values) != n:
        raise ParameterError(
            f"{name}: got {len(values)} values, expected {n}, one for each of {other}"
        )


class ImagePath(str):
    """A path in a section's data; the page has it shortened."""

    __slots__ = ()


def shorten_paths(value: Any) -> Any:
    """Return a section's data with the paths of images as the page shows them."""
    if isinstance(value, ImagePath):
        return shorten_path(value)
    if isinstance(value, dict):
        return {k: shorten_paths(v) for k, v in value.items()}
    return [shorten_paths(v) for v in value] if isinstance(value, list) else value


def shorten_path(path: Any) -> str:
    """Return the last two parts of a path: enough to find a file, silent about whose disk it is.

    Examples
    --------
    >>> shorten_path("/home/ada/photos/apple/01.jpg")
    'apple/01.jpg'
    """
    return "/".join(part for part in PurePath(str(path)).parts[-2:] if part != "/")
