"""The files that featx reads back, and what it says of one that is missing, foreign or damaged."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featx.errors import FeatxError, FileFormatError, one_line
from featx.files.kinds import KIND_OF_FORMAT, kind_of
from featx.files.paths import nearest_file

__all__ = [
    "INDEX",
    "INSTANCES",
    "MODEL",
    "STORE",
    "FileFormat",
    "MissingFileError",
    "UnreadableFileError",
]

Name = str | os.PathLike[str]
_REFUSED = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT)


class UnreadableFileError(FileFormatError, OSError):
    """The file cannot be opened; also an `OSError`."""


class MissingFileError(UnreadableFileError, FileNotFoundError):
    """There is no file; also a `FileNotFoundError`."""


@dataclass(frozen=True)
class FileFormat:
    """A kind of file.

    Parameters
    ----------
    name : str
        What its attribute ``format`` says: one of `KIND_OF_FORMAT`.
    versions : tuple of int
        Those that are read; the last is written.
    maker : str
        What makes such files.
    remedy : str
        What to do about a damaged one.
    """

    name: str
    versions: tuple[int, ...]
    maker: str
    remedy: str

    @property
    def kind(self) -> str:
        """What messages call it."""
        return KIND_OF_FORMAT[self.name]

    def describe(self, path: Name) -> str:
        """Name a file, as messages about it begin."""
        return f"{self.kind} {os.fspath(path)!r}"

    @contextlib.contextmanager
    def opening(self, path: Name) -> Iterator[None]:
        """Say what is wrong where a file cannot be opened.

        Raises
        ------
        MissingFileError
            If there is none, with the nearest name beside it.
        UnreadableFileError
            If it may not be read, or is a folder, a pipe or a device.
        """
        try:
            yield
        except FileNotFoundError as err:
            raise MissingFileError(
                f"{self.describe(path)}: there is no such file, expected one made by "
                f"{self.maker}.{nearest_file(path)}"
            ) from err
        except (OSError, ValueError) as err:
            reason = getattr(err, "strerror", None) or err
            raise UnreadableFileError(
                f"{self.describe(path)}: cannot be opened ({reason}), expected a file that you "
                f"may read, made by {self.maker}"
            ) from err

    def require(self, path: Name, name: Any, version: Any) -> None:
        """Refuse a file of another kind or version.

        Raises
        ------
        FileFormatError
        """
        other = KIND_OF_FORMAT.get(name, self.kind) if isinstance(name, str) else self.kind
        if other != self.kind:
            raise FileFormatError(
                f"{self.describe(path)}: is a file of featx, but of another kind ({other}); give "
                f"a file made by {self.maker}"
            )
        if not isinstance(name, str) or name != self.name:
            raise FileFormatError(
                f"{self.describe(path)}: its attribute 'format' is {name!r:.60}, expected "
                f"{self.name!r}; give a file made by {self.maker}"
            )
        if getattr(version, "shape", ()) or version not in self.versions:  # an array equals none
            raise FileFormatError(
                f"{self.describe(path)}: got format version {version!s:.60}, expected "
                f"{self.versions[-1]}; it was written by another version of featx: upgrade with "
                "pip install -U featx"
            )

    def damaged(self, path: Name, what: str) -> FileFormatError:
        """Return the error that says what is wrong with a file."""
        return FileFormatError(
            f"{self.describe(path)}: {what}; the file is damaged: {self.remedy}"
        )

    @contextlib.contextmanager
    def reading(self, path: Name, what: str = "it") -> Iterator[None]:
        """Turn whatever is raised on a damaged file into a `FileFormatError` that names it."""
        try:
            yield
        except FeatxError:
            raise
        except Exception as err:
            if isinstance(err, OSError) and err.errno in _REFUSED:
                raise FileFormatError(
                    f"{self.describe(path)}: {what} cannot be read ({err.strerror}); the disk or "
                    "the network refuses to give it: see to that and try again"
                ) from err
            if (other := _find_kind(path)) not in ("", "empty", self.kind):
                raise FileFormatError(
                    f"{self.describe(path)}: is a file of featx, but of another kind ({other}); "
                    f"give a file made by {self.maker}"
                ) from err
            reason = one_line(err)
            raise self.damaged(path, f"{what} cannot be read ({reason})") from err


def _find_kind(path: Name) -> str:
    try:
        return kind_of(Path(path))[0]
    except (OSError, ValueError):  # it cannot be opened, or is at a URL
        return ""


STORE = FileFormat(
    "featx feature store",
    (1,),
    "featx extract",
    "featx verify says where; extract into a new file to get the features again",
)
INDEX = FileFormat(
    "featx retrieval index", (1, 2), "featx index", "build it again with featx index"
)
INSTANCES = FileFormat(
    "featx instance index",
    (1,),
    "featx index --kind instances",
    "build it again with featx index --kind instances",
)
MODEL = FileFormat(
    "featx-model", (1,), "featx train (save_model)", "save the model again or restore it"
)
