"""Find image files: folders, globs, and what was meant where nothing is there.

Nothing is left out in silence: whatever is not read is counted by its suffix, and a folder that
cannot be listed is named with the reason.
"""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from featx.errors import FeatxError, ManifestError
from featx.files.atomic import open_regular
from featx.files.paths import pattern_forms, show_path
from featx.files.remote import RemoteFile, list_files, reason_of
from featx.images._formats import HEAD_BYTES, HEIF_SUFFIXES, has_heif_reader
from featx.images.decode import can_decode

__all__ = [
    "SUFFIXES",
    "Listing",
    "describe_ignored",
    "is_glob",
    "is_named_as_image",
    "list_folder",
    "list_glob",
    "list_url",
]

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjp", ".pjpeg", ".mpo", ".png", ".apng",
    ".gif", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".avif",
)  # fmt: skip
# Pictures that are never read: camera raw files, whose first picture is a preview; formats whose
# decoders have a long record of faults on hostile files; drawings, and documents of programs.
UNREAD_IMAGES = (
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mos",
    ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw",
    ".x3f", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".jxl", ".jxr", ".hdr", ".exr", ".dds",
    ".dcm", ".eps", ".ico", ".pcx", ".pfm", ".psd", ".svg", ".tga", ".wdp", ".xcf",
)  # fmt: skip
MAX_KINDS_SHOWN = 8
# Comparing names costs about 10 us each.


@dataclass
class Listing:
    """What was found in folders.

    Parameters
    ----------
    ignored : Counter
        Suffix in lower case ("" for none) to the number of files that are not read: of other
        kinds, hidden, or in hidden folders.
    unreadable : dict of str to str
        Folder that could not be listed, and why.
    remote : dict of str to RemoteFile
        What a listing told of images at URLs.
    """

    ignored: Counter[str] = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)
    remote: dict[str, RemoteFile] = field(default_factory=dict)


def is_glob(path: str) -> bool:
    """Say whether a path has wildcards."""
    return glob.has_magic(path)


def list_folder(folder: str, found: Listing) -> list[tuple[str, str]]:
    """List the images under a folder, at any depth.

    Parameters
    ----------
    folder : str
        Absolute path.
    found : Listing
        Takes what is left out.

    Returns
    -------
    list of (str, str)
        Path and label (the folder that the image lies in, relative to `folder`, with "/"), sorted
        by path as Python sorts text. Linked folders are followed, except into one of their own
        parents; files that are hidden, or in hidden folders, are counted only.
    """
    images: list[tuple[str, str]] = []
    # Folder, label, whether it is hidden, and the identities of it and all its parents: a link to
    # one of these is a loop.
    stack = [(folder, "", False, frozenset[tuple[int, int]]())]
    while stack:
        here, label, is_hidden, above = stack.pop()
        try:
            identity = _identity(here)
            entries = [] if identity in above else _entries(here)
        except OSError as err:
            if not is_hidden:
                found.unreadable[here] = err.strerror or str(err)
            continue
        for name, is_folder in entries:
            path = f"{here.rstrip(os.sep)}{os.sep}{name}"
            hidden = is_hidden or name.startswith(".")
            if is_folder:
                below = f"{label}/{name}" if label else name
                stack.append((path, below, hidden, above | {identity}))
            elif not hidden and _is_image(path):
                images.append((path, label))
            else:
                found.ignored[suffix_of(name)] += 1
    images.sort()
    return images


def list_glob(pattern: str, found: Listing) -> list[str]:
    """List the image files that a pattern matches (``**`` goes into subfolders), sorted.

    Where nothing fits it as it is written, another form of Unicode may.
    """
    images = []
    pattern, paths = _first_that_matches(pattern_forms(pattern))
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112
            continue
        if _is_image(path):
            images.append(path)
        else:
            found.ignored[suffix_of(path)] += 1
    for folder in _folders_of_glob(pattern):
        try:
            os.scandir(folder).close()
        except OSError as err:  # which `glob` says nothing of
            found.unreadable[os.path.abspath(folder)] = err.strerror or str(err)  # noqa: PTH100
    return sorted(images)


