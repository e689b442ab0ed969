"""One image, one path: absolute, and in the form of its name in which the file exists."""

from __future__ import annotations

import os
import posixpath

from featx.files.paths import existing_form
from featx.files.remote import is_url, plain_path, split_url

__all__ = ["absolute_path"]


def absolute_path(path: str, folder: str = "") -> str:
    """Return a path that means the same wherever it is used; a URL is one already.

    Where there is no file of this name, but one of a name that `existing_form` takes for the
    same, that one's path is returned.
    """
    if is_url(path):
        return path
    path = plain_path(path)
    if is_url(folder):
        protocol, root = split_url(folder)
        return f"{protocol}://{posixpath.normpath(posixpath.join(root, path)).lstrip('/')}"
    return os.path.abspath(existing_form(os.path.join(folder, path)))  # noqa: PTH100, PTH118
