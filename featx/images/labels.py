"""Labels from a CSV: read them, and join them to the paths of a store.

The CSV has a column ``path`` and any others; ``label`` is the class, everything else is kept as
text (one 0/1 column an attribute, say). Comma, semicolon and tab are understood, and the byte
order mark that spreadsheets write.
"""

from __future__ import annotations

import csv
import io
import os
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featx._remote import fetch, is_url, look, plain_path, reason_of, split_url
from featx.errors import FeatxError, ManifestError, nearest
from featx.images._listing import nearest_file

__all__ = ["JoinedLabels", "LabelTable", "absolute_path", "join_labels", "read_labels"]

PATH, LABEL = "path", "label"
DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True)
class LabelTable:
    """The content of a CSV.

    Parameters
    ----------
    paths : tuple of str
        Absolute, or URLs; relative ones taken from the CSV's folder.
    labels : tuple of str, or None
        None where there is no column ``label``.
    columns : dict of str to tuple of str
        All other columns, as text.
    written : tuple of str
        The paths as they are written.
    """

    paths: tuple[str, ...]
    labels: tuple[str, ...] | None
    columns: dict[str, tuple[str, ...]]
    written: tuple[str, ...]


@dataclass(frozen=True)
class JoinedLabels:
    """The labels of those paths that a CSV knows.

    Parameters
    ----------
    rows : ndarray of shape (n,), intp
        Positions in the given paths that have a label, ascending.
    labels : tuple of str, or None
        One for each of `rows`.
    columns : dict of str to tuple of str
        One value for each of `rows`.
    n_unlabelled : int
        Given paths that the CSV lacks; they are not in `rows`.
    n_unused : int
        Rows of the CSV that fit no given path.
    """

    rows: NDArray[np.intp]
    labels: tuple[str, ...] | None
    columns: dict[str, tuple[str, ...]]
    n_unlabelled: int
    n_unused: int


def read_labels(csv_path: str | os.PathLike[str]) -> LabelTable:
    """Read a CSV of paths and labels.

    Raises
    ------
    ManifestError
        If the file is missing, not text, without a column ``path``, without rows, or if a row has
        another number of fields than the header, or no path; with the line's number.
    """
    csv_path = absolute_path(os.path.expanduser(os.fspath(csv_path)))  # noqa: PTH111
    thing = f"CSV {csv_path!r}"
    header, rows = _parse(_text(csv_path, thing), thing)
    by_name = dict(zip(header, zip(*rows, strict=True), strict=True))
    written = by_name.pop(PATH)
    folder = os.path.dirname(csv_path)  # noqa: PTH120
    return LabelTable(
        paths=tuple(absolute_path(path, folder) for path in written),
        labels=by_name.pop(LABEL, None),
        columns=by_name,
        written=written,
    )


def join_labels(paths: Sequence[str], csv_path: str | os.PathLike[str]) -> JoinedLabels:
    """Find the labels of given paths in a CSV.

    Rows match by absolute path. Where none does (the store was made elsewhere, or the images
    moved), a CSV path matches the one given path that ends in it, by whole folder names:
    ``cats/1.jpg`` fits ``/data/cats/1.jpg`` but not ``/data/bobcats/1.jpg``.

    Parameters
    ----------
    paths : sequence of str
        Absolute, as a store has them; each at most once.
    csv_path : path
        See `read_labels`.

    Returns
    -------
    JoinedLabels
        Paths that the CSV lacks are left out and counted.

    Raises
    ------
    ManifestError
        If nothing matches, or if a row fits several paths or several rows one path; with counts
        and an example of both sides.
    """
    table = read_labels(csv_path)
    thing = f"CSV {os.fspath(csv_path)!r}"
    position = {str(path): i for i, path in enumerate(paths)}
    matches = [[position[p]] if p in position else [] for p in table.paths]
    if not any(matches):
        matches = _match_by_suffix(list(position), table.written)
    _check_matches(matches, list(position), table, thing)
    csv_row = {match[0]: j for j, match in enumerate(matches) if match}
    rows = sorted(csv_row)
    order = [csv_row[i] for i in rows]
    return JoinedLabels(
        rows=np.array(rows, dtype=np.intp),
        labels=None if table.labels is None else tuple(table.labels[j] for j in order),
        columns={k: tuple(v[j] for j in order) for k, v in table.columns.items()},
        n_unlabelled=len(position) - len(rows),
        n_unused=len(matches) - len(rows),
    )


def absolute_path(path: str, folder: str = "") -> str:
    """Return a path that means the same wherever it is used; a URL is one already."""
    if is_url(path):
        return path
    path = plain_path(path)
    if is_url(folder):
        protocol, root = split_url(folder)
        return f"{protocol}://{posixpath.normpath(posixpath.join(root, path)).lstrip('/')}"
    return os.path.abspath(os.path.join(folder, path))  # noqa: PTH100, PTH118