def list_url(url: str, found: Listing) -> list[tuple[str, str]]:
    """List the images under a URL, at any depth, or that a pattern matches.

    Parameters
    ----------
    url : str
        Without a "/" at its end.
    found : Listing
        Takes what is left out, and what is told of the images.

    Returns
    -------
    list of (str, str)
        URL and label, as `list_folder` gives it; "" for a pattern's. Sorted by URL. Here a HEIF
        file is known by its name alone, since each look at a content is a request.

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
    suffixes = HEIF_SUFFIXES if has_heif_reader() else ()
    images = []
    for file in files:
        below = file.url[len(folder) + 1 :] if file.url.startswith(f"{folder}/") else ""
        is_hidden = any(part.startswith(".") for part in below.split("/"))
        if not is_hidden and (has_image_suffix(file.url) or file.url.lower().endswith(suffixes)):
            images.append((file.url, "" if star else below.rpartition("/")[0]))
            found.remote[file.url] = file
        else:
            found.ignored[suffix_of(file.url)] += 1
    return images


def _entries(folder: str) -> list[tuple[str, bool]]:
    """Return ``(name, is a folder)`` of all that lies in a folder."""
    with os.scandir(folder) as entries:
        return [(entry.name, _is_folder(entry)) for entry in entries]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that points at itself
        return False


def _is_image(path: str) -> bool:
    """Say whether a file is to be read: by its name, and by its content where that is optional.

    A file whose content is needed and cannot be had is to be read too, which gives the reason.
    """
    if not path.lower().endswith(HEIF_SUFFIXES):
        return has_image_suffix(path)
    try:
        with open_regular(path) as file:
            return can_decode(file.read(HEAD_BYTES))
    except OSError:
        return has_heif_reader()


def _first_that_matches(patterns: list[str]) -> tuple[str, list[str]]:
    for pattern in patterns:
        paths = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute ones
        if paths:
            return pattern, paths
    return patterns[0], []


def _folders_of_glob(pattern: str) -> Iterator[str]:
    """Yield the folders in which a pattern looks for names."""
    parent = os.path.split(pattern)[0]
    if is_glob(parent):
        yield from _folders_of_glob(parent)
        found = glob.iglob(parent, recursive=True)  # noqa: PTH207
        yield from (path for path in found if os.path.isdir(path))  # noqa: PTH112
    else:
        yield parent or os.curdir


def _identity(folder: str) -> tuple[int, int]:
    status = os.stat(folder)  # noqa: PTH116 - on each of possibly many folders
    return status.st_dev, status.st_ino


def has_image_suffix(path: str) -> bool:
    """Say whether a name ends like that of an image that is read wherever featx is installed."""
    return path.lower().endswith(SUFFIXES)


def is_named_as_image(path: str) -> bool:
    """Say whether a name ends like that of an image that is read with one extra or another."""
    return path.lower().endswith((*SUFFIXES, *HEIF_SUFFIXES))


def suffix_of(path: str) -> str:
    """Return a name's suffix in lower case, "" where it has none.

    Examples
    --------
    >>> suffix_of("photos/IMG_1.HEIC"), suffix_of(".DS_Store")
    ('.heic', '')
    """
    return show_path(os.path.splitext(path)[1].lower())  # noqa: PTH122 - of each of many names


def describe_ignored(ignored: Mapping[str, int]) -> str:
    """Say in one line how many files were left out, those that look like images first.

    Parameters
    ----------
    ignored : mapping of str to int
        Suffix in lower case to number of files, as `ImageManifest.ignored` has it.

    Examples
    --------
    >>> describe_ignored({".txt": 2, ".nef": 7, ".jpg": 1})
    'ignored 10 files: .jpg 1 (hidden), .nef 7, .txt 2'
    """
    order = sorted(ignored, key=lambda suffix: (not _is_image_like(suffix), -ignored[suffix]))
    order.sort(key=lambda suffix: suffix not in SUFFIXES)
    shown = [f"{s or 'no suffix'} {ignored[s]}{_why(s)}" for s in order[:MAX_KINDS_SHOWN]]
    if len(order) > MAX_KINDS_SHOWN:
        shown.append(f"{sum(ignored[s] for s in order[MAX_KINDS_SHOWN:])} of other kinds")
    n = sum(ignored.values())
    return f"ignored {n} file{'' if n == 1 else 's'}: {', '.join(shown)}"


def _is_image_like(suffix: str) -> bool:
    return suffix in (*SUFFIXES, *HEIF_SUFFIXES, *UNREAD_IMAGES)


def _why(suffix: str) -> str:
    if suffix in SUFFIXES:
        return " (hidden)"  # nothing else keeps such a file from being read
    if suffix not in HEIF_SUFFIXES:
        return ""
    if has_heif_reader():
        return " (no HEIF inside)"
    return " (pip install 'featx[heic]' to read them)"
