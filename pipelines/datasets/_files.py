"""The folder that a set was unpacked into: find its files, read its lists, say what is missing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import ManifestError
from featx.images import ImageManifest

__all__ = ["SetFolder", "as_label_array"]

SHOWN = 8


@dataclass(frozen=True)
class SetFolder:
    """A folder with a set, or with the folder that the set's archive unpacks into.

    Parameters
    ----------
    name : str
        Of the set.
    path : Path
        As the user gave it, absolute.
    source : str
        Where the set is published.
    inner : tuple of str
        Folders in `path` that the set's archives may have made; what is not in `path` itself is
        looked for in them, in order.
    """

    name: str
    path: Path
    source: str
    inner: tuple[str, ...] = ()

    def error(self, found: str, expected: str) -> ManifestError:
        """Return the error that names the set, what was found and what was expected."""
        return ManifestError(
            f"dataset {self.name!r} in {str(self.path)!r}: found {found}, expected {expected}; "
            f"unpack what {self.source} publishes into it"
        )

    def find(self, *candidates: str) -> Path | None:
        """Return the first of several relative paths that exists, None where none does."""
        for base in ("", *self.inner):
            for candidate in candidates:
                path = self.path / base / candidate
                if path.exists():
                    return path
        return None

    def file(self, *candidates: str) -> Path:
        """Return the first of several files that exists.

        Raises
        ------
        ManifestError
            If none does, with what is in the folder.
        """
        found = self.find(*candidates)
        if found is None or not found.is_file():
            raise self.error(self._content(), f"the file {' or '.join(candidates)}")
        return found

    def folder(self, *candidates: str) -> Path:
        """Return the first of several folders that exists.

        Raises
        ------
        ManifestError
            If none does, with what is in the folder.
        """
        found = self.find(*candidates)
        if found is None or not found.is_dir():
            raise self.error(self._content(), f"the folder {' or '.join(candidates)}")
        return found

    def lines(self, file: Path) -> list[tuple[int, str]]:
        """Return the lines that are not blank, stripped, with their numbers from 1.

        Raises
        ------
        ManifestError
            If it is empty, or no text.
        """
        try:
            text = file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as err:
            raise self.error(f"{file.name} that cannot be read ({err})", "lines of text") from err
        lines = [(i, line.strip()) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
        if not lines:
            raise self.error(f"{file.name} without lines", "one line an image or name")
        return lines

    def table(self, file: Path, *kinds: Callable[[str], Any]) -> list[tuple[Any, ...]]:
        """Return the first fields of each line, each turned into its kind.

        Raises
        ------
        ManifestError
            If a line has fewer fields, or one of another kind; with its number.
        """
        rows = []
        for i, line in self.lines(file):
            fields = line.split(maxsplit=len(kinds))
            try:
                row = tuple(kind(text) for kind, text in zip(kinds, fields, strict=False))
            except ValueError:
                row = ()
            if len(row) < len(kinds):
                expected = " ".join(kind.__name__ for kind in kinds)
                raise self.error(f"{line!r} in line {i} of {file.name}", f"the fields {expected}")
            rows.append(row)
        return rows

    def images(self, base: Path, names: Iterable[str]) -> tuple[str, ...]:
        """Return the absolute paths of listed images.

        Raises
        ------
        ManifestError
            If some are not there, with their number and the first.
        """
        paths = tuple(os.path.join(base, name) for name in names)  # noqa: PTH118 - many
        missing = [path for path in paths if not os.path.exists(path)]  # noqa: PTH110
        if missing:
            raise self.error(
                f"{len(paths) - len(missing)} of {len(paths)} images",
                f"all that its lists name, such as {missing[0]!r}",
            )
        return paths

    def by_stem(self, base: Path) -> dict[str, str]:
        """Return the images under a folder, at any depth, by name without suffix; sorted.

        Raises
        ------
        ManifestError
            If there are none, or two have one name.
        """
        paths = sorted(
            ImageManifest.from_folder(base).require_all().paths, key=lambda p: (Path(p).stem, p)
        )
        found: dict[str, str] = {}
        for path in paths:
            other = found.setdefault(Path(path).stem, path)
            if other != path:
                raise self.error(f"both {other!r} and {path!r}", "each name once")
        return found

    def matrices(self, file: Path, *keys: str) -> list[NDArray[np.intp]]:
        """Return whole numbers from a MATLAB file, each variable flattened.

        Raises
        ------
        ManifestError
            If it is no MATLAB file, lacks a variable, or one holds something else.
        """
        from scipy.io import loadmat  # a fifth of a second, for two sets only

        try:
            content = loadmat(file)
        # On a damaged file scipy raises nearly everything; each means the same here.
        except Exception as err:
            raise self.error(f"{file.name} that cannot be read ({err})", "a MATLAB file") from err
        lacking = [key for key in keys if key not in content]
        if lacking:
            names = sorted(key for key in content if not key.startswith("__"))
            raise self.error(f"the variables {names} in {file.name}", f"one named {lacking[0]!r}")
        values = [np.asarray(content[key]).ravel() for key in keys]
        for key, value in zip(keys, values, strict=True):
            if value.dtype.kind not in "iuf" or (value != np.floor(value)).any():
                raise self.error(f"{value.dtype} in {key!r} of {file.name}", "whole numbers")
        return [value.astype(np.intp) for value in values]

    def _content(self) -> str:
        names = sorted(entry.name for entry in self.path.iterdir())
        if not names:
            return "nothing"
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        return f"{', '.join(names[:SHOWN])}{more}"


def as_label_array(labels: Iterable[str]) -> NDArray[np.str_]:
    """Return labels as an array of text."""
    return np.array(list(labels), dtype=np.str_)
