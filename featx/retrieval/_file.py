"""An index of vectors in one HDF5 file: written beside and renamed, checked when read.

Version 2 adds metadata, the kind, and what an approximate kind holds; version 1 is read.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from zlib_ng.zlib_ng import crc32

from featx.files.formats import INDEX
from featx.recipe import Recipe
from featx.retrieval._approximate import ApproximateFinder, finder_from_arrays
from featx.retrieval._columns import Columns
from featx.retrieval._file_parts import (
    IndexFile,
    InOrder,
    list_columns,
    opening_index,
    read_columns,
    read_header,
    write_arrays,
    write_header,
    writing_index,
)
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
    with writing_index(path, INDEX) as h5:
        _write(h5, content)


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
        "metric": content.vectors.metric,
        "recipe": None if content.recipe is None else content.recipe.to_dict(),
        "made_with": content.made_with,
        **list_columns(content.columns),
        "vectors_crc": crcs,
        "norms_crc": crc32(norms.data),
        "kind": asdict(content.kind),
        "recall": None if content.recall is None else asdict(content.recall),
        "target_recall": content.target_recall,
        "finder": _write_finder(h5, content.vectors.finder),
    }
    write_header(h5, header)


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


def _write_finder(h5: Any, finder: Any) -> dict[str, Any] | None:
    if not isinstance(finder, ApproximateFinder):
        return None
    crcs = write_arrays(h5.create_group("finder"), *finder.arrays())
    return {"effort": finder.effort, "crc": crcs}


def read_index(path: str | os.PathLike[str], *, mmap: bool) -> IndexContent:
    """Read an index.

    Raises
    ------
    FileFormatError
        If the file is missing, foreign, of another version or damaged.
    """
    with opening_index(path, INDEX) as file:
        return _content(file, mmap=mmap)


def _content(file: IndexFile, *, mmap: bool) -> IndexContent:
    header = read_header(file, FIELDS, DEFAULTS)
    effort = (header["finder"] or {"effort": 1}).get("effort")
    if not isinstance(effort, int) or isinstance(effort, bool) or not 1 <= effort < 2**31:
        raise file.damaged(f"its search effort is {effort!r}")
    norms = file.read("norms", header["norms_crc"])
    if norms.dtype != np.float32 or not np.isfinite(norms).all():
        raise file.damaged("its norms are not finite numbers")
    data = _vectors(file, header["vectors_crc"], mmap=mmap)
    kind = Kind(**header["kind"])
    if kind.name not in KINDS or kind.codes not in CODES or header["metric"] not in METRICS:
        raise file.damaged("its kind or metric is unknown")
    columns = read_columns(file, header, len(data))
    if len(norms) != len(data):
        raise file.damaged("its parts do not fit each other")
    recipe, recall = header["recipe"], header["recall"]
    finder = _finder(file, kind, header, data.shape)
    return IndexContent(
        vectors=Vectors(data, norms, header["metric"], finder),
        columns=columns,
        recipe=None if recipe is None else Recipe.from_dict(recipe),
        made_with=header["made_with"],
        kind=kind,
        recall=None if recall is None else Recall(**recall),
        target_recall=header["target_recall"],
    )


def _finder(file: IndexFile, kind: Kind, header: dict[str, Any], shape: tuple[int, int]) -> Finder:
    if header["finder"] is None:
        return COMPARE_ALL
    crcs = header["finder"]["crc"]
    arrays = file.read_arrays("finder", crcs)
    row_of = arrays["row_of"]
    if not np.array_equal(np.sort(row_of[row_of >= 0]), np.arange(shape[0])):
        raise file.damaged("a row has not exactly one code")
    codes = InOrder(file.plain("finder/codes"))
    finder = finder_from_arrays(
        arrays,
        codes,
        kind,
        metric=header["metric"],
        effort=header["finder"]["effort"],
        n_features=shape[1],
    )
    if codes.crc != crcs["codes"]:
        raise file.damaged("its codes do not fit their checksum")
    return finder


def _vectors(file: IndexFile, crcs: list[list[int]], *, mmap: bool) -> NDArray[Any] | FileRows:
    """Return the vectors, or with `mmap` what reads them when they are asked for."""
    dataset = file.plain("vectors")
    if dataset.dtype not in (np.float32, np.float16) or dataset.ndim != 2:
        raise file.damaged(f"its vectors are {dataset.dtype} of shape {dataset.shape}")
    offset = dataset.id.get_offset()
    if dataset.size and offset is None:
        raise file.damaged("its vectors do not lie side by side")
    descriptor = os.dup(file.descriptor)
    rows = FileRows(descriptor, file.place, offset or 0, dataset.shape, dataset.dtype)
    if mmap:
        return rows
    data = rows[:]
    for start, n, crc in crcs:
        if crc32(np.ascontiguousarray(data[start : start + n]).data) != crc:
            raise file.damaged(f"rows {start}..{start + n - 1} do not fit their checksum")
    if not np.isfinite(data).all():
        raise file.damaged("its vectors hold numbers that are not finite")
    return data
