"""Give a file that was written beside another its name, so that a crash leaves one of the two."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["put_in_place"]


def put_in_place(beside: Path, target: Path) -> None:
    """Replace `target` by a complete file in the same folder, also in the face of a power cut.

    Its mode becomes what the user's umask leaves of a new file's: temporary ones are private.

    Raises
    ------
    OSError
        If the folder does not take it; `target` is then as it was.
    """
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    mask = os.umask(0)
    os.umask(mask)
    beside.chmod(0o666 & ~mask)
    beside.replace(target)
    if os.name == "posix":  # elsewhere a folder cannot be opened, and names are journalled
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
