"""An index in one HDF5 file: written beside and renamed, checked when read, or memory-mapped."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import h5py
import numpy as np
from numpy.typing import NDArray

import featx
from featx.errors import FeatxError, FileFormatError, ParameterError, StoreWriteError
from featx.recipe import Recipe
from featx.retrieval._search import METRICS, Vectors

__all__ = ["IndexContent", "read_index", "write_index"]

FORMAT = "featx retrieval index"
FORMAT_VERSION = 1
TEXT = h5py.string_dtype()


@dataclass(frozen=True)
class IndexContent:
    """What an index is.

    Parameters
    ----------
    metric : str
        See `RetrievalIndex`.
    vectors : Vectors
        The database.
    ids : ndarray of shape (n_samples,), int64 or str
        What its rows are called.
    labels : ndarray of shape (n_samples,), or None
        Text.
    recipe : Recipe or None
        What the vectors were made with.
    made_with : dict
        Further notes, the weights file among them.
    """

    metric: str
    vectors: Vectors
    ids: NDArray[Any]
    labels: NDArray[Any] | None
    recipe: Recipe | None
    made_with: dict[str, Any]


def write_index(path: str | os.PathLike[str], content: IndexContent) -> None:
    """Write an index; a crash leaves the old file.

    Raises
    ------
    StoreWriteError
        If the file cannot be written.
    """
    target = Path(path)
    beside: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        os.close(handle)
        beside = Path(name)
        with h5py.File(beside, "w", libver=("v110", "v110")) as h5:
            _write(h5, content)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.chmod(0o644)
        beside.replace(target)
    except (OSError, RuntimeError) as err:  # h5py raises both on a full disk
        reason = getattr(err, "strerror", None) or " ".join(str(err).split())[:160]
        raise StoreWriteError(
            f"index {str(target)!r}: cannot be written ({reason}); the folder must exist, be "
            "writable and have space"
        ) from err
    finally:
        if beside is not None:
            beside.unlink(missing_ok=True)


def _write(h5: Any, content: IndexContent) -> None:
    h5.attrs["format"] = FORMAT
    h5.attrs["format_version"] = FORMAT_VERSION
    h5.attrs["creator"] = f"featx {featx.__version__}"
    h5.attrs["metric"] = content.metric
    h5.attrs["recipe"] = "" if content.recipe is None else json.dumps(content.recipe.to_dict())
    h5.attrs["made_with"] = json.dumps(content.made_with)
    # Contiguous and without filters, so that it can be memory-mapped.
    vectors = h5.create_dataset("vectors", content.vectors.shape, "<f4")
    crcs = []
    for start, block in content.vectors.blocks():
        vectors[start : start + len(block)] = block
        crcs.append((start, len(block), crc32(np.ascontiguousarray(block).data)))
    h5["block_crc"] = np.array(crcs, np.int64).reshape(-1, 3)
    h5["norms"] = content.vectors.norms
    h5.create_dataset("ids", data=_encoded(content.ids))
    if content.labels is not None:
        h5.create_dataset("labels", data=_encoded(content.labels))
    h5.attrs["text_crc"] = _text_crc(content.ids, content.labels)


def _encoded(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind in "iu":
        return values.astype("<i8")
    array = np.empty(len(values), TEXT)
    array[:] = [os.fsencode(str(v)) for v in values.tolist()]
    return array


def _text_crc(ids: NDArray[Any], labels: NDArray[Any] | None) -> int:
    crc = 0
    for values in (ids, labels):
        for value in [] if values is None else values.tolist():
            crc = crc32(os.fsencode(str(value)) + b"\0", crc)
    return crc


def read_index(path: str | os.PathLike[str], *, mmap: bool) -> IndexContent:
    """Read an index.

    Raises
    ------
    FileFormatError
        If the file is missing, foreign, of another version or damaged.
    """
    place = os.fspath(path)
    if not Path(place).is_file():
        raise FileFormatError(
            f"index {place!r}: there is no such file, expected one made by featx index"
        )
    with _readable(place), h5py.File(place, "r") as h5:
        _check_format(h5, place)
        ids, labels = _decoded(h5["ids"]), _decoded(h5["labels"]) if "labels" in h5 else None
        data = _vectors(h5, place, mmap=mmap)
        content = IndexContent(
            metric=str(h5.attrs["metric"]),
            vectors=Vectors(data, h5["norms"][:]),
            ids=ids,
            labels=labels,
            recipe=_recipe(h5.attrs["recipe"]),
            made_with=json.loads(h5.attrs["made_with"]),
        )
        n = len(data)
        lengths = {len(ids), len(content.vectors.norms), n if labels is None else len(labels)}
        if lengths != {n} or content.metric not in METRICS:
            raise FileFormatError(f"index {place!r}: its parts do not fit each other; {REMEDY}")
        if _text_crc(ids, labels) != h5.attrs["text_crc"]:
            raise FileFormatError(f"index {place!r}: ids do not fit their checksum; {REMEDY}")
    return content


REMEDY = "the file is damaged: make it anew with featx index"


def _recipe(text: str) -> Recipe | None:
    return Recipe.from_dict(json.loads(text)) if text else None


def _check_format(h5: Any, place: str) -> None:
    found, version = h5.attrs.get("format"), h5.attrs.get("format_version")
    if found != FORMAT:
        raise FileFormatError(
            f"index {place!r}: is an HDF5 file, but its attribute 'format' is {found!r}, expected "
            f"{FORMAT!r}; give a file made by featx index"
        )
    if version != FORMAT_VERSION:
        raise FileFormatError(
            f"index {place!r}: got format version {version!r}, expected {FORMAT_VERSION}; it was "
            "written by another version of featx: upgrade with pip install -U featx"
        )


def _decoded(dataset: Any) -> NDArray[Any]:
    if dataset.dtype.kind == "i":
        return np.asarray(dataset[:], np.int64)
    values = [os.fsdecode(value) for value in dataset[:]]
    return np.array(values, dtype=str) if values else np.empty(0, "U1")


def _vectors(h5: Any, place: str, *, mmap: bool) -> NDArray[np.float32]:
    dataset = h5["vectors"]
    if mmap:
        offset = dataset.id.get_offset()
        if offset is None:
            raise ParameterError(f"index {place!r}: is empty and cannot be memory-mapped")
        return np.memmap(place, "<f4", "r", offset, dataset.shape)
    data = np.asarray(dataset[:], np.float32)
    for start, n, crc in h5["block_crc"][:].tolist():
        if crc32(np.ascontiguousarray(data[start : start + n]).data) != crc:
            raise FileFormatError(
                f"index {place!r}: rows {start}..{start + n - 1} do not fit their checksum; "
                f"{REMEDY}"
            )
    return data


@contextlib.contextmanager
def _readable(place: str) -> Iterator[None]:
    """Turn whatever h5py raises on a damaged file into `FileFormatError`."""
    try:
        yield
    except FeatxError:
        raise
    except Exception as err:
        reason = " ".join(str(err).split())[:160]
        raise FileFormatError(
            f"index {place!r}: cannot be read ({reason}), expected a file made by featx index; "
            "if it is one, it is damaged: make it anew"
        ) from err
