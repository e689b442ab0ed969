"""An index in one HDF5 file: written beside and renamed, checked when read or left on the disk.

Text is one JSON document in the dataset ``header``, not HDF5's own strings of variable length:
those lie in heaps without checksums, in which a flipped byte can make the HDF5 library loop
forever. What remains are object headers, which have checksums, and plain arrays, whose checksums
the document has. Version 2 adds metadata, the kind, and what an approximate kind holds; version 1
is read.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from zlib_ng.zlib_ng import crc32

from featx._version import __version__
from featx.files.atomic import open_regular
from featx.files.formats import INDEX
from featx.files.hdf5 import LIBVER, require_format, write_format
from featx.files.locks import index_may_be_saved
from featx.files.outputs import write_output
from featx.recipe import Recipe
from featx.retrieval._approximate import ApproximateFinder, finder_from_arrays
from featx.retrieval._columns import Columns
from featx.retrieval._file_rows import FileRows
from featx.retrieval._kinds import CODES, KINDS, Kind
from featx.retrieval._recall import Recall
from featx.retrieval._vectors import (
    COMPARE_ALL,
    METRICS,
    Finder,
    Vectors,
    convert_to,
    row_norms,
)

__all__ = ["IndexContent", "read_index", "write_index"]


@dataclass(frozen=True)
class IndexContent:
    """What an index is.

    Parameters
    ----------
    vectors : Vectors
        The database, with its metric and its finder.
    columns : Columns
        Ids, labels and metadata.
    recipe : Recipe or None
        What the vectors were made with.
    made_with : dict
        Further notes, the weights file among them.
    kind : Kind
        How it searches.
    recall : Recall or None
        What an approximate kind was measured at.
    target_recall : float
        What it was tuned to.
    dtype : {"float32", "float16"}
        Of the vectors in the file.
    """

    vectors: Vectors
    columns: Columns
    recipe: Recipe | None
    made_with: dict[str, Any]
    kind: Kind
    recall: Recall | None
    target_recall: float
    dtype: str = "float32"


def write_index(path: str | os.PathLike[str], content: IndexContent) -> None:
    """Write an index; a crash leaves the old file.

    Raises
    ------
    StoreWriteError
        If the file cannot be written, is of another kind, or is held by a writable server.
    """
    with index_may_be_saved(path), write_output(path, "index") as beside:
        try:
            with h5py.File(beside, "w", libver=LIBVER) as h5:
                _write(h5, content)
        except (OSError, RuntimeError) as err:  # h5py raises both on a full disk
            raise OSError(_reason(err)) from err


def _reason(err: Exception) -> str:
    """Return the system's reason, which HDF5 puts between much else, on several lines."""
    text = " ".join(str(getattr(err, "strerror", None) or err).split())
    number = re.search(r"errno = (\d+)", text)
    return os.strerror(int(number[1])) if number else text[:160]


def _write(h5: Any, content: IndexContent) -> None:
    # Contiguous and without filters, so that rows can be read from their places in the file.
    dtype = np.dtype(content.dtype).newbyteorder("<")
    vectors = h5.create_dataset("vectors", content.vectors.shape, dtype)
    norms = np.empty(content.vectors.shape[0], "<f4")
    crcs = []
    for start, block in content.vectors.blocks():
        part = slice(start, start + len(block))
        stored = np.ascontiguousarray(convert_to(content.dtype, block), dtype)
        vectors[part], norms[part] = stored, row_norms(stored)
        crcs.append([start, len(block), crc32(stored.data)])
    h5["norms"] = norms
    header = {
        "creator": f"featx {__version__}",
        "metric": content.vectors.metric,
        "recipe": None if content.recipe is None else content.recipe.to_dict(),
        "made_with": content.made_with,
        **_column_lists(content.columns),
        "vectors_crc": crcs,
        "norms_crc": crc32(norms.data),
        "kind": asdict(content.kind),
        "recall": None if content.recall is None else asdict(content.recall),
        "target_recall": content.target_recall,
        "finder": _write_finder(h5, content.vectors.finder),
    }
    text = json.dumps(header).encode("ascii")  # lone surrogates of odd file names are escaped
    h5["header"] = np.frombuffer(text, np.uint8)
    h5["header"].attrs["crc"] = crc32(text)
    write_format(h5, INDEX)


