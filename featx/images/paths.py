"""One image, one path: made absolute, and matched to those of a label table.

Paths match whole or by their ends, in any form of Unicode.
"""

from __future__ import annotations

import difflib
import os
import posixpath
from collections.abc import Sequence
from typing import TYPE_CHECKING

from featx.errors import ManifestError
from featx.files.paths import common_form, existing_form
from featx.files.remote import is_url, plain_path, split_url

if TYPE_CHECKING:
    from featx.images.labels import LabelTable

__all__ = ["absolute_path", "check_matches", "find_matches", "nearest_path"]

# Comparing two paths costs about 50 us.
MAX_COMPARED = 2000


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


def find_matches(paths: Sequence[str], table: LabelTable) -> list[list[int]]:
    """For each row of a table the positions of the paths that it fits."""
    found: list[list[int]] = []
    for keys, find in ((table.paths, _match_whole), (table.written, _match_ends)):
        found = find(paths, keys)
        left = [j for j, match in enumerate(found) if not match]
        taken = {i for match in found for i in match}
        free = [i for i in range(len(paths)) if i not in taken]
        if left and free:
            again = find(
                [common_form(paths[i]) for i in free], [common_form(keys[j]) for j in left]
            )
            for j, match in zip(left, again, strict=True):
                found[j] = [free[i] for i in match]
        if any(found):
            break
    return found


def _match_whole(paths: Sequence[str], wanted: Sequence[str]) -> list[list[int]]:
    """For each wanted path the positions of those equal to it."""
    positions: dict[str, list[int]] = {path: [] for path in wanted}
    for i, path in enumerate(paths):
        if path in positions:
            positions[path].append(i)
    return [positions[path] for path in wanted]


def _match_ends(paths: Sequence[str], wanted: Sequence[str]) -> list[list[int]]:
    """For each wanted path the positions of those that end in it."""
    ends = [tuple(_split_path(os.path.normpath(path))) for path in wanted]
    by_end: dict[tuple[str, ...], list[int]] = {end: [] for end in ends}
    lengths = sorted({len(end) for end in ends})
    for i, path in enumerate(paths):
        parts = _split_path(path)
        for n in lengths:
            if n <= len(parts) and (end := tuple(parts[-n:])) in by_end:
                by_end[end].append(i)
    return [by_end[end] for end in ends]


def _split_path(path: str) -> list[str]:
    parts = path.replace(os.sep, "/").split("/")
    while len(parts) > 1 and parts[0] in (".", ".."):
        parts.pop(0)
    return parts


def check_matches(
    matches: Sequence[Sequence[int]], paths: Sequence[str], table: LabelTable
) -> None:
    """Refuse a table that fits nothing, or whose paths are too short to say what they mean.

    Raises
    ------
    ManifestError
        With counts and an example of both sides.
    """
    if not any(matches):
        example = repr(paths[0]) if paths else "none"
        raise ManifestError(
            f"{table.thing}: none of its {len(matches)} paths fits one of the {len(paths)} "
            f"images: got {table.written[0]!r}, expected paths like {example}; write them "
            "absolute, or relative with enough folders to end an image's path"
        )
    several = [j for j, match in enumerate(matches) if len(match) > 1]
    if several:
        j = several[0]
        found = ", ".join(repr(paths[i]) for i in matches[j][:2])
        raise ManifestError(
            f"{table.thing}: {len(several)} of its {len(matches)} paths fit several images: "
            f"{table.written[j]!r} fits {found}; write more of the folders"
        )


def nearest_path(written: str, paths: Sequence[str]) -> str | None:
    """Return the path that was probably meant: by its letters' case alone, else by its text."""
    wanted = written.lower().replace("\\", "/").lstrip("./")
    for path in paths:
        if path.lower().replace(os.sep, "/").endswith(f"/{wanted}"):
            return path
    near = difflib.get_close_matches(written, [*paths[:MAX_COMPARED]], n=1)
    return near[0] if near else None
