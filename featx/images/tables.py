"""Text files of tables, as spreadsheets, pandas and people write them: a header and rows.

Comma, semicolon and tab are understood, UTF-8 with and without a byte order mark, UTF-16 with one,
spaces after commas, and decimal commas where a comma does not separate. What is no such text is
refused with what it is and what to do. A table can be written again in the form it was read in.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from featx.errors import FeatxError, ManifestError, nearest
from featx.files.paths import nearest_file
from featx.files.remote import fetch, is_url, look, reason_of
from featx.images.listing import is_named_as_image

__all__ = ["LABEL", "PATH", "TABLE_SUFFIXES", "Table", "name_columns", "read_table"]

PATH, LABEL = "path", "label"
DELIMITERS = (",", ";", "\t")
TABLE_SUFFIXES = (
    ".csv", ".tsv", ".txt", ".tab", ".xlsx", ".xls", ".ods", ".parquet", ".csv.gz", ".csv.zip",
)  # fmt: skip
"""Ends of names of tables, those included that are read only to say what they are."""

MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
OTHER_FILES = {
    b"PK\x03\x04": "an Excel workbook or another ZIP archive",
    b"\xd0\xcf\x11\xe0": "an Excel workbook of the older kind",
    b"PAR1": "a Parquet file",
    b"\x1f\x8b": "compressed with gzip",
    b"\x89HDF": "an HDF5 file",
}
LIKE_PATH = ("filename", "file", "image", "filepath", "image_path", "img", "paths", "images")
SEPARATOR = re.compile(r"sep=([,;\t|])\r?\n")  # Excel's own first line
WHOLE = re.compile(r"(-?\d+),(0+)")
UNNAMED = re.compile(r"(Unnamed: \d+(\.\d+)?)?")


@dataclass(frozen=True)
class Table:
    """A header and rows, and how they are written.

    Parameters
    ----------
    thing : str
        What the table is called in messages.
    header : list of str
        Columns without a name included.
    rows : list of list of str
        As long as the header, as they are written; empty lines are left out.
    lines : list of int
        The line of each row, from 1.
    delimiter, line_end, encoding : str
        Of the file.
    first_line : str
        Excel's own, ``sep=;``, with its end; else "".
    """

    thing: str
    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    delimiter: str = ","
    line_end: str = "\n"
    encoding: str = "utf-8"
    first_line: str = ""

    @property
    def names(self) -> dict[int, str]:
        """The name of each column that has one, by its position."""
        return name_columns(self.header, self.thing)

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        """The values of each column that has a name; `PATH` is among them."""
        names = self.names
        values = [[row[i] for row in self.rows] for i in names]
        if self.delimiter != ",":
            values = [[_replace_comma(cell) for cell in column] for column in values]
        return dict(zip(names.values(), map(tuple, values), strict=True))

    def place_of(self, name: str) -> int:
        """Return the position of a column; ``path`` and ``label`` may be in other letters."""
        return next(i for i, found in self.names.items() if found == name)

    def with_columns(self, names: Sequence[str]) -> Table:
        """Return the table with those of some columns that it lacks, empty."""
        found = self.names.values()
        new = [name for name in names if name not in found]
        rows = [[*row, *[""] * len(new)] for row in self.rows]
        return replace(self, header=[*self.header, *new], rows=rows)

    def to_bytes(self) -> bytes:
        """Return the file, in the form that the table was read in."""
        text = io.StringIO(newline="")
        text.write(self.first_line)
        writer = csv.writer(text, delimiter=self.delimiter, lineterminator=self.line_end)
        writer.writerow(self.header)
        writer.writerows(self.rows)
        return text.getvalue().encode(self.encoding)


def read_table(path: str, thing: str) -> Table:
    """Read a file.

    Raises
    ------
    ManifestError
        If it is missing, no text, without a column ``path``, or if a row has another number of
        fields than the header; with the line's number.
    """
    text, encoding = _decode(_read(path, thing), thing)
    if not text.strip():
        raise ManifestError(f"{thing}: is empty, expected a header such as 'path,label' and rows")
    declared = SEPARATOR.match(text)
    delimiter = None if declared is None else declared[1]
    body = text[0 if declared is None else declared.end() :].lstrip("\r\n")
    first_line = text[: len(text) - len(body)].count("\n") + 1
    delimiter = delimiter or _find_delimiter(body)
    reader = csv.reader(
        io.StringIO(body, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True
    )
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        name_columns(header, thing)
        start = reader.line_num
        for row in reader:
            line, start = start + first_line, reader.line_num
            if "".join(row).strip():
                rows.append(_fit_to_header(row, header, thing, line))
                lines.append(line)
    except csv.Error as err:
        raise ManifestError(
            f"{thing} line {reader.line_num + first_line - 1}: {err}, expected comma-separated "
            "values"
        ) from err
    return Table(
        thing, header, rows, lines, delimiter, "\r\n" if "\r\n" in body else "\n", encoding,
        "" if declared is None else declared[0],
    )  # fmt: skip


def name_columns(header: list[str], thing: str) -> dict[int, str]:
    """Return the name of each column that has one, by its position.

    ``path`` and ``label`` may be in other letters; a column without a name, such as the one that
    pandas writes its index to, is left out.

    Raises
    ------
    ManifestError
        If there is no ``path``, or a name comes twice.
    """
    if _find_spelling(header, PATH) not in header:
        raise ManifestError(f"{thing}: {_explain_missing_path(header)}")
    known = {_find_spelling(header, name): name for name in (PATH, LABEL)}
    names = {
        i: known.get(name, name) for i, name in enumerate(header) if not UNNAMED.fullmatch(name)
    }
    twice = [name for name, n in Counter(names.values()).items() if n > 1]
    if twice:
        raise ManifestError(
            f"{thing}: got the column {min(twice)!r} more than once, expected different names"
        )
    return names


def _find_spelling(header: list[str], name: str) -> str:
    """Return how a header writes one of featx's names: as it is, else in other letters."""
    if name in header:
        return name
    return next((word for word in header if word.lower() == name), name)


