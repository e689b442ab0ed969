"""Find image files: folders, globs, and what was meant where nothing is there."""

from __future__ import annotations

import glob
import itertools
import os

from featx._remote import RemoteFile, list_files, reason_of
from featx.errors import FeatxError, ManifestError, nearest

__all__ = [
    "SUFFIXES",
    "has_image_suffix",
    "is_glob",
    "list_folder",
    "list_glob",
    "list_url",
    "nearest_file",
]

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff",
    ".ppm", ".pgm", ".pnm", ".avif",
)  # fmt: skip
# Comparing names costs about 10 us each.
MAX_NAMES_COMPARED = 5000


def has_image_suffix(path: str) -> bool:
    """Say whether a name ends like an image's."""
    return path.lower().endswith(SUFFIXES)


def is_glob(path: str) -> bool:
    """Say whether a path has wildcards."""
    return glob.has_magic(path)


def list_folder(folder: str) -> list[tuple[str, str]]:
    """List the images under a folder, at any depth.

    Parameters
    ----------
    folder : str
        Absolute path.

    Returns
    -------
    list of (str, str)
        Path and label (the folder that the image lies in, relative to `folder`, with "/"), sorted
        by path as Python sorts text. Linked folders are followed, except into one of their own
        parents; hidden files and folders are left out.

    Raises
    ------
    ManifestError
        If a folder cannot be read, so that nothing is left out in silence.
    """
    found: list[tuple[str, str]] = []
    # Folder, label, and the identities of it and all its parents: a link to one of these is a
    # loop.
    stack = [(folder, "", frozenset([_identity(folder)]))]
    while stack:
        here, label, above = stack.pop()
        for name, is_folder in _entries(here):
            path = f"{here.rstrip(os.sep)}{os.sep}{name}"
            if not is_folder:
                found.append((path, label))
                continue
            identity = _identity(path)
            if identity not in above:
                stack.append((path, f"{label}/{name}" if label else name, above | {identity}))
    found.sort()
    return found


def list_glob(pattern: str) -> list[str]:
    """List the image files that a pattern matches (``**`` goes into subfolders), sorted."""
    matches = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute ones
    return sorted(m for m in matches if has_image_suffix(m) and not os.path.isdir(m))  # noqa: PTH112


def list_url(url: str) -> list[tuple[RemoteFile, str]]:
    """List the images under a URL, at any depth, or that a pattern matches.

    Parameters
    ----------
    url : str
        Without a "/" at its end.

    Returns
    -------
    list of (RemoteFile, str)
        With the label, as `list_folder` gives it; "" for a pattern's. Sorted by URL; hidden files
        and folders are left out.

    Raises
    ------
    ManifestError
        If it cannot be listed.
    """
    try:
        files = list_files(url)
    except FeatxError:
        raise
    except Exception as err:  # each file system has its own
        raise ManifestError(
            f"source {url!r}: cannot be listed ({reason_of(err)}), expected a folder, a file or a "
            "glob that you may list; check the name and the credentials"
        ) from err
    fixed, star, _ = url.partition("*")
    folder = fixed.rpartition("/")[0] if star else url
    found = []
    for file in files:
        below = file.url[len(folder) + 1 :] if file.url.startswith(f"{folder}/") else ""
        is_hidden = any(part.startswith(".") for part in below.split("/"))
        if has_image_suffix(file.url) and not is_hidden:
            found.append((file, "" if star else below.rpartition("/")[0]))
    return found


def nearest_file(path: str) -> str:
    """Say which existing name was probably meant by a path that does not exist."""
    parent, name = os.path.split(os.path.abspath(path))  # noqa: PTH100
    try:
        with os.scandir(parent) as entries:
            names = [e.name for e in itertools.islice(entries, MAX_NAMES_COMPARED)]
    except OSError:
        return f" Its folder {parent!r} cannot be read either."
    return nearest(name, names)


def _entries(folder: str) -> list[tuple[str, bool]]:
    """Return ``(name, is a folder)`` of the folders and image files, hidden ones left out."""
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as err:
        raise _unreadable(folder, err) from err
    return [
        (entry.name, is_folder)
        for entry in visible
        if (is_folder := _is_folder(entry)) or has_image_suffix(entry.name)
    ]


def _unreadable(folder: str, err: OSError) -> ManifestError:
    return ManifestError(
        f"folder {folder!r}: cannot be read ({err.strerror}), expected one that can be; "
        "change its permissions, or name the folders beside it one by one"
    )


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that points at itself
        return False


def _identity(folder: str) -> tuple[int, int]:
    try:
        status = os.stat(folder)  # noqa: PTH116 - on each of possibly many folders
    except OSError as err:
        raise _unreadable(folder, err) from err
    return status.st_dev, status.st_ino
