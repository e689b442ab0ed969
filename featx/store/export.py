"""Write a table in another format: NumPy's, Parquet or CSV."""

from __future__ import annotations

import csv
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from featx._optional import require
from featx.errors import ParameterError, nearest
from featx.files.outputs import write_output
from featx.store._frames import ArrowBlocks
from featx.store.columns import name_features, text_columns
from featx.store.reader import FeatureStore, open_store

__all__ = ["export_store"]

BLOCK_BYTES = 16 * 2**20


def export_store(
    store_path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    table: str | None = None,
    labels_only: bool = False,
) -> None:
    r"""Export a table; features are copied block by block, never held as a whole.

    Parameters
    ----------
    store_path : path
        The store.
    out : path
        Its suffix is the format. ``.npz``: arrays `features` (n_samples, n_features), `paths`,
        `labels` ("" where absent), `digests` and ``metadata.<column>``, which `numpy.load` reads
        without pickles. ``.npy``: the features alone. ``.parquet``: the table that
        `FeatureStore.to_arrow` describes. ``.csv``: one row per image, with columns `path`,
        `label`, those of the manifest and ``feature_0``, ``feature_1``, ..., as
        `FeatureStore.to_pandas` has them. Text that is not UTF-8 has ``\xe9`` in these two for a
        byte that does not decode; ``.npz`` has the names as Python does. The file appears under
        its name once it is complete.
    table : str, optional
        As for `open_store`.
    labels_only : bool, default False
        Leave the features out of a ``.csv``: a label file, as `featx.LabelSession` goes on with.

    Raises
    ------
    ParameterError
        If the suffix is none of these, or the features cannot be left out.
    StoreWriteError
        If `out` cannot be written, or is a file of another kind.
    MissingDependencyError
        If Parquet is asked for and pyarrow is not installed.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from featx.store import write_features
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = write_features(folder / "f.h5", np.eye(2), paths=["a.jpg", "b.jpg"])
    >>> export_store(folder / "f.h5", folder / "f.npz")
    >>> np.load(folder / "f.npz")["paths"].tolist()
    ['a.jpg', 'b.jpg']
    """
    target = Path(out)
    suffix = target.suffix.lower()
    writers: dict[str, Callable[[FeatureStore, Path], None]] = {
        ".npz": _write_npz,
        ".npy": _write_npy,
        ".parquet": _write_parquet,
        ".csv": _write_csv,
    }
    if suffix not in writers:
        raise ParameterError(
            f"out: got {str(out)!r}, expected a name that ends in one of {', '.join(writers)}."
            f"{nearest(suffix, writers)}"
        )
    if labels_only and suffix != ".csv":
        raise ParameterError(
            f"labels_only: got True for {str(out)!r}, expected a name that ends in .csv"
        )
    kind = "labels" if labels_only else suffix[1:]
    write = _write_labels if labels_only else writers[suffix]
    with open_store(store_path, table=table) as store, write_output(target, kind) as beside:
        write(store, beside)


def _n_rows(store: FeatureStore) -> int:
    return max(1, BLOCK_BYTES // (store.n_features * store.dtype.itemsize))


def _copy_features(store: FeatureStore, file: IO[bytes]) -> None:
    header = {
        "descr": npy.dtype_to_descr(store.dtype),
        "fortran_order": False,
        "shape": store.shape,
    }
    npy.write_array_header_2_0(file, header)
    for _, block in store.iter_blocks(_n_rows(store)):
        file.write(np.ascontiguousarray(block).data)


def _write_labels(store: FeatureStore, path: Path) -> None:
    columns = text_columns(store, reserved=())
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _write_npy(store: FeatureStore, path: Path) -> None:
    with path.open("wb") as file:
        _copy_features(store, file)


def _write_npz(store: FeatureStore, path: Path) -> None:
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        with archive.open("features.npy", "w", force_zip64=True) as file:
            _copy_features(store, file)
        for name, column in _npz_columns(store).items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                npy.write_array(file, column, allow_pickle=False)


def _npz_columns(store: FeatureStore) -> dict[str, NDArray[Any]]:
    labels = store.labels
    return {
        "paths": store.paths,
        "labels": np.full(len(store), "") if labels is None else labels,
        "digests": store.digests,
        **{f"metadata.{name}": values for name, values in store.metadata.items()},
    }


def _write_parquet(store: FeatureStore, path: Path) -> None:
    parquet = require("pyarrow.parquet", extra="parquet", purpose="exporting to .parquet")
    blocks = ArrowBlocks(store, _n_rows(store), purpose="exporting to .parquet")
    # a file, since Arrow takes no name that is not UTF-8
    with path.open("wb") as file, parquet.ParquetWriter(file, blocks.schema) as writer:
        for block in blocks:
            writer.write_batch(block)


def _write_csv(store: FeatureStore, path: Path) -> None:
    names = name_features(store.n_features)
    columns = text_columns(store, reserved=names)
    text = list(zip(*columns.values(), strict=True))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, *names])
        for start, block in store.iter_blocks(_n_rows(store)):
            numbers = block.astype(np.str_).tolist()  # the shortest text that gives them back
            rows = zip(text[start : start + len(block)], numbers, strict=True)
            writer.writerows([*words, *vector] for words, vector in rows)