def _explain_missing_path(header: list[str]) -> str:
    if any(is_named_as_image(word) for word in header):
        return (
            f"got {header} as its first line, expected a header; put the line 'path,label' "
            "above the first image"
        )
    lower = {word.lower(): word for word in header}
    like = next((lower[word] for word in LIKE_PATH if word in lower), None)
    if like is None and header[:1] == [""]:
        what = "the first column has no name: if it holds the file names, call it 'path'."
    else:
        what = "name the column of file names 'path'."
    hint = nearest(PATH, lower) if like is None else f" Is it {like!r}?"
    return f"got the columns {header}, expected one named 'path'; {what}{hint}"


def _read(path: str, thing: str) -> bytes:
    try:
        return fetch(look(path)) if is_url(path) else Path(path).read_bytes()
    except FeatxError:
        raise
    except FileNotFoundError as err:
        raise ManifestError(
            f"{thing}: not found, expected a file; check the name.{nearest_file(path)}"
        ) from err
    except OSError as err:
        if is_url(path):
            raise _fetch_error(thing, err) from err
        raise ManifestError(f"{thing}: {err.strerror or err}, expected a readable file") from err
    except Exception as err:  # each remote file system has its own
        raise _fetch_error(thing, err) from err


def _fetch_error(thing: str, err: Exception) -> ManifestError:
    return ManifestError(
        f"{thing}: {reason_of(err)}, expected a readable file; check the name and the credentials"
    )


def _decode(data: bytes, thing: str) -> tuple[str, str]:
    """Return the text of a file, and its encoding."""
    for mark, what in OTHER_FILES.items():
        if data.startswith(mark):
            raise ManifestError(
                f"{thing}: is {what}, expected a CSV; save it as 'CSV UTF-8', or read it with "
                "pandas and pass the data frame"
            )
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as err:
        line = data[: err.start].count(b"\n") + 1
        raise ManifestError(
            f"{thing} line {line}: byte {err.start} is {data[err.start]:#04x}, expected "
            f"{encoding.upper()} text; save it as 'CSV UTF-8', or in pandas read it with its "
            "encoding and pass the data frame"
        ) from err
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise ManifestError(
            f"{thing} line {line}: has a NUL character, expected UTF-8 text; save it as "
            "'CSV UTF-8'"
        )
    return text.removeprefix("\ufeff"), encoding


def _find_delimiter(text: str) -> str:
    """Return what separates the names of the header, one of which is ``path``."""
    line = text.partition("\n")[0].rstrip("\r")
    fields = {mark: [w.strip().strip('"') for w in line.split(mark)] for mark in DELIMITERS}
    found = (d for d in DELIMITERS if PATH in map(str.lower, fields[d]))
    return next(found, max(DELIMITERS, key=lambda d: len(fields[d])))


def _fit_to_header(row: list[str], header: list[str], thing: str, line: int) -> list[str]:
    """Return a row of the header's length; empty fields too many are left out."""
    while len(row) > len(header) and not row[-1].strip():
        row = row[:-1]
    if len(row) != len(header):
        raise ManifestError(
            f"{thing} line {line}: got {len(row)} fields, expected {len(header)} as in the "
            "header; put fields with commas in double quotes"
        )
    return row


def _replace_comma(text: str) -> str:
    """Return a value; "1,0", where a comma does not separate, is "1.0"."""
    number = WHOLE.fullmatch(text.strip())
    return text if number is None else f"{number[1]}.{number[2]}"
