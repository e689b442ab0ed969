"""A CSV as somebody else's program wrote it, so that it can be written again in the same form."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from featx.errors import ManifestError
from featx.images._tables import SEPARATOR, decode_text, find_delimiter, name_columns

__all__ = ["Sheet", "read_sheet", "write_sheet"]


@dataclass(frozen=True)
class Sheet:
    """A header and rows, and how they are written.

    Parameters
    ----------
    header : list of str
        Columns without a name included.
    rows : list of list of str
        As long as the header; empty lines are left out.
    delimiter, line_end, encoding : str
        Of the file.
    """

    header: list[str]
    rows: list[list[str]]
    delimiter: str = ","
    line_end: str = "\n"
    encoding: str = "utf-8"

    def column(self, name: str) -> int:
        """Return the position of a column; ``path`` and ``label`` may be in other letters."""
        names = name_columns(self.header, "label file")
        return next(i for i, found in names.items() if found == name)

    def with_columns(self, names: Sequence[str]) -> Sheet:
        """Return the sheet with those of some columns that it lacks, empty."""
        found = name_columns(self.header, "label file").values()
        new = [name for name in names if name not in found]
        rows = [[*row, *[""] * len(new)] for row in self.rows]
        return replace(self, header=[*self.header, *new], rows=rows)


def read_sheet(path: Path) -> Sheet:
    """Read a file.

    Raises
    ------
    ManifestError
        If it is no text or no table with a column ``path``.
    """
    thing = f"label file {str(path)!r}"
    try:
        data = path.read_bytes()
    except OSError as err:
        raise ManifestError(
            f"{thing}: cannot be read ({err.strerror or err}), expected a readable file"
        ) from err
    text, encoding = decode_text(data, thing)
    declared = SEPARATOR.match(text)
    body = text[0 if declared is None else declared.end() :].lstrip("\r\n")
    delimiter = find_delimiter(body) if declared is None else declared[1]
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=delimiter, skipinitialspace=True)
    header, *rows = (row for row in reader if "".join(row).strip())
    header = [name.strip() for name in header]
    name_columns(header, thing)
    n = len(header)
    return Sheet(
        header,
        [(row + [""] * n)[:n] for row in rows],
        delimiter,
        "\r\n" if "\r\n" in body else "\n",
        encoding,
    )


def write_sheet(sheet: Sheet, beside: Path) -> None:
    """Write a file in the form that it was read in."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=sheet.delimiter, lineterminator=sheet.line_end)
    writer.writerow(sheet.header)
    writer.writerows(sheet.rows)
    beside.write_bytes(text.getvalue().encode(sheet.encoding))
