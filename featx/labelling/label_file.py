"""A label file that is written label by label, also by several people at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from featx.errors import ManifestError, StoreWriteError
from featx.files.atomic import replacing
from featx.files.locks import WriterLock
from featx.files.remote import is_url
from featx.images._tables import LABEL, PATH
from featx.images.join import join_labels
from featx.images.labels import LabelTable
from featx.images.paths import absolute_path, find_matches
from featx.labelling._sheet import Sheet, read_sheet, write_sheet

__all__ = ["LabelFile"]

LOCK_TIMEOUT_S = 10.0
Values = tuple[str, ...]


@dataclass(frozen=True)
class _Stamp:
    """What tells one content of a file from another."""

    inode: int
    size_bytes: int
    mtime_ns: int


class LabelFile:
    """The labels of some images, in a CSV with a column ``path``.

    Every change is on the disk when `put` returns: the whole file is written beside the old one
    and takes its place. Other columns, the order of the rows, rows of other images and the
    separator stay as they are. What another process or an editor has written in the meantime is
    read first: the values that the file has then win, and rows of ours that an editor with an
    older copy has lost are put back.

    Parameters
    ----------
    path : path
        The file; it need not exist, its folder must.
    images : sequence of str
        Absolute paths or URLs, as a store has them.
    columns : tuple of str
        ``("label",)``, or the names of attributes.

    Attributes
    ----------
    values : dict of int to tuple of str
        By position in `images`, a value for each of `columns`, in the order of the file.
    messages : list of str
        What was found when the file was read last.

    Raises
    ------
    ManifestError
        If the file is no label file, or says two things of one image.
    """

    def __init__(
        self, path: str | os.PathLike[str], images: Sequence[str], columns: Values = (LABEL,)
    ) -> None:
        self.path = Path(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111
        self.columns = columns
        self.values: dict[int, Values] = {}
        self.messages: list[str] = []
        self._images = images
        self._given: dict[int, Values] = {}  # by us, since the file was opened
        self._sheet = Sheet([PATH, *columns], [])
        self._places: dict[int, list[int]] = {}  # position in `images` -> rows of the sheet
        self._lost: dict[int, Values] = {}  # of ours, which the file should have and has not
        self._stamp: _Stamp | None = None
        self.refresh()

    def refresh(self) -> bool:
        """Read the file where it has changed since; return whether it has."""
        stamp = self._look()
        if stamp == self._stamp:
            return False
        self._load(stamp)
        if self._lost:
            self.put({})
        return True

    def put(self, changes: Mapping[int, Values | None]) -> None:
        """Write the values of some images; None takes an image out.

        Raises
        ------
        ManifestError, StoreWriteError
            If the file cannot be read or written; then nothing has changed.
        """
        with self._lock():
            stamp = self._look()
            if stamp != self._stamp:
                self._load(stamp)
            changes = {**self._lost, **changes}
            sheet, places = self._change(changes)
            self._write(sheet)
            self._sheet, self._places, self._lost = sheet, places, {}
            for image, values in changes.items():
                if values is None:
                    self.values.pop(image, None)
                    self._given.pop(image, None)
                else:
                    self.values[image] = self._given[image] = values
            self._stamp = self._look()

    @contextmanager
    def _lock(self) -> Iterator[None]:
        lock = WriterLock(self.path, LOCK_TIMEOUT_S, kind="label file")
        try:
            yield
        finally:
            lock.release()

    def _look(self) -> _Stamp | None:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError as err:
            raise ManifestError(
                f"label file {str(self.path)!r}: cannot be looked at ({err.strerror or err}), "
                "expected a readable file"
            ) from err
        return _Stamp(status.st_ino, status.st_size, status.st_mtime_ns)

    def _load(self, stamp: _Stamp | None) -> None:
        """Read the file, and find out what somebody has made of our labels."""
        sheet, values, places, n_unused = self._read(stamp)
        self.messages = []
        changed = [i for i, v in self._given.items() if i in values and values[i] != v]
        if changed:
            first = changed[0]
            self.messages.append(
                f"{len(changed)} of your labels were changed in the file, such as that of "
                f"{self._images[first]!r} to {' '.join(values[first])!r}"
            )
            self._given.update({i: values[i] for i in changed})
        self._lost = {i: v for i, v in self._given.items() if i not in values}
        if self._lost:
            self.messages.append(f"{len(self._lost)} of your labels were missing and are put back")
        if n_unused:
            self.messages.append(f"{n_unused} rows of the file fit no image; they are kept")
        self.values, self._sheet, self._places, self._stamp = values, sheet, places, stamp

    def _read(
        self, stamp: _Stamp | None
    ) -> tuple[Sheet, dict[int, Values], dict[int, list[int]], int]:
        if stamp is None or not stamp.size_bytes:
            return Sheet([PATH, *self.columns], []), {}, {}, 0
        sheet = read_sheet(self.path).with_columns(self.columns)
        if not sheet.rows:
            return sheet, {}, {}, 0
        joined = join_labels(self._images, self.path)  # which refuses two labels of one image
        columns = {LABEL: joined.labels, **joined.columns}
        blank = [""] * len(joined.rows)
        chosen = [columns.get(name) or blank for name in self.columns]
        values = dict(zip(joined.rows.tolist(), zip(*chosen, strict=True), strict=True))
        written = tuple(os.path.expanduser(row[sheet.column(PATH)]) for row in sheet.rows)  # noqa: PTH111
        paths = tuple(absolute_path(path, str(self.path.parent)) for path in written)
        table = LabelTable(paths, None, {}, written)
        places: dict[int, list[int]] = {}
        for place, match in enumerate(find_matches(self._images, table)):
            for image in match:
                places.setdefault(image, []).append(place)
        in_order = sorted(values, key=lambda image: places[image][0])
        return sheet, {image: values[image] for image in in_order}, places, len(joined.unused)

    def _change(self, changes: Mapping[int, Values | None]) -> tuple[Sheet, dict[int, list[int]]]:
        """Return the sheet after some changes, and where each image stands in it."""
        rows: list[list[str] | None] = [list(row) for row in self._sheet.rows]
        places = {image: list(found) for image, found in self._places.items()}
        columns = [self._sheet.column(name) for name in self.columns]
        for image, values in changes.items():
            if values is None:
                for place in places.pop(image, ()):
                    rows[place] = None
                continue
            if image not in places:
                places[image] = [len(rows)]
                new = [""] * len(self._sheet.header)
                new[self._sheet.column(PATH)] = self._relative_path(self._images[image])
                rows.append(new)
            for place in places[image]:
                row = rows[place]
                assert row is not None
                for column, value in zip(columns, values, strict=True):
                    row[column] = value
        kept = [place for place, row in enumerate(rows) if row is not None]
        moved = {place: k for k, place in enumerate(kept)}
        return (
            replace(self._sheet, rows=[row for row in rows if row is not None]),
            {image: [moved[place] for place in found] for image, found in places.items()},
        )

    def _relative_path(self, image: str) -> str:
        """Return an image's path as the file has it: relative where it lies below its folder."""
        folder = f"{self.path.parent}{os.sep}"
        if is_url(image) or not image.startswith(folder):
            return image
        return image[len(folder) :].replace(os.sep, "/")

    def _write(self, sheet: Sheet) -> None:
        try:
            with replacing(self.path.resolve()) as beside:
                write_sheet(sheet, beside)
        except OSError as err:
            raise StoreWriteError(
                f"label file {str(self.path)!r}: cannot be written ({err.strerror or err}); what "
                "was written before is kept; close it in other programs, or make room, and try "
                "again"
            ) from err
