"""Read a store: the rows of one table, as NumPy arrays, as much at a time as asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from featx._repr import shorten
from featx.errors import ParameterError, require_count
from featx.files.remote import is_url
from featx.store._chunks import Vectors
from featx.store._container import Opened
from featx.store._failures import Failure, read_failures
from featx.store._frames import Frames
from featx.store._indexing import read_indexed
from featx.store._layout import column_name, digest_text, text_array
from featx.store._records import Records
from featx.store._state import FrozenState, SettledFile, Snapshot
from featx.store.prune import prune_store
from featx.store.tables import choose_table

__all__ = ["FeatureStore", "open_store"]


def open_store(
    path: str | os.PathLike[str],
    *,
    table: str | None = None,
    backbone: str | None = None,
    layer: str | None = None,
    pooling: str | None = None,
) -> FeatureStore:
    """Open a store for reading, also while a writer adds to it.

    Parameters
    ----------
    path : path or URL
        A file made by `featx.extract` or `write_features`. One at a URL is copied to the cache
        folder first, unless the copy there is up to date.
    table : str, optional
        Fingerprint of the table, or enough of its start; not needed where there is only one.
    backbone, layer, pooling : str, optional
        Choose the table by what its recipe says, where only one fits.

    Returns
    -------
    FeatureStore
        The last committed state. It holds no features until some are asked for.

    Raises
    ------
    FileFormatError
        If there is no such file (then also a `FileNotFoundError`), or it is not a featx store, or
        is damaged.
    ParameterError
        If the choice fits no table, or several; the message tells them apart by what differs.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from featx.store import write_features
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "f.h5"
    >>> _ = write_features(path, [[1.0, 0.0], [0.0, 1.0]], paths=["a.jpg", "b.jpg"])
    >>> with open_store(path) as store:
    ...     store.shape, store.paths.tolist(), store[1]
    ((2, 2), ['a.jpg', 'b.jpg'], array([0., 1.], dtype=float32))
    """
    return FeatureStore(path, table=table, backbone=backbone, layer=layer, pooling=pooling)


class FeatureStore(Frames):
    """Features of images, with their paths and labels; read-only. See `open_store`.

    It behaves as an array of shape (n_samples, n_features): ``len(store)``, ``store[5]``,
    ``store[10:20]``, ``store[[7, 3]]``, ``store[mask, :]``, ``store[:, 0]``,
    ``np.asarray(store)``. Indexing follows NumPy's rules, reads only the rows asked for, and
    compares each with its checksum; `np.asarray` reads everything and converts to float32.
    scikit-learn takes it as it is: ``cross_val_score(model, store, store.labels)``.

    Parameters
    ----------
    path : path
        The HDF5 file.
    table, backbone, layer, pooling : str, optional
        Which table, as for `open_store`.

    Attributes
    ----------
    path : str
        The file.
    recipe : Recipe or None
        What the features were made with; None where that was outside featx.
    fingerprint : str or None
        The recipe's.
    summary : object or None
        Figures of the extraction that this store was returned from.

    Notes
    -----
    A store shows what was committed when it was opened, however much a writer adds since. Where a
    writer has changed a row in place (an edited image, a new label), that row is refused with a
    `FileFormatError` that says so: open the store again. Threads may index it together. Opening
    reads two checksums of each row (8 bytes, kept), the first indexing where each chunk lies.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        table: str | None = None,
        backbone: str | None = None,
        layer: str | None = None,
        pooling: str | None = None,
    ) -> None:
        self.path = os.fspath(path)
        self.summary: Any = None
        self._file = SettledFile(path)
        self._vectors: tuple[Snapshot, Opened, Vectors] | None = None
        try:
            choose = partial(
                choose_table,
                self.path,
                wanted=table,
                backbone=backbone,
                layer=layer,
                pooling=pooling,
            )
            self._state = FrozenState(self._file, self.path, choose)
            self.tables, self.table = self._state.tables, self._state.table
            self._records: Records | None = None
        except BaseException:
            self.close()
            raise
        self.recipe, self.fingerprint = self.table.recipe, self.table.fingerprint

    # -- the array -----------------------------------------------------------------------------

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return self.table.n_samples

    @property
    def n_features(self) -> int:
        """Length of a vector."""
        return self.table.n_features

    @property
    def shape(self) -> tuple[int, int]:
        """(n_samples, n_features)."""
        return self.n_samples, self.n_features

    @property
    def ndim(self) -> int:
        """2."""
        return 2

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored vectors."""
        return np.dtype(self.table.dtype)

    def __len__(self) -> int:
        return self.n_samples

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for _, block in self.iter_blocks():
            yield from block

    def __getitem__(self, index: Any) -> NDArray[Any]:
        return read_indexed(
            index,
            self.shape,
            lambda start, stop: self._index(lambda vectors: vectors.run(start, stop)),
            lambda rows: self._index(lambda vectors: vectors.rows(rows)),
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("a store is on disk: reading it makes a copy; pass copy=None")
        return np.asarray(self[:], dtype=np.float32 if dtype is None else dtype)

    def iter_blocks(self, n_rows: int = 4096) -> Iterator[tuple[int, NDArray[Any]]]:
        """Go through all rows, holding one block.

        Parameters
        ----------
        n_rows : int, default 4096
            Rows per block; memory grows with it.

        Yields
        ------
        start : int
            Row of the block's first vector.
        block : ndarray of shape (at most n_rows, n_features)
        """
        require_count("n_rows", n_rows)
        for start in range(0, self.n_samples, n_rows):
            yield start, self[start : start + n_rows]

    # -- what stands beside the vectors ----------------------------------------------------------

    @property
    def paths(self) -> NDArray[np.str_]:
        """Path of each image, (n_samples,)."""
        return text_array(self._load()["path"])

    @property
    def labels(self) -> NDArray[np.str_] | None:
        """Label of each image, (n_samples,), "" where it has none; None if no image has one."""
        return text_array(self._load()["label"]) if self.table.has_labels else None

    @property
    def metadata(self) -> dict[str, NDArray[np.str_]]:
        """Further columns of the manifest by name, each (n_samples,)."""
        records = self._load()
        return {
            column_name(name): text_array(records[name]) for name in self._state.snapshot.metadata
        }

    @property
    def digests(self) -> NDArray[np.str_]:
        """SHA-256 of each image's content, (n_samples,), "" where not known."""
        return digest_text(self._load()["digest"])

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Images that could not be read."""
        return self._state.read(
            lambda seen, opened: read_failures(opened.h5, opened.file, seen.failure_crcs)
        )

    @property
    def made_with(self) -> dict[str, Any]:
        """Engine, device and versions of the last run that wrote to the table."""
        return self.table.made_with

    def select(
        self,
        *,
        backbone: str | None = None,
        layer: str | None = None,
        pooling: str | None = None,
    ) -> FeatureStore:
        """Open another table of the same file, as `open_store` does.

        Raises
        ------
        ParameterError
            If none or several fit; the message tells them apart by what differs.
        """
        return FeatureStore(self.path, backbone=backbone, layer=layer, pooling=pooling)

    def require_images(self) -> Self:
        """Return itself, for those who make something of its images.

        Raises
        ------
        ParameterError
            If it has none.
        """
        if not len(self):
            raise ParameterError(
                f"store {self.path!r}: has no images, expected at least one; featx info "
                f"{self.path} lists those that could not be read"
            )
        return self

    def prune(self, keep: Iterable[str | os.PathLike[str]] | None = None) -> int:
        """Remove the rows of images that are gone, from all tables of the file.

        No network runs and no image is read. What remains is there after a crash at any instant,
        and other readers of the file are not misled: a row that has another number now is refused
        until they open the store again. This one is opened again here.

        Parameters
        ----------
        keep : iterable of paths, optional
            The images whose rows and failures stay, all others go. Default: only those go whose
            files are no longer there. An image whose folder cannot be read is not gone, nor is one
            at a URL, in memory, or with a name that is no absolute path.

        Returns
        -------
        int
            Images that were removed, those in the failures table included.

        Raises
        ------
        ParameterError
            If `keep` is not empty and names no image of the store.
        StoreWriteError
            If a writer has the store open or the disk refuses.

        Notes
        -----
        Rows keep their order in a table of up to 64 MiB of vectors; in a larger one rows from its
        end take the places that become free, and time grows with the rows removed, not with the
        table.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> from featx.store import write_features
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "f.h5"
        >>> store = write_features(path, np.eye(3), paths=["a.jpg", "b.jpg", "c.jpg"])
        >>> store.prune(keep=["a.jpg", "c.jpg"]), store.shape, store.paths.tolist()
        (1, (2, 3), ['a.jpg', 'c.jpg'])
        """
        n_pruned = prune_store(self.path, keep)
        summary = self.summary
        self.close()
        FeatureStore.__init__(self, self.path, table=self.table.key)
        self.summary = summary
        return n_pruned

    # -- the file ------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the file; may be called again."""
        self._vectors = None
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        path = self.path if is_url(self.path) else os.path.abspath(self.path)  # noqa: PTH100
        return _reopen, (path, self.table.key, self._state.snapshot.fingerprint)

    def __repr__(self) -> str:
        return f"FeatureStore({shorten(self.path)}, table={self.table.key!r}, shape={self.shape})"

    def _index(self, read: Callable[[Vectors], NDArray[Any]]) -> NDArray[Any]:
        return self._state.read(lambda seen, opened: read(self._in(seen, opened)))

    def _in(self, seen: Snapshot, opened: Opened) -> Vectors:
        if self._vectors is None or self._vectors[:2] != (seen, opened):
            vectors = Vectors(self._group(opened), opened.file, seen.features_crcs)
            self._vectors = seen, opened, vectors
        return self._vectors[2]

    def _load(self) -> Records:
        if self._records is None:
            self._records = self._state.read(
                lambda seen, opened: Records.read(
                    self._group(opened), opened.file, slice(len(seen.row_crcs)), seen.row_crcs
                )
            )
        return self._records

    def _group(self, opened: Opened) -> Any:
        return opened.h5["tables"][self.table.key]


def _reopen(path: str, key: str, fingerprint: tuple[int, int]) -> FeatureStore:
    """Open the rows that were pickled, in the state that they had."""
    store = FeatureStore(path, table=key)
    store._state.go_back_to(fingerprint)
    store.table = store._state.table
    return store
