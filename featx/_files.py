"""Give a file that was written beside another its name, so that a crash leaves one of the two."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["put_in_place", "seal", "sync_folder"]


def put_in_place(beside: Path, target: Path) -> None:
    """Replace `target` by a complete file in the same folder, also in the face of a power cut.

    Raises
    ------
    OSError
        If the folder does not take it; `target` is then as it was.
    """
    seal(beside)
    beside.replace(target)
    sync_folder(target.parent)


def seal(beside: Path) -> None:
    """Return once a file's bytes are on the medium, with the mode of any new file of the user's.

    Temporary files are private otherwise.
    """
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    mask = os.umask(0)  # it can only be read by setting it
    os.umask(mask)
    beside.chmod(0o666 & ~mask)


def sync_folder(folder: Path) -> None:
    """Return once a created, renamed or removed name is on the medium."""
    if os.name == "nt":  # a folder cannot be opened there; NTFS journals names itself
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
