"""Remove the rows of images that are gone."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable

from featx.errors import ParameterError
from featx.files.paths import common_form
from featx.files.remote import is_url
from featx.store import _edits
from featx.store.remote import working_copy
from featx.store.writer import StoreWriter

__all__ = ["is_gone", "list_images", "prune_store", "remove_images"]


def is_gone(path: str) -> bool:
    """Tell whether a file is no longer there.

    One that cannot be looked at, because its folder may not be read or its disk does not answer,
    is not gone. Nor is what was never a file here: an image at a URL or in memory, or the name of
    a row that `write_features` was given.
    """
    if is_url(path) or not os.path.isabs(path):  # noqa: PTH117
        return False
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def list_images(writer: StoreWriter) -> set[str]:
    """Return the images that have a row in any table, or a failure."""
    failed = {failure.path for failure in writer.failures}
    return failed.union(*(table.paths for table in writer.tables()))


def remove_images(writer: StoreWriter, paths: Collection[str]) -> int:
    """Remove images from every table and from the failures, and commit.

    Rows keep their order in a table of up to 64 MiB of vectors. In a larger one rows from the end
    take the places that become free, and what moves more than that is several commits, each of
    which leaves an image in all tables or in none.

    Parameters
    ----------
    writer : StoreWriter
        What is pending is committed first.
    paths : collection of str
        Those that the store does not know are no error.

    Returns
    -------
    int
        Images that were removed.
    """
    writer.commit()
    tables = writer.tables()
    gone = sorted(list_images(writer).intersection(paths))
    row_bytes = sum(table.row_bytes for table in tables)
    size = max(1, _edits.REMOVED_AT_ONCE // max(1, row_bytes))
    for start in range(0, len(gone), size):
        part = gone[start : start + size]
        for table in tables:
            table.remove([row for path in part if (row := table.row_of(path)) is not None])
        writer.remove_failures(part)
        writer.commit()
    return len(gone)


def prune_store(
    path: str | os.PathLike[str], keep: Iterable[str | os.PathLike[str]] | None = None
) -> int:
    """Remove images that are gone; see `FeatureStore.prune`."""
    if isinstance(keep, str | bytes | os.PathLike):
        raise ParameterError(f"keep: got {keep!r}, expected a list of paths, or None")
    if is_url(path):
        with working_copy(str(path)) as copy:
            return prune_store(copy, keep)
    with StoreWriter(path) as writer:
        images = list_images(writer)
        if keep is None:
            return remove_images(writer, [name for name in images if is_gone(name)])
        given = [os.fspath(name) for name in keep]
        kept = _match(images, [*given, *map(os.path.abspath, given)])
        if given and not kept:
            raise ParameterError(
                f"keep: got {len(given)} paths, of which store {os.fspath(path)!r} has none (the "
                f"first: {given[0]!r}), expected paths as store.paths has them; pass [] to remove "
                "all rows"
            )
        return remove_images(writer, images - kept)


def _match(images: set[str], wanted: Iterable[str]) -> set[str]:
    """Return the images that are wanted, in another form where none is there as written."""
    exact = images.intersection(wanted)
    others = {common_form(name) for name in wanted} - {common_form(name) for name in exact}
    return exact | {name for name in images - exact if common_form(name) in others}