# Types of the header's fields, and what stands for those that version 1 lacks.
FIELDS: dict[str, tuple[type, ...]] = {
    "metric": (str,),
    "recipe": (dict, type(None)),
    "made_with": (dict,),
    "ids": (list,),
    "labels": (list, type(None)),
    "vectors_crc": (list,),
    "norms_crc": (int,),
    "metadata": (dict,),
    "digests": (list, type(None)),
    "kind": (dict,),
    "recall": (dict, type(None)),
    "target_recall": (int, float),
    "finder": (dict, type(None)),
}
DEFAULTS: dict[str, Any] = {
    "metadata": {},
    "digests": None,
    "kind": {"name": "exact", "codes": "float32", "reason": "asked for"},
    "recall": None,
    "target_recall": 0.95,
    "finder": None,
}


def _check_header(header: dict[str, Any], place: str) -> None:
    """Refuse a header that somebody has made up: its checksum is nobody's signature."""
    for name, kinds in FIELDS.items():
        if not isinstance(header.get(name), kinds):
            raise INDEX.damaged(place, f"its header has {header.get(name)!r} for {name!r}")
    columns = {"ids": header["ids"], **header["metadata"]}
    columns |= {n: header[n] for n in ("labels", "digests") if header[n] is not None}
    for name, values in columns.items():
        found = {type(value) for value in values} if isinstance(values, list) else {object}
        if not (found <= {str} or (name == "ids" and found == {int})):
            raise INDEX.damaged(place, f"column {name!r} of its header is no list of text")
    effort = (header["finder"] or {"effort": 1}).get("effort")
    if not isinstance(effort, int) or isinstance(effort, bool) or not 1 <= effort < 2**31:
        raise INDEX.damaged(place, f"its search effort is {effort!r}")


def _column_lists(columns: Columns) -> dict[str, Any]:
    def text(values: NDArray[Any]) -> list[str]:
        return [str(x) for x in values.tolist()]

    return {
        "ids": columns.ids.tolist(),
        "labels": None if columns.labels is None else text(columns.labels),
        "metadata": {name: text(values) for name, values in columns.metadata.items()},
        "digests": None if columns.digests is None else text(columns.digests),
    }


def _write_finder(h5: Any, finder: Any) -> dict[str, Any] | None:
    if not isinstance(finder, ApproximateFinder):
        return None
    group, crcs = h5.create_group("finder"), {}
    arrays, codes = finder.arrays()
    for name, values in arrays.items():
        stored = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
        group[name], crcs[name] = stored, crc32(stored.data)
    dataset, start, crcs["codes"] = group.create_dataset("codes", codes.size, np.uint8), 0, 0
    for part in codes.parts():
        dataset[start : start + len(part)] = part
        start, crcs["codes"] = start + len(part), crc32(part.data, crcs["codes"])
    return {"effort": finder.effort, "crc": crcs}


def read_index(path: str | os.PathLike[str], *, mmap: bool) -> IndexContent:
    """Read an index.

    Raises
    ------
    FileFormatError
        If the file is missing, foreign, of another version or damaged.
    """
    place = os.fspath(path)
    # HDF5 reads through Python's file: what it sees and what is read later is one file, whatever
    # the name comes to mean meanwhile.
    with INDEX.opening(place):
        opened = open_regular(place)
    with opened as file, INDEX.reading(place), h5py.File(file, "r") as h5:
        require_format(h5, INDEX, place)
        return _content(h5, place, file.fileno(), mmap=mmap)


