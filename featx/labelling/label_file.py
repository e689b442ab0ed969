"""A label file that is written label by label, also by several people at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from featx.errors import ManifestError, StoreWriteError
from featx.files.atomic import replacing
from featx.files.locks import WriterLock
from featx.files.paths import common_form
from featx.files.remote import is_url
from featx.images.join import attribute_labels, join_labels
from featx.images.labels import to_labels
from featx.images.paths import absolute_path, find_matches
from featx.images.tables import LABEL, PATH, Table, read_table

__all__ = ["LabelFile", "check_label_file"]

LOCK_TIMEOUT_S = 10.0
MEANING = {1.0: "1", 0.0: "0"}
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
    revision : int
        Grows with each change, whoever made it.
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
        self.paths = images
        self.path = Path(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111
        self.columns = columns
        self.values: dict[int, Values] = {}
        self.revision = 0
        self.messages: list[str] = []
        self._given: dict[int, Values] = {}  # by us, since the file was opened
        self._thing = f"label file {str(self.path)!r}"
        self._table = self._new_table()
        self._places: dict[int, list[int]] = {}  # position in `images` -> rows of the table
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
        check_label_file(self.path)
        with self._lock():
            stamp = self._look()
            if stamp != self._stamp:
                self._load(stamp)
            changes = {**self._lost, **changes}
            table, places = self._change(changes)
            self._write(table)
            self._table, self._places, self._lost = table, places, {}
            found = dict(self.values)  # another thread may be reading the old one
            for image, values in changes.items():
                if values is None:
                    found.pop(image, None)
                    self._given.pop(image, None)
                else:
                    found[image] = self._given[image] = values
            self.values = found
            self.revision += 1
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
                f"{self._thing}: cannot be looked at ({err.strerror or err}), expected a readable "
                "file"
            ) from err
        return _Stamp(status.st_ino, status.st_size, status.st_mtime_ns)

    def _load(self, stamp: _Stamp | None) -> None:
        """Read the file, and find out what somebody has made of our labels."""
        table, values, places, n_unused = self._read(stamp)
        self.messages = []
        changed = [i for i, v in self._given.items() if i in values and values[i] != v]
        if changed:
            first = changed[0]
            self.messages.append(
                f"{len(changed)} of your labels were changed in the file, such as that of "
                f"{self.paths[first]!r} to {' '.join(values[first])!r}"
            )
            self._given.update({i: values[i] for i in changed})
        self._lost = {i: v for i, v in self._given.items() if i not in values}
        if self._lost:
            self.messages.append(f"{len(self._lost)} of your labels were missing and are put back")
        if n_unused:
            rows = "row of the file fits" if n_unused == 1 else "rows of the file fit"
            self.messages.append(f"{n_unused} {rows} no image; the file keeps them")
        self.values, self._table, self._places, self._stamp = values, table, places, stamp
        self.revision += 1

    def _new_table(self) -> Table:
        return Table(self._thing, [PATH, *self.columns], [], [])

    def _read(
        self, stamp: _Stamp | None
    ) -> tuple[Table, dict[int, Values], dict[int, list[int]], int]:
        if stamp is None or not stamp.size_bytes:
            return self._new_table(), {}, {}, 0
        table = read_table(str(self.path), self._thing).with_columns(self.columns)
        if not table.rows:
            return table, {}, {}, 0
        folder = str(self.path.parent)
        labels = to_labels(table, folder)
        joined = join_labels(self.paths, labels)  # which refuses two labels of one image
        if self.columns == (LABEL,):
            chosen: Iterable[Values] = [(label,) for label in joined.labels or ()]
        else:  # whatever words for yes and no an editor has written
            numbers = attribute_labels(self, labels, self.columns).values
            chosen = [tuple(MEANING.get(x, "") for x in row) for row in numbers.tolist()]
        values = dict(zip(joined.rows.tolist(), chosen, strict=True))
        images_of = dict(zip(labels.paths, find_matches(self.paths, labels), strict=True))
        column = table.place_of(PATH)
        places: dict[int, list[int]] = {}
        for place, row in enumerate(table.rows):
            path = absolute_path(os.path.expanduser(row[column]), folder)  # noqa: PTH111
            for image in images_of[path]:
                places.setdefault(image, []).append(place)
        in_order = sorted(values, key=lambda image: places[image][0])
        return table, {image: values[image] for image in in_order}, places, len(joined.unused)

    def _change(self, changes: Mapping[int, Values | None]) -> tuple[Table, dict[int, list[int]]]:
        """Return the table after some changes, and where each image stands in it."""
        table = self._table
        rows: list[list[str] | None] = [list(row) for row in table.rows]
        places = {image: list(found) for image, found in self._places.items()}
        columns = [table.place_of(name) for name in self.columns]
        path, folder = table.place_of(PATH), self._folder_of_paths()
        for image, values in changes.items():
            if values is None:
                for place in places.pop(image, ()):
                    rows[place] = None
                continue
            if image not in places:
                places[image] = [len(rows)]
                new = [""] * len(table.header)
                new[path] = _relative_path(self.paths[image], folder)
                rows.append(new)
            for place in places[image]:
                row = rows[place]
                assert row is not None
                for column, value in zip(columns, values, strict=True):
                    row[column] = value
        kept = [place for place, row in enumerate(rows) if row is not None]
        moved = {place: k for k, place in enumerate(kept)}
        return (
            replace(table, rows=[row for row in rows if row is not None], lines=[]),
            {image: [moved[place] for place in found] for image, found in places.items()},
        )

    def _folder_of_paths(self) -> str:
        """Return the folder that the paths in the file start from.

        It is the file's own, unless the images are elsewhere now and the rows fit them by the ends
        of their paths. New rows have to be of that kind too: one whole path, and the ends would
        no longer be looked at.
        """
        mine = f"{self.path.parent}{os.sep}"
        if not self._places:
            return mine
        image, (place, *_) = next(iter(self._places.items()))
        written = self._table.rows[place][self._table.place_of(PATH)]
        path = self.paths[image]
        whole = absolute_path(os.path.expanduser(written), mine)  # noqa: PTH111
        if common_form(whole) == common_form(path):
            return mine
        return path[: -len(written)] if path.endswith(written) else os.sep

    def _write(self, table: Table) -> None:
        try:
            with replacing(self.path.resolve()) as beside:
                beside.write_bytes(table.to_bytes())
        except OSError as err:
            raise StoreWriteError(
                f"{self._thing}: cannot be written ({err.strerror or err}); what was written "
                "before is kept; close it in other programs, or make room, and try again"
            ) from err


def check_label_file(path: str | os.PathLike[str]) -> None:
    """Refuse a label file that could not be written, before there are labels to lose.

    Raises
    ------
    StoreWriteError
        If there is no such folder, or it or the file may not be written.
    """
    file = Path(os.path.expanduser(path)).resolve()  # noqa: PTH111
    thing = f"label file {os.fspath(path)!r}"
    if not file.parent.is_dir():
        raise StoreWriteError(
            f"{thing}: its folder {str(file.parent)!r} does not exist, expected one to write to; "
            "make it, or choose another path"
        )
    if file.is_dir():
        raise StoreWriteError(f"{thing}: is a folder, expected a file; name a file in it")
    for found in (file.parent, file):
        # Of a file that says so itself; whoever may write everything would not be stopped by it.
        if found.exists() and not (os.access(found, os.W_OK) and found.stat().st_mode & 0o222):
            what = "may" if found == file else f"is in {str(found)!r}, which may"
            raise StoreWriteError(
                f"{thing}: {what} not be written; give yourself the right, or label into another "
                "file"
            )


def _relative_path(image: str, folder: str) -> str:
    """Return an image's path as the file has it: relative where it lies below a folder."""
    if is_url(image) or not image.startswith(folder):
        return image
    return image[len(folder) :].replace(os.sep, "/")
