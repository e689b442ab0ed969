"""What a file's name says of its content, and what is left out for it."""

from __future__ import annotations

import os
from collections.abc import Mapping

from featx.files.paths import show_path
from featx.images._heif import HEIF_SUFFIXES, has_heif_reader

__all__ = ["SUFFIXES", "describe_ignored", "has_image_suffix", "is_named_as_image", "suffix_of"]

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
