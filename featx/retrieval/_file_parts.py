"""What the files of all kinds of index are made of: a header, columns, and arrays with checksums.

Text is one JSON document in the dataset ``header``, not HDF5's own strings of variable length:
those lie in heaps without checksums, in which a flipped byte can make the HDF5 library loop
forever. What remains are object headers, which have checksums, and plain arrays, whose checksums
the document has.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from zlib_ng.zlib_ng import crc32

from featx._version import __version__
from featx.files.atomic import open_regular
from featx.files.formats import FileFormat
from featx.files.hdf5 import LIBVER, require_format, write_format
from featx.files.locks import index_may_be_saved
from featx.files.outputs import write_output
from featx.retrieval._columns import Columns
from featx.retrieval._faiss import Streamed

__all__ = ["InOrder", "IndexFile", "list_columns", "opening_index", "read_columns", "read_header",
           "write_arrays", "write_header", "writing_index"]  # fmt: skip


@contextlib.contextmanager
def writing_index(path: str | os.PathLike[str], form: FileFormat) -> Iterator[h5py.File]:
    """Write a file beside an index, and put it in its place; a crash leaves the old one.

    Raises
    ------
    StoreWriteError
        If the file cannot be written, is of another kind, or is held by a writable server.
    """
    with index_may_be_saved(path), write_output(path, "index") as beside:
        try:
            with h5py.File(beside, "w", libver=LIBVER) as h5:
                yield h5
                write_format(h5, form)
        except (OSError, RuntimeError) as err:  # h5py raises both on a full disk
            raise OSError(_reason(err)) from err


def _reason(err: Exception) -> str:
    """Return the system's reason, which HDF5 puts between much else, on several lines."""
    text = " ".join(str(getattr(err, "strerror", None) or err).split())
    number = re.search(r"errno = (\d+)", text)
    return os.strerror(int(number[1])) if number else text[:160]


def write_header(h5: Any, header: dict[str, Any]) -> None:
    """Write the JSON document, and its checksum."""
    creator = {"creator": f"featx {__version__}"}
    text = json.dumps(creator | header).encode("ascii")  # escapes odd file names' surrogates
    h5["header"] = np.frombuffer(text, np.uint8)
    h5["header"].attrs["crc"] = crc32(text)


def list_columns(columns: Columns) -> dict[str, Any]:
    """Return columns as lists of text, for the header."""

    def text(values: NDArray[Any]) -> list[str]:
        return [str(x) for x in values.tolist()]

    return {
        "ids": columns.ids.tolist(),
        "labels": None if columns.labels is None else text(columns.labels),
        "metadata": {name: text(values) for name, values in columns.metadata.items()},
        "digests": None if columns.digests is None else text(columns.digests),
    }


def write_arrays(group: Any, arrays: dict[str, NDArray[Any]], codes: Streamed) -> dict[str, int]:
    """Write arrays, and the codes part by part; return their checksums."""
    crcs = {}
    for name, values in arrays.items():
        stored = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
        group[name], crcs[name] = stored, crc32(stored.data)
    dataset, start, crcs["codes"] = group.create_dataset("codes", codes.size, np.uint8), 0, 0
    for part in codes.parts():
        dataset[start : start + len(part)] = part
        start, crcs["codes"] = start + len(part), crc32(part.data, crcs["codes"])
    return crcs


class IndexFile:
    """An open file of an index.

    Parameters
    ----------
    h5 : h5py.File
        Open for reading.
    form : FileFormat
        What it is.
    place : str
        Its name, for messages.
    descriptor : int
        Of the same file.
    """

    def __init__(self, h5: Any, form: FileFormat, place: str, descriptor: int) -> None:
        self.h5, self._form, self.place, self.descriptor = h5, form, place, descriptor

    def damaged(self, what: str) -> Exception:
        """Return the error that says what is wrong with the file."""
        return self._form.damaged(self.place, what)

    def plain(self, name: str) -> Any:
        """Return a dataset that lies in the file as one piece, as all of an index do."""
        dataset = self.h5[name]
        if dataset.id.get_storage_size() != dataset.nbytes:
            raise self.damaged(f"its array {name!r} is not all there")
        return dataset

    def read(self, name: str, crc: int) -> NDArray[Any]:
        """Return an array that fits its checksum."""
        found: NDArray[Any] = self.plain(name)[()]
        if crc32(found.data) != crc:
            raise self.damaged(f"its array {name!r} does not fit its checksum")
        return found

    def read_arrays(self, group: str, crcs: dict[str, int]) -> dict[str, NDArray[Any]]:
        """Return the arrays of `write_arrays`, without the codes."""
        names = [name for name in crcs if name != "codes"]
        return {name: self.read(f"{group}/{name}", crcs[name]) for name in names}


@contextlib.contextmanager
def opening_index(path: str | os.PathLike[str], form: FileFormat) -> Iterator[IndexFile]:
    """Open a file of an index; what is wrong with it is said by an error.

    Raises
    ------
    FileFormatError
        If the file is missing, foreign, of another version or damaged.
    """
    place = os.fspath(path)
    # HDF5 reads through Python's file: what it sees and what is read later is one file, whatever
    # the name comes to mean meanwhile.
    with form.opening(place):
        opened = open_regular(place)
    with opened as file, form.reading(place), h5py.File(file, "r") as h5:
        require_format(h5, form, place)
        yield IndexFile(h5, form, place, file.fileno())


def read_header(
    file: IndexFile, fields: dict[str, tuple[type, ...]], defaults: dict[str, Any]
) -> dict[str, Any]:
    """Return the header; one that somebody has made up is refused: no checksum is a signature.

    Parameters
    ----------
    fields : dict of str to tuple of type
        Types that its fields may have.
    defaults : dict of str to object
        What stands for fields that older files lack.
    """
    text = file.read("header", file.h5["header"].attrs["crc"]).tobytes()
    header: dict[str, Any] = {**defaults, **json.loads(text)}
    for name, kinds in fields.items():
        if not isinstance(header.get(name), kinds):
            raise file.damaged(f"its header has {header.get(name)!r} for {name!r}")
    columns = {"ids": header["ids"], **header["metadata"]}
    columns |= {n: header[n] for n in ("labels", "digests") if header[n] is not None}
    for name, values in columns.items():
        found = {type(value) for value in values} if isinstance(values, list) else {object}
        if not (found <= {str} or (name == "ids" and found == {int})):
            raise file.damaged(f"column {name!r} of its header is no list of text")
    return header


def read_columns(file: IndexFile, header: dict[str, Any], n: int) -> Columns:
    """Return the columns of n rows."""
    labels, digests = header["labels"], header["digests"]
    columns = Columns(
        _column(header["ids"]),
        None if labels is None else _column(labels),
        {name: _column(values) for name, values in header["metadata"].items()},
        None if digests is None else _column(digests),
    )
    beside = [columns.ids, *columns.metadata.values()]
    beside += [column for column in (columns.labels, columns.digests) if column is not None]
    if any(len(column) != n for column in beside):
        raise file.damaged("its parts do not fit each other")
    return columns


def _column(values: list[Any]) -> NDArray[Any]:
    return np.array(values) if values else np.empty(0, "U1")


class InOrder:
    """A dataset of bytes whose slices are read one after the other, and their checksum."""

    def __init__(self, dataset: Any) -> None:
        self._dataset, self.shape, self.crc = dataset, dataset.shape, 0

    def __getitem__(self, part: slice) -> NDArray[np.uint8]:
        found: NDArray[np.uint8] = self._dataset[part]
        self.crc = crc32(np.ascontiguousarray(found).data, self.crc)
        return found
