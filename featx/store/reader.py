"""Read a store: the rows of one table, as NumPy arrays, as much at a time as asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from featx._remote import is_url
from featx.errors import ParameterError
from featx.store._container import Opened
from featx.store._failures import Failure, read_failures
from featx.store._records import Records, digest_text
from featx.store._settled import SettledFile
from featx.store._snapshot import FrozenState, Snapshot
from featx.store._tables import choose_by_name
from featx.store._text import text_array
from featx.store._vectors import Vectors
from featx.store.info import store_info
from featx.store.prune import prune_store

__all__ = ["FeatureStore", "open_store"]


def open_store(
    path: str | os.PathLike[str],
    *,
    table: str | None = None,
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
    layer, pooling : str, optional
        Choose the table by these instead, where they fit only one.

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
        If the choice fits no table, or several, or both ways of choosing are given; the message
        lists them.

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
    if layer is None and pooling is None:
        return FeatureStore(path, table=table)
    if table is not None:
        raise ParameterError(
            f"table: got {table!r} together with layer={layer!r}, pooling={pooling!r}, expected "
            "one way to choose; leave the others out"
        )
    chosen = choose_by_name(os.fspath(path), store_info(path).tables, layer, pooling)
    return FeatureStore(path, table=chosen.key)


class FeatureStore:
    """Features of images, with their paths and labels; read-only. See `open_store`.

    It behaves as an array of shape (n_samples, n_features): ``len(store)``, ``store[5]``,
    ``store[10:20]``, ``store[[7, 3]]``, ``np.asarray(store)``. Indexing reads only the rows asked
    for, and compares each with its checksum; `np.asarray` reads everything and converts to
    float32.

    Parameters
    ----------
    path : path
        The HDF5 file.
    table : str, optional
        Fingerprint of the table, or enough of its start.

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

    def __init__(self, path: str | os.PathLike[str], *, table: str | None = None) -> None:
        self.path = os.fspath(path)
        self.summary: Any = None
        self._file = SettledFile(path)
        self._vectors: tuple[Snapshot, Opened, Vectors] | None = None
        try:
            self._state = FrozenState(self._file, self.path, table)
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

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        if isinstance(rows, slice):
            start, stop, step = rows.indices(self.n_samples)
            if step == 1:
                return self._index(lambda vectors: vectors.run(start, max(start, stop)))
            rows = np.arange(start, stop, step)
        numbers = np.asarray(rows)
        if numbers.dtype == bool:
            numbers = self._from_mask(numbers)
        if numbers.dtype.kind not in "iu" and numbers.size:
            raise IndexError(
                f"store[{rows!r}]: expected a row number, a slice or an array of row numbers"
            )
        flat = numbers.reshape(-1).astype(np.int64)
        bad = flat[(flat < -self.n_samples) | (flat >= self.n_samples)]
        if len(bad):
            raise IndexError(f"store[{int(bad[0])}]: expected a row below {self.n_samples}")
        flat = np.where(flat < 0, flat + self.n_samples, flat)
        found = self._index(lambda vectors: vectors.rows(flat))
        return found.reshape(*numbers.shape, self.n_features)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("a store is on disk: reading it makes a copy; pass copy=None")
        return np.asarray(self[:], dtype=np.float32 if dtype is None else dtype)

    def iter_blocks(self, n_rows: int = 4096) -> Iterator[tuple[int, NDArray[Any]]]:
        """Go through all rows, holding one block.

        Parameters
        ----------
        n_rows : int, default 4096
            Rows a block; memory grows with it.

        Yields
        ------
        start : int
            Row of the block's first vector.
        block : ndarray of shape (at most n_rows, n_features)
        """
        if n_rows < 1:
            raise ParameterError(f"n_rows: got {n_rows!r}, expected at least 1")
        for start in range(0, self.n_samples, n_rows):
            yield start, self[start : start + n_rows]

    # -- what stands beside the vectors ----------------------------------------------------------

    @property
    def paths(self) -> NDArray[np.str_]:
        """Path of each image, (n_samples,)."""
        return text_array(self._load().path)

    @property
    def labels(self) -> NDArray[np.str_] | None:
        """Label of each image, (n_samples,), "" where it has none; None if no image has one."""
        return text_array(self._load().label) if self._state.snapshot.has_labels else None

    @property
    def metadata(self) -> dict[str, NDArray[np.str_]]:
        """Further columns of the manifest by name, each (n_samples,)."""
        columns = self._load().metadata
        return {name: text_array(columns[name]) for name in self._state.snapshot.columns}

    @property
    def digests(self) -> NDArray[np.str_]:
        """SHA-256 of each image's content, (n_samples,), "" where not known."""
        return digest_text(self._load().numbers["digest"])

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Images that could not be read."""
        return self._state.read(
            lambda seen, opened: read_failures(opened.h5, opened.file, seen.failure_crcs)
        )

    @property
    def made_with(self) -> dict[str, Any]:
        """Engine, device and versions of the last run that wrote to the table."""
        return dict(json.loads(self._state.snapshot.made_with))

    def select(self, *, layer: str | None = None, pooling: str | None = None) -> FeatureStore:
        """Open the table of another layer or pooling of the same file.

        Raises
        ------
        ParameterError
            If none or several fit; the message lists the tables.
        """
        chosen = choose_by_name(self.path, self.tables, layer, pooling)
        return FeatureStore(self.path, table=chosen.key)

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
        return f"FeatureStore({self.path!r}, table={self.table.key!r}, shape={self.shape})"

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
                lambda seen, opened: Records.read_checked(
                    self._group(opened), opened.file, 0, len(seen.row_crcs), seen.row_crcs
                )
            )
        return self._records

    def _from_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        if mask.shape != (self.n_samples,):
            raise IndexError(f"store[mask]: got shape {mask.shape}, expected ({self.n_samples},)")
        return np.flatnonzero(mask)

    def _group(self, opened: Opened) -> Any:
        return opened.h5["tables"][self.table.key]


def _reopen(path: str, key: str, fingerprint: tuple[int, int]) -> FeatureStore:
    """Open the rows that were pickled, in the state that they had."""
    store = FeatureStore(path, table=key)
    store._state.go_back_to(fingerprint)
    store.table = store._state.table
    return store
