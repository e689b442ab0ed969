"""Labels from a CSV or a data frame, each value as text: see docs/cli.md, "Label files"."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from featx._repr import OneLine
from featx._values import as_texts, frame_columns, is_frame, is_missing, plain_values
from featx.errors import ManifestError
from featx.images.paths import absolute_path
from featx.images.tables import LABEL, PATH, Table, name_columns, read_table

__all__ = ["LabelSource", "LabelTable", "is_table", "read_labels", "to_labels"]

# A file, a data frame, or a mapping from the names of columns to their values.
LabelSource: TypeAlias = Any


@dataclass(frozen=True, repr=False)
class LabelTable(OneLine):
    """What is known of some images, one row each.

    Parameters
    ----------
    paths : tuple of str
        Absolute, or URLs; relative ones taken from the CSV's folder.
    labels : tuple of str, or None
        "" where one is missing; None where there is no column ``label``.
    columns : dict of str to tuple of str
        All other columns, as text; "" where a value is missing.
    written : tuple of str
        The paths as they are written.
    thing : str
        What the table is called in messages.
    places : tuple of str
        Where each row stands: "line 5" of a file, "row 3" of a data frame.
    """

    paths: tuple[str, ...]
    labels: tuple[str, ...] | None
    columns: Mapping[str, tuple[str, ...]]
    written: tuple[str, ...]
    thing: str = "labels"
    places: tuple[str, ...] = ()

    def take(self, rows: Sequence[int]) -> LabelTable:
        """Return some rows, in the order given."""
        return replace(
            self,
            paths=_take(self.paths, rows),
            labels=None if self.labels is None else _take(self.labels, rows),
            columns={name: _take(values, rows) for name, values in self.columns.items()},
            written=_take(self.written, rows),
            places=_take(self.places, rows) if self.places else (),
        )

    def merge(self, keys: Sequence[Hashable]) -> LabelTable:
        """Return one row for each different key: that of its first row, filled from the others.

        Raises
        ------
        ManifestError
            If two rows of one key have different values, with both rows.
        """
        if len(set(keys)) == len(keys):
            return self
        first: dict[Hashable, int] = {}
        pairs = [(first.setdefault(key, j), j) for j, key in enumerate(keys)]
        repeated = [(i, j) for i, j in pairs if i != j]
        columns = {name: list(values) for name, values in self.columns.items()}
        if self.labels is not None:
            columns[LABEL] = list(self.labels)
        for name, values in columns.items():
            for i, j in repeated:
                if values[i] and values[j] and values[i] != values[j]:
                    raise ManifestError(
                        f"{self.thing}: {self.places[i]} ({self.written[i]!r}) and "
                        f"{self.places[j]} ({self.written[j]!r}) are of one image and have "
                        f"{name} {values[i]!r} and {values[j]!r}, expected one; remove one"
                    )
                values[i] = values[i] or values[j]
        labels = columns.pop(LABEL, None)
        merged = replace(
            self,
            labels=None if labels is None else tuple(labels),
            columns={name: tuple(values) for name, values in columns.items()},
        )
        return merged.take(list(first.values()))


def read_labels(source: LabelSource) -> LabelTable:
    """Read paths and labels.

    Parameters
    ----------
    source : path, URL, data frame, or mapping of str to sequence
        A CSV, or the columns of one: ``path``, and any others; ``label`` is the class. Paths are
        relative to the CSV, in a data frame to the current folder.

    Returns
    -------
    LabelTable
        Several rows of one image are one row, filled from all.

    Raises
    ------
    ManifestError
        If the file is missing or no CSV, without a column ``path`` or rows, if a row has another
        number of fields than the header, or no path, or if rows of one image differ; with the
        line's number.

    Warns
    -----
    FeatxWarning
        If words such as "NA", which pandas takes as missing and so does featx, could be a class.

    Examples
    --------
    >>> table = read_labels({"path": ["/a.png", "/b.png", "/c.png"], "label": [1.0, 1, None]})
    >>> table.labels
    ('1', '1', '')
    """
    if isinstance(source, LabelTable):
        return source
    if is_table(source):
        return _read_columns(source)
    if not isinstance(source, str | os.PathLike):
        raise ManifestError(
            f"labels: got a {type(source).__name__}, expected a CSV, a data frame, or a mapping "
            "with the columns 'path' and 'label'"
        )
    csv_path = absolute_path(os.path.expanduser(os.fspath(source)))  # noqa: PTH111
    thing = f"CSV {csv_path!r}"
    return to_labels(read_table(csv_path, thing), os.path.dirname(csv_path))  # noqa: PTH120


def to_labels(table: Table, folder: str) -> LabelTable:
    """Return what a file says of its images, relative paths taken from a folder.

    Raises
    ------
    ManifestError
        As `read_labels`.
    """
    if not table.rows:
        raise ManifestError(
            f"{table.thing}: got no rows below the header, expected one for each image"
        )
    places = tuple(f"line {line}" for line in table.lines)
    return _make_table(table.columns, places, table.thing, folder)


def is_table(source: Any) -> bool:
    """Say whether a source of images or labels is a data frame or a mapping of columns."""
    return is_frame(source) or isinstance(source, Mapping)


def _read_columns(source: Any) -> LabelTable:
    thing = "data frame" if is_frame(source) else "columns"
    given = frame_columns(source) if is_frame(source) else {str(k): v for k, v in source.items()}
    names = name_columns(list(given), thing)
    values = list(given.values())
    columns = {name: plain_values(values[i], name) for i, name in names.items()}
    n = len(columns[PATH])
    if not n:
        raise ManifestError(f"{thing}: got no rows, expected one for each image")
    for name, column in columns.items():
        if len(column) != n:
            raise ManifestError(
                f"{thing}: got {len(column)} values in {name!r} for {n} paths, expected one each"
            )
    return _make_table(columns, tuple(f"row {i}" for i in range(n)), thing, "")


def _make_table(
    columns: Mapping[str, Sequence[Any]], places: tuple[str, ...], thing: str, folder: str
) -> LabelTable:
    """Turn columns of whatever values into text, with one row for each image."""
    written = tuple(
        _read_path(path, thing, place) for path, place in zip(columns[PATH], places, strict=True)
    )
    others = {name: values for name, values in columns.items() if name != PATH}
    texts = {
        name: tuple(as_texts(values, f"{thing}: column {name!r}"))
        for name, values in others.items()
    }
    paths = tuple(absolute_path(path, folder) for path in written)
    return LabelTable(paths, texts.pop(LABEL, None), texts, written, thing, places).merge(paths)


def _read_path(path: Any, thing: str, place: str) -> str:
    if is_missing(path):
        what = f"the path {path!r}" if str(path).strip() else "an empty path"
        raise ManifestError(
            f"{thing} {place}: got {what}, expected a file name; leave the row out"
        )
    if not isinstance(path, str | os.PathLike):
        raise ManifestError(f"{thing} {place}: got the path {path!r}, expected a file name")
    return os.path.expanduser(os.fsdecode(path))  # noqa: PTH111


def _take(values: Sequence[str], rows: Iterable[int]) -> tuple[str, ...]:
    return tuple(values[j] for j in rows)