def _content(h5: Any, place: str, descriptor: int, *, mmap: bool) -> IndexContent:
    text = _read(h5, "header", h5["header"].attrs["crc"], place).tobytes()
    header = {**DEFAULTS, **json.loads(text)}
    _check_header(header, place)
    norms = _read(h5, "norms", header["norms_crc"], place)
    if norms.dtype != np.float32 or not np.isfinite(norms).all():
        raise INDEX.damaged(place, "its norms are not finite numbers")
    data = _vectors(h5, place, descriptor, header["vectors_crc"], mmap=mmap)
    recipe, recall, labels = header["recipe"], header["recall"], header["labels"]
    kind = Kind(**header["kind"])
    if kind.name not in KINDS or kind.codes not in CODES or header["metric"] not in METRICS:
        raise INDEX.damaged(place, "its kind or metric is unknown")
    columns = Columns(
        _column(header["ids"]),
        None if labels is None else _column(labels),
        {name: _column(values) for name, values in header["metadata"].items()},
        None if header["digests"] is None else _column(header["digests"]),
    )
    beside = [norms, columns.ids, *columns.metadata.values()]
    beside += [column for column in (columns.labels, columns.digests) if column is not None]
    if any(len(column) != len(data) for column in beside):
        raise INDEX.damaged(place, "its parts do not fit each other")
    finder = _finder(h5, place, kind, header, data.shape)
    return IndexContent(
        vectors=Vectors(data, norms, header["metric"], finder),
        columns=columns,
        recipe=None if recipe is None else Recipe.from_dict(recipe),
        made_with=header["made_with"],
        kind=kind,
        recall=None if recall is None else Recall(**recall),
        target_recall=header["target_recall"],
    )


def _plain(h5: Any, name: str, place: str) -> Any:
    """Return a dataset that lies in the file as one piece, as all of an index do."""
    dataset = h5[name]
    if dataset.id.get_storage_size() != dataset.nbytes:
        raise INDEX.damaged(place, f"its array {name!r} is not all there")
    return dataset


def _read(h5: Any, name: str, crc: int, place: str) -> NDArray[Any]:
    """Return an array that fits its checksum."""
    found: NDArray[Any] = _plain(h5, name, place)[()]
    if crc32(found.data) != crc:
        raise INDEX.damaged(place, f"its array {name!r} does not fit its checksum")
    return found


def _finder(
    h5: Any, place: str, kind: Kind, header: dict[str, Any], shape: tuple[int, int]
) -> Finder:
    if header["finder"] is None:
        return COMPARE_ALL
    group, crcs = h5["finder"], dict(header["finder"]["crc"])
    codes, codes_crc = _InOrder(_plain(group, "codes", place)), crcs.pop("codes")
    arrays = {name: _read(group, name, crc, place) for name, crc in crcs.items()}
    row_of = arrays["row_of"]
    if not np.array_equal(np.sort(row_of[row_of >= 0]), np.arange(shape[0])):
        raise INDEX.damaged(place, "a row has not exactly one code")
    finder = finder_from_arrays(
        arrays,
        codes,
        kind,
        metric=header["metric"],
        effort=header["finder"]["effort"],
        n_features=shape[1],
    )
    if codes.crc != codes_crc:
        raise INDEX.damaged(place, "its codes do not fit their checksum")
    return finder


class _InOrder:
    """A dataset of bytes whose slices are read one after the other, and their checksum."""

    def __init__(self, dataset: Any) -> None:
        self._dataset, self.shape, self.crc = dataset, dataset.shape, 0

    def __getitem__(self, part: slice) -> NDArray[np.uint8]:
        found: NDArray[np.uint8] = self._dataset[part]
        self.crc = crc32(np.ascontiguousarray(found).data, self.crc)
        return found


def _column(values: list[Any]) -> NDArray[Any]:
    return np.array(values) if values else np.empty(0, "U1")


def _vectors(
    h5: Any, place: str, descriptor: int, crcs: list[list[int]], *, mmap: bool
) -> NDArray[Any] | FileRows:
    """Return the vectors, or with `mmap` what reads them when they are asked for."""
    dataset = _plain(h5, "vectors", place)
    if dataset.dtype not in (np.float32, np.float16) or dataset.ndim != 2:
        raise INDEX.damaged(place, f"its vectors are {dataset.dtype} of shape {dataset.shape}")
    offset = dataset.id.get_offset()
    if dataset.size and offset is None:
        raise INDEX.damaged(place, "its vectors do not lie side by side")
    rows = FileRows(os.dup(descriptor), place, offset or 0, dataset.shape, dataset.dtype)
    if mmap:
        return rows
    data = rows[:]
    for start, n, crc in crcs:
        if crc32(np.ascontiguousarray(data[start : start + n]).data) != crc:
            raise INDEX.damaged(place, f"rows {start}..{start + n - 1} do not fit their checksum")
    if not np.isfinite(data).all():
        raise INDEX.damaged(place, "its vectors hold numbers that are not finite")
    return data
