"""What an extraction could not read: counted, listed in the store, and limited if so asked."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from featx.errors import ImageDecodeError, ParameterError, choose, require_count
from featx.files.paths import show_path
from featx.images.reader import ReadImage
from featx.store import Failure, StoreWriter
from featx.store.prune import is_gone

__all__ = ["Failures", "failure_of", "most_failures"]

UNREADABLE = "the folder cannot be listed"
N_SHOWN = 3


class Failures:
    """The failures of one extraction.

    Parameters
    ----------
    most : int or None
        How many there may be; None is any number.

    Attributes
    ----------
    n : int
        How many there are.
    """

    def __init__(self, most: int | None) -> None:
        self.n, self.most = 0, most
        self._pending: list[Failure] = []
        self._first: list[Failure] = []

    def add(self, failures: Iterable[Failure]) -> None:
        """Count failures; the next `write` lists them."""
        new = list(failures)
        self.n += len(new)
        self._pending += new
        self._first += new[: N_SHOWN - len(self._first)]

    def add_folders(self, unreadable: Mapping[str, str], writer: StoreWriter) -> None:
        """Count folders that cannot be listed, and forget those that could not be and now can."""
        writer.remove_failures(
            failure.path
            for failure in writer.failures
            if failure.reason.startswith(UNREADABLE)
            and failure.path not in unreadable
            and _can_list(failure.path)
        )
        self.add(Failure(path, f"{UNREADABLE} ({why})") for path, why in unreadable.items())

    def write(self, writer: StoreWriter) -> None:
        """List in the store, with its next commit, what has been added since."""
        if self._pending:
            writer.add_failures(self._pending)
            # A bad image that was renamed failed under its old name before.
            names = {failure.path for failure in self._pending}
            digests = {failure.digest for failure in self._pending} - {""}
            writer.remove_failures(
                failure.path
                for failure in writer.failures
                if failure.path not in names
                and failure.digest in digests
                and is_gone(failure.path)
            )
            self._pending = []

    @property
    def are_too_many(self) -> bool:
        """Whether the extraction is to end."""
        return self.most is not None and self.n > self.most

    def check(self) -> None:
        """Raise where there are more than there may be; call it once they are committed.

        Raises
        ------
        ImageDecodeError
            With their number and the first of them.
        """
        if not self.are_too_many:
            return
        first = [f"{show_path(f.path)!r}: {f.reason}" for f in self._first]
        if self.most == 0:
            what = "source" if self._first[0].reason.startswith(UNREADABLE) else "image"
            raise ImageDecodeError(
                f"{what} {first[0]}; remove or replace it, or extract with on_error='record' and "
                "no max_failures to list such images in the failures table"
            )
        raise ImageDecodeError(
            f"{self.n} images cannot be read, expected at most max_failures = {self.most}: "
            f"{'; '.join(first)}{'; ...' if self.n > N_SHOWN else ''}; what was finished is kept: "
            "repair the images and run again, or allow for more"
        )


def failure_of(path: str, image: ReadImage) -> Failure:
    """Return what the failures table keeps of an image that could not be read."""
    return Failure(path, image.error or "", image.digest, image.size_bytes, image.mtime_ns)


def most_failures(on_error: str, max_failures: int | None) -> int | None:
    """Return how many images may be bad: "raise" allows for none."""
    choose("on_error", on_error, ("record", "raise"))
    if max_failures is not None:
        require_count("max_failures", max_failures, 0)
    if on_error == "raise" and max_failures:
        raise ParameterError(
            f"max_failures: got {max_failures} with on_error 'raise', which allows for none; "
            "expected one of the two"
        )
    return 0 if on_error == "raise" else max_failures


def _can_list(folder: str) -> bool:
    """Tell whether a folder can be read by now, or is gone, so that it hides nothing."""
    try:
        os.scandir(folder).close()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return True