def _text(csv_path: str, thing: str) -> str:
    try:
        if is_url(csv_path):
            return _fetched(csv_path, thing)
        return Path(csv_path).read_text(encoding="utf-8-sig")
    except FileNotFoundError as err:
        raise ManifestError(
            f"{thing}: not found, expected a file; check the name.{nearest_file(csv_path)}"
        ) from err
    except UnicodeDecodeError as err:
        raise ManifestError(
            f"{thing}: byte {err.start} is {err.object[err.start]:#04x}, expected UTF-8 text; "
            "save it as 'CSV UTF-8'"
        ) from err
    except OSError as err:
        raise ManifestError(f"{thing}: {err.strerror}, expected a readable file") from err


def _fetched(url: str, thing: str) -> str:
    try:
        data = fetch(look(url))
    except FeatxError:
        raise
    except Exception as err:  # each file system has its own
        raise ManifestError(
            f"{thing}: {reason_of(err)}, expected a readable file; check the name and the "
            "credentials"
        ) from err
    return data.decode("utf-8-sig")


def _parse(text: str, thing: str) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows, each as long as the header."""
    first_line = text.partition("\n")[0].rstrip("\r")
    delimiter = next((d for d in DELIMITERS if PATH in _fields(first_line, d)), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header, thing)
        for row in reader:
            if any(row):
                _check_row(row, header, f"{thing} line {reader.line_num}")
                rows.append(row)
    except csv.Error as err:
        raise ManifestError(
            f"{thing} line {reader.line_num}: {err}, expected comma-separated values"
        ) from err
    if not rows:
        raise ManifestError(f"{thing}: got no rows below the header, expected one for each image")
    return header, rows


def _fields(line: str, delimiter: str) -> list[str]:
    return [name.strip().strip('"') for name in line.split(delimiter)]


def _check_header(header: list[str], thing: str) -> None:
    if PATH not in header:
        raise ManifestError(
            f"{thing}: got the columns {header}, expected one named 'path'; name the column of "
            f"file names 'path'.{nearest(PATH, [name.lower() for name in header])}"
        )
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        raise ManifestError(
            f"{thing}: got the column {min(twice)!r} more than once, expected different names"
        )


def _check_row(row: list[str], header: list[str], thing: str) -> None:
    if len(row) != len(header):
        raise ManifestError(
            f"{thing}: got {len(row)} fields, expected {len(header)} as in the header; "
            "put fields with commas in double quotes"
        )
    if not row[header.index(PATH)]:
        raise ManifestError(f"{thing}: got an empty path, expected a file name")


def _match_by_suffix(paths: list[str], written: Sequence[str]) -> list[list[int]]:
    """For each written path, the positions of the paths that end in it."""
    wanted = [_parts(os.path.normpath(w)) for w in written]
    by_suffix: dict[tuple[str, ...], list[int]] = {tuple(w): [] for w in wanted}
    lengths = sorted({len(w) for w in wanted})
    for i, path in enumerate(paths):
        parts = _parts(path)
        for n in lengths:
            if n <= len(parts) and (suffix := tuple(parts[-n:])) in by_suffix:
                by_suffix[suffix].append(i)
    return [by_suffix[tuple(w)] for w in wanted]


def _parts(path: str) -> list[str]:
    parts = path.replace(os.sep, "/").split("/")
    while len(parts) > 1 and parts[0] in (".", ".."):
        parts.pop(0)
    return parts


def _check_matches(
    matches: list[list[int]], paths: list[str], table: LabelTable, thing: str
) -> None:
    n_fit = sum(bool(m) for m in matches)
    if not n_fit:
        example = repr(paths[0]) if paths else "none"
        raise ManifestError(
            f"{thing}: none of its {len(matches)} paths fits one of the {len(paths)} images: got "
            f"{table.written[0]!r}, expected paths like {example}; write them absolute, or "
            "relative with enough folders to end an image's path"
        )
    several = [j for j, m in enumerate(matches) if len(m) > 1]
    if several:
        j = several[0]
        found = ", ".join(repr(paths[i]) for i in matches[j][:2])
        raise ManifestError(
            f"{thing}: {len(several)} of its {len(matches)} paths fit several images: "
            f"{table.written[j]!r} fits {found}; write more of the folders"
        )
    first: dict[int, int] = {}
    for j, match in enumerate(matches):
        if match and first.setdefault(match[0], j) != j:
            i = match[0]
            raise ManifestError(
                f"{thing}: {table.written[first[i]]!r} and {table.written[j]!r} both fit "
                f"{paths[i]!r}, expected one row an image; remove one"
            )
