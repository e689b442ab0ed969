"""Write a store: one writer at a time, and every commit happens at once or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from functools import partial
from io import FileIO
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np

from featx._version import __version__
from featx.errors import FeatxError, ParameterError, StoreWriteError
from featx.files.formats import STORE
from featx.files.hdf5 import LIBVER
from featx.files.locks import WriterLock, require_named
from featx.recipe import Recipe
from featx.store import _disk
from featx.store._container import (
    create_container,
    id_offset,
    new_commit_id,
    open_for_reading,
    recover,
    require_untouched,
    store_path,
)
from featx.store._failures import Failure, check_failures, read_failures, write_failures
from featx.store._layout import table_key
from featx.store._transaction import AppliedLaterError, PatchedFile, TransactionFile
from featx.store.table_writer import TableWriter
from featx.store.tables import new_table, read_tables, table_info

__all__ = ["StoreWriter"]


class StoreWriter:
    """Open a store for writing; a context manager.

    Parameters
    ----------
    path : path
        The HDF5 file. Made if absent or empty; refused, and left as it is, if it is no featx
        store.
    timeout_s : float, default 0.0
        How long to wait for another writer, in seconds; -1 waits as long as it takes.

    Raises
    ------
    StoreWriteError
        If another writer has it open, or it cannot be written.
    FileFormatError
        If the file is not a featx store, or is damaged.

    Notes
    -----
    What `commit` has returned from survives a kill, a full disk and a power cut; what was appended
    since is in memory only. Leaving the context commits it, also on Ctrl-C and on an error of
    featx, since every row appended is complete. Any other exception leaves it out: the program's
    state is then unknown. Readers need no lock and see the last commit.

    A commit costs three waits for the disk (a few ms on an SSD, about 50 ms on a hard disk), so
    call it every few seconds, not for every batch. Not thread-safe.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "f.h5"
    >>> with StoreWriter(path) as writer:
    ...     table = writer.table(None, has_labels=False, n_features=2)
    ...     table.append(["a.jpg"], [[0.5, 1.0]], digests=[""], sizes=[0], mtimes=[0])
    ...     writer.commit()
    ...     table.n_samples
    1
    """

    def __init__(self, path: str | os.PathLike[str], *, timeout_s: float = 0.0) -> None:
        self.path = store_path(path)
        self._tables: dict[str, TableWriter] = {}
        self._failures: dict[str, Failure] | None = None
        self._reader: tuple[h5py.File, PatchedFile] | None = None
        self._file: FileIO | None = None
        self._lock = WriterLock(self.path, timeout_s)
        try:
            self._file = self._open()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        keep = error is None or isinstance(error, (FeatxError, KeyboardInterrupt, SystemExit))
        try:
            # After a failed commit the disk is full, or worse: another try would only hide why.
            if keep and not isinstance(error, StoreWriteError):
                self.commit()
        finally:
            self.close()

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The images that could not be read, those not yet committed included."""
        if self._failures is not None:
            return tuple(self._failures.values())
        with STORE.reading(self.path, "the failures table"):
            return read_failures(*self._committed())

    @property
    def table_keys(self) -> tuple[str, ...]:
        """Keys of the committed tables: fingerprints, or "outside"."""
        with STORE.reading(self.path, "/tables"):
            return tuple(self._read()["tables"])

    def table(
        self,
        recipe: Recipe | None,
        *,
        has_labels: bool,
        made_with: Mapping[str, Any] | None = None,
        n_features: int | None = None,
        dtype: str = "float32",
    ) -> TableWriter:
        """Open the table of a recipe; a new one comes with the next commit.

        Parameters
        ----------
        recipe : Recipe or None
            None for features that were made outside featx; a store has at most one such table.
        has_labels : bool
            Whether the images have labels. A table that has labels keeps them.
        made_with : dict, optional
            JSON-serialisable: engine, device, versions; kept for people. A key replaces what an
            earlier run or call said under it.
        n_features : int, optional
            Width of a new table without a recipe.
        dtype : {"float32", "float16"}, default "float32"
            Type of a new table without a recipe.

        Raises
        ------
        ParameterError
            If the width is not known, or differs from the table's.
        FileFormatError
            If the table in the file is damaged.
        """
        key = table_key(recipe)
        if key not in self._tables:
            with STORE.reading(self.path, f"table {key!r}"):
                group = self._read()["tables"].get(key)
                is_new = group is None
                info = new_table(recipe, n_features, dtype) if is_new else table_info(key, group)
                self._tables[key] = TableWriter(info, partial(self._open_table, key))
        table = self._tables[key]
        width = n_features if recipe is None else recipe.n_features
        if width is not None and width != table.n_features:
            raise ParameterError(
                f"n_features: got {width}, expected {table.n_features}, the width of table "
                f"{key!r} of {str(self.path)!r}; write these features into a new file"
            )
        table.has_labels |= has_labels
        table.made_with |= json.loads(json.dumps(dict(made_with or {})))
        return table

    def add_failures(self, failures: Iterable[Failure]) -> None:
        """Record images that could not be read; one that is there already is replaced."""
        self._set({**self._by_path(), **check_failures(failures)})

    def remove_failures(self, paths: Iterable[str]) -> None:
        """Forget the failures of images that could be read after all; others are no error."""
        names = set(paths)
        known = self._by_path() if names else {}
        if not names.isdisjoint(known):
            self._set({path: f for path, f in known.items() if path not in names})

    def tables(self) -> tuple[TableWriter, ...]:
        """Open all committed tables."""
        with STORE.reading(self.path, "/tables"):
            recipes = [info.recipe for info in read_tables(self._read())]
        return tuple(self.table(recipe, has_labels=False) for recipe in recipes)

    def commit(self) -> None:
        """Make everything so far durable.

        Raises
        ------
        StoreWriteError
            If the disk is full or refuses. The store is then as after the last commit, what was
            pending still is, and commit may be called again.
        FileFormatError
            If the part of the file that has to be rewritten is damaged.
        """
        file = self._require_open()
        if self._failures is None and not any(t.is_pending for t in self._tables.values()):
            return
        try:
            require_untouched(self.path, file, self._eof, self._id_offset, self._commit_id)
        except StoreWriteError:
            self._abandon()
            raise
        self._close_reader()
        transaction = TransactionFile(self.path, file, self._eof)
        new_id = new_commit_id()
        try:
            with STORE.reading(self.path):
                self._write(transaction, new_id)
            transaction.commit(self._id_offset, self._commit_id, new_id)
            require_named(self.path, file)
        except AppliedLaterError as err:
            raise StoreWriteError(
                f"store {str(self.path)!r}: {err.strerror or err}; everything is committed, but "
                f"part of it only in {self.path.name}.journal, which the next writer writes into "
                "the store: keep the two files together and run again"
            ) from err
        except OSError as err:
            require_named(self.path, file)
            raise StoreWriteError(self._commit_message(err)) from err
        finally:
            self._after(transaction, new_id)

    def close(self) -> None:
        """Release the file without committing; may be called again."""
        self._close_reader()
        self._abandon()
        self._lock.release()

    def _open(self) -> FileIO:
        is_empty = self.path.is_file() and not self.path.stat().st_size
        if is_empty or not os.path.lexists(self.path):
            try:
                create_container(self.path, f"featx {__version__}")
            except OSError as err:
                raise StoreWriteError(
                    f"store {str(self.path)!r}: cannot be made ({err.strerror or err}); the "
                    "folder must be writable and have space"
                ) from err
        # Is it a store at all? Until then nothing is touched.
        open_for_reading(self.path).close()
        try:
            file = _disk.open_file(self.path, "r+b")
        except OSError as err:
            raise StoreWriteError(
                f"store {str(self.path)!r}: cannot be written ({err.strerror}); make it writable "
                "or copy it"
            ) from err
        self._file = file
        self._lock.hold(file)
        try:
            self._eof = recover(self.path, file)
        except OSError as err:
            raise StoreWriteError(
                f"store {str(self.path)!r}: an interrupted commit cannot be finished "
                f"({err.strerror or err}); see to the disk and open it again"
            ) from err
        with STORE.reading(self.path, "attribute 'commit_id'"):
            self._commit_id = bytes(self._read().attrs["commit_id"])
        self._id_offset = id_offset(self.path, file, self._commit_id)
        return file

    def _write(self, transaction: TransactionFile, new_id: bytes) -> None:
        with h5py.File(transaction, "r+", libver=LIBVER) as h5:
            h5.attrs.modify("commit_id", np.bytes_(new_id))
            for table in self._tables.values():
                table.apply(h5["tables"], transaction)
            if self._failures is not None:
                write_failures(h5, list(self._failures.values()))

    def _after(self, transaction: TransactionFile, new_id: bytes) -> None:
        file = self._require_open()
        try:
            if not transaction.is_durable:
                require_untouched(self.path, file, self._eof, self._id_offset, self._commit_id)
                transaction.rollback()
                return
            self._eof, self._commit_id, self._failures = transaction.new_eof, new_id, None
            for table in self._tables.values():
                table.settle()
            require_named(self.path, file)
            recover(self.path, file)  # what an error or Ctrl-C kept from being written in place
        except (OSError, StoreWriteError):
            self._abandon()

    def _abandon(self) -> None:
        """Stop writing: the next opening sorts out what the disk refused, or is not ours."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def _commit_message(self, err: OSError) -> str:
        n_pending = sum(table.n_pending for table in self._tables.values())
        n_rows = sum(table.n_samples - table.n_added for table in self._tables.values())
        return (
            f"store {str(self.path)!r}: {err.strerror or err}; {n_rows} rows are committed and "
            f"stay, {n_pending} are not; make room and run again: it continues from there"
        )

    def _open_table(self, key: str) -> tuple[Any, PatchedFile]:
        h5, file = self._committed()
        with STORE.reading(self.path, f"table {key!r}"):
            return h5["tables"].get(key), file

    def _read(self) -> h5py.File:
        """Return the last committed state."""
        return self._committed()[0]

    def _committed(self) -> tuple[h5py.File, PatchedFile]:
        """Return the last committed state, and what HDF5 reads it through."""
        if self._reader is None:
            file = PatchedFile(self._require_open(), self._eof)
            with STORE.reading(self.path):
                self._reader = h5py.File(file, "r"), file
        return self._reader

    def _close_reader(self) -> None:
        if self._reader is not None:
            with contextlib.suppress(Exception):  # a damaged file may refuse even that
                self._reader[0].close()
        self._reader = None

    def _require_open(self) -> FileIO:
        if self._file is None:
            raise StoreWriteError(
                f"store {str(self.path)!r}: this writer is closed; open a new StoreWriter"
            )
        return self._file

    def _by_path(self) -> dict[str, Failure]:
        return {f.path: f for f in self.failures}

    def _set(self, failures: dict[str, Failure]) -> None:
        if failures != self._by_path():
            self._failures = failures
