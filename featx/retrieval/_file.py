"""An index in one HDF5 file: written beside and renamed, checked when read, or memory-mapped.

All text is one JSON document in the dataset ``header``, not HDF5's own strings of variable length:
those lie in heaps without checksums, in which a flipped byte can make the HDF5 library loop
forever. What remains are object headers, which have checksums, and two plain arrays.
"""

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
    # Contiguous and without filters, so that it can be memory-mapped.
    vectors = h5.create_dataset("vectors", content.vectors.shape, "<f4")
    crcs = []
    for start, block in content.vectors.blocks():
        vectors[start : start + len(block)] = block
        crcs.append([start, len(block), crc32(np.ascontiguousarray(block).data)])
    norms = content.vectors.norms.astype("<f4")
    h5["norms"] = norms
    header = {
        "creator": f"featx {featx.__version__}",
        "metric": content.metric,
        "recipe": None if content.recipe is None else content.recipe.to_dict(),
        "made_with": content.made_with,
        "ids": content.ids.tolist(),
        "labels": None if content.labels is None else [str(x) for x in content.labels.tolist()],
        "vectors_crc": crcs,
        "norms_crc": crc32(norms.data),
    }
    text = json.dumps(header).encode("ascii")  # lone surrogates of odd file names are escaped
    h5["header"] = np.frombuffer(text, np.uint8)
    h5["header"].attrs["crc"] = crc32(text)
    h5.attrs["format"] = np.bytes_(FORMAT)
    h5.attrs["format_version"] = FORMAT_VERSION


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
        text = h5["header"][:].tobytes()
        if crc32(text) != h5["header"].attrs["crc"]:
            raise _damaged(place, "the header does not fit its checksum")
        header = json.loads(text)
        norms = h5["norms"][:]
        if crc32(norms.data) != header["norms_crc"]:
            raise _damaged(place, "the norms do not fit their checksum")
        data = _vectors(h5, place, header["vectors_crc"], mmap=mmap)
        recipe, labels = header["recipe"], header["labels"]
        content = IndexContent(
            metric=header["metric"],
            vectors=Vectors(data, norms),
            ids=_column(header["ids"]),
            labels=None if labels is None else _column(labels),
            recipe=None if recipe is None else Recipe.from_dict(recipe),
            made_with=header["made_with"],
        )
    n = len(data)
    lengths = {len(norms), len(content.ids), n if labels is None else len(labels)}
    if lengths != {n} or content.metric not in METRICS:
        raise _damaged(place, "its parts do not fit each other")
    return content


def _column(values: list[Any]) -> NDArray[Any]:
    return np.array(values) if values else np.empty(0, "U1")


def _damaged(place: str, what: str) -> FileFormatError:
    return FileFormatError(
        f"index {place!r}: {what}; the file is damaged: make it anew with featx index"
    )


def _check_format(h5: Any, place: str) -> None:
    found, version = h5.attrs.get("format"), h5.attrs.get("format_version")
    found = found.decode("ascii", "replace") if isinstance(found, bytes) else found
    if found != FORMAT:
        raise FileFormatError(
            f"index {place!r}: is an HDF5 file, but its attribute 'format' is {found!r}, expected "
            f"{FORMAT!r}; give a file made by featx index"
        )
    if version != FORMAT_VERSION:
        raise FileFormatError(
            f"index {place!r}: got format version {version}, expected {FORMAT_VERSION}; it was "
            "written by another version of featx: upgrade with pip install -U featx"
        )


def _vectors(h5: Any, place: str, crcs: list[list[int]], *, mmap: bool) -> NDArray[np.float32]:
    dataset = h5["vectors"]
    if mmap:
        offset = dataset.id.get_offset()
        if offset is None:
            raise ParameterError(f"index {place!r}: is empty and cannot be memory-mapped")
        return np.memmap(place, "<f4", "r", offset, dataset.shape)
    data = np.asarray(dataset[:], np.float32)
    for start, n, crc in crcs:
        if crc32(np.ascontiguousarray(data[start : start + n]).data) != crc:
            raise _damaged(place, f"rows {start}..{start + n - 1} do not fit their checksum")
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
