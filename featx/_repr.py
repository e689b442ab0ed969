"""What objects show of themselves: one line of text, and in a notebook a table."""

from __future__ import annotations

import dataclasses
import html
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = [
    "MAX_CHARS",
    "FieldTable",
    "OneLine",
    "as_table",
    "choose_time_unit",
    "shorten",
    "show_confidence",
    "show_count",
]

MAX_CHARS = 200
VALUE_CHARS = 60
FEW = 4


def show_count(n: int, one: str, many: str = "") -> str:
    """Return a number with what it counts.

    Parameters
    ----------
    n : int
    one : str
        The word for one of them.
    many : str, optional
        The word for several, where that is not `one` with an s, or es after s.

    Examples
    --------
    >>> show_count(1, "image"), show_count(2400, "class"), show_count(0, "query", "queries")
    ('1 image', '2,400 classes', '0 queries')
    """
    return f"{n:,} {one if n == 1 else many or one + ('es' if one.endswith('s') else 's')}"


def show_confidence(confidence: float) -> str:
    r"""Return how sure a classifier is; what is not certain is not rounded to 100 %.

    Examples
    --------
    >>> show_confidence(0.914), show_confidence(0.9991), show_confidence(1)
    ('91\xa0% sure', '>99\xa0% sure', '100\xa0% sure')
    """
    if 0.99 < confidence < 1:
        return ">99\u00a0% sure"
    return f"{100 * confidence:.0f}\u00a0% sure"


def choose_time_unit(seconds: float) -> tuple[float, str]:
    """Return a time in the unit that people use for it, and that unit.

    Examples
    --------
    >>> choose_time_unit(2.5), choose_time_unit(600), choose_time_unit(9000)
    ((2.5, 'seconds'), (10.0, 'minutes'), (2.5, 'hours'))
    """
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return seconds / size, unit
    return seconds, "seconds"


class OneLine:
    """Represent an object by its fields on one line of less than 200 characters.

    A dataclass shows all its fields (declare it with ``repr=False``), an estimator the parameters
    that differ from their defaults. What is long is given as what it is, and last fields that have
    no room are left out.

    Examples
    --------
    >>> @dataclasses.dataclass(repr=False)
    ... class Images(OneLine):
    ...     paths: tuple
    ...     side_px: int = 224
    >>> Images(("a.jpg",) * 1000)
    Images(paths=<1000 items>, side_px=224)
    """

    def __repr__(self, N_CHAR_MAX: int = MAX_CHARS) -> str:  # noqa: N803 - scikit-learn's name
        name = type(self).__name__
        parts: list[str] = []
        room = MAX_CHARS - len(name) - len("(, ...)") - 1
        for field, value in self._repr_fields().items():
            part = f"{field}={shorten(value)}"
            room -= len(part) + len(", ")
            if room < 0:
                parts.append("...")
                break
            parts.append(part)
        return f"{name}({', '.join(parts)})"

    def _repr_fields(self) -> dict[str, Any]:
        """Return what is shown, by name."""
        shown: Any = self
        if dataclasses.is_dataclass(shown):
            return {f.name: getattr(shown, f.name) for f in dataclasses.fields(shown) if f.repr}
        defaults = inspect.signature(type(shown).__init__).parameters
        return {
            name: value
            for name, value in shown.get_params(deep=False).items()
            if shorten(value) != shorten(defaults[name].default)
        }


class FieldTable(OneLine):
    """Show all fields as a table in a notebook, besides the line of text.

    Examples
    --------
    >>> @dataclasses.dataclass(repr=False)
    ... class Images(FieldTable):
    ...     side_px: int = 224
    >>> Images()._repr_html_()
    '<table><caption>Images</caption><tr><th scope="row"...>side_px</th><td...>224</td>...'
    """

    def _repr_html_(self) -> str:
        rows = [(name, shorten(value)) for name, value in self._repr_fields().items()]
        return as_table(type(self).__name__, rows)


def shorten(value: Any) -> str:
    """Represent a value in at most 60 characters.

    Examples
    --------
    >>> shorten([1, 2]), shorten(list(range(100))), shorten({"a": 1})
    ('[1, 2]', '<100 items>', "{'a': 1}")
    >>> shorten("/photographs/" * 20)
    "'/photographs//...s//photographs//photographs//photographs/'"
    """
    if isinstance(value, str):
        return _cut(repr(value))
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"<{' x '.join(map(str, value.shape))} {value.dtype}>"
    if isinstance(value, list | tuple | set | frozenset | Mapping):
        text = repr(value) if len(value) <= FEW else ""
        return text if text and len(text) <= VALUE_CHARS else f"<{len(value)} items>"
    text = " ".join(repr(value).split())
    return text if len(text) <= VALUE_CHARS else f"<{type(value).__name__}>"


def _cut(text: str) -> str:
    """Leave out the middle of a long text: names of files differ at their ends."""
    if len(text) <= VALUE_CHARS:
        return text
    return f"{text[: VALUE_CHARS // 4]}...{text[3 - VALUE_CHARS + VALUE_CHARS // 4 :]}"


def as_table(
    caption: str, rows: Iterable[Sequence[Any]], *, head: Sequence[str] = (), note: str = ""
) -> str:
    """Return the HTML of a table for ``_repr_html_``, everything in it escaped.

    Parameters
    ----------
    caption : str
        What it is.
    rows : iterable of sequence
        Texts, or what ``str`` makes one of; the first of each row names it.
    head : sequence of str, optional
        Names of the columns.
    note : str, optional
        A line below.

    Examples
    --------
    >>> as_table("Sizes", [("<a>", 3)])
    '<table><caption>Sizes</caption><tr><th scope="row"...>&lt;a&gt;</th><td...>3</td>...'
    """
    lines = ["".join(_cell("th", name, "col") for name in head)] if head else []
    for first, *others in rows:
        cells = "".join(_cell("td", value) for value in others)
        lines.append(_cell("th", first, "row") + cells)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    below = f"<p>{html.escape(note)}</p>" if note else ""
    return f"<table><caption>{html.escape(caption)}</caption>{body}</table>{below}"


def _cell(tag: str, value: Any, scope: str = "") -> str:
    """Return a cell; notebooks would set it to the right."""
    of = f' scope="{scope}"' if scope else ""
    return f'<{tag}{of} style="text-align:left">{html.escape(str(value))}</{tag}>'
