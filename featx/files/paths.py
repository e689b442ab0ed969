"""The forms in which one path may be written: of Unicode, of separators, with spaces around it."""

from __future__ import annotations

import glob
import itertools
import os
import re
import unicodedata

from featx.errors import nearest

__all__ = [
    "common_form",
    "existing_form",
    "nearest_file",
    "pattern_forms",
    "read_shown",
    "show_path",
]

MAX_NAMES_COMPARED = 5000
MAX_NAMES_SHOWN = 3
_SURROGATE = "[\ud800-\udfff]"
_SHOWN_BYTE = r"\\x([89a-f][0-9a-f])"  # as `show_path` writes it


def existing_form(path: str) -> str:
    r"""Return a path as it is written, or else in another form, if only that one exists.

    macOS may write "é" as two characters (Unicode's NFD) where others write one (NFC), Windows
    writes "\" between folders, people write spaces after commas, and an export shows a byte that
    is not UTF-8 as ``\xe9``. Most paths have none of these and are returned without a look at the
    disk.
    """
    slashed = path.replace("\\", "/") if os.sep == "/" else path
    if slashed == path.strip():
        return path if path.isascii() else _find_composed(path) or path
    candidates = (path, read_shown(path.strip()), slashed, path.strip(), slashed.strip())
    found = map(_find_composed, dict.fromkeys(candidates))
    return next((place for place in found if place is not None), path)


def pattern_forms(pattern: str) -> list[str]:
    """Return the forms in which a glob may be meant, the likeliest first."""
    fixed = pattern
    while glob.has_magic(fixed):
        fixed = os.path.dirname(fixed)  # noqa: PTH120
    folder, rest = existing_form(fixed), pattern[len(fixed) :]
    return list(dict.fromkeys(folder + r for r in (rest, *_normalize(rest))))


def nearest_file(path: str | os.PathLike[str]) -> str:
    """Say which name was probably meant by a path that does not exist, or what its folder has.

    Returns
    -------
    str
        A sentence with a space before it; empty if there is nothing to say.
    """
    parent, name = os.path.split(os.path.abspath(path))  # noqa: PTH100
    try:
        with os.scandir(parent) as entries:
            names = [e.name for e in itertools.islice(entries, MAX_NAMES_COMPARED)]
    except OSError:
        return f" Its folder {parent!r} cannot be read either."
    suffix = os.path.splitext(name)[1]  # noqa: PTH122
    hint = nearest(name, names)
    if hint or not suffix:
        return hint
    alike = sorted(n for n in names if n.endswith(suffix))
    if not alike:
        return f" Its folder has no file that ends in {suffix!r}."
    more = len(alike) - MAX_NAMES_SHOWN
    shown = ", ".join(map(repr, alike[:MAX_NAMES_SHOWN]))
    return f" Its folder has {shown}{f' and {more} more' if more > 0 else ''}."


def show_path(path: str | os.PathLike[str]) -> str:
    r"""Return a path, or any text with paths in it, as text that every encoding of Unicode takes.

    Python writes a byte of a file name that is not UTF-8 as a lone surrogate, which no file and
    no terminal takes. Here such a byte is a backslash, an x and two hexadecimal digits. JSON holds
    the name itself instead, as ``"\udce9"``, which Python's `json` reads back.

    Examples
    --------
    >>> print(show_path(b"caf\xe9.jpg".decode("utf-8", "surrogateescape")))
    caf\xe9.jpg
    """
    text = os.fspath(path)
    return text if text.isascii() else re.sub(_SURROGATE, _escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def read_shown(text: str) -> str:
    """Return text of which `show_path` shows this, with its bytes that are not UTF-8."""
    return re.sub(_SHOWN_BYTE, lambda byte: chr(0xDC00 + int(byte[1], 16)), text)


def common_form(path: str) -> str:
    r"""Return what all forms of a path have in common: NFC, "/" between folders, stripped.

    So it is of a name that is not UTF-8, and of what an export shows of it.
    """
    if path.isascii() and "\\" not in path:
        return os.path.normcase(path.strip())
    composed = unicodedata.normalize("NFC", show_path(path).strip())
    return os.path.normcase(composed.replace("\\", "/"))


def _find_composed(path: str) -> str | None:
    """Return the path that exists and differs from `path` in the forms of its characters alone."""
    if os.path.lexists(path):
        return path
    parent, name = os.path.split(path)
    if not name and not path.isascii():  # it ends in a slash
        return _find_composed(parent) if parent != path else None
    if path.isascii():
        return None
    folder = parent if not parent or parent.isascii() else _find_composed(parent)
    if folder is None:
        return None
    names = _normalize(name) if folder == parent else [name, *_normalize(name)]
    others = (os.path.join(folder, other) for other in names)  # noqa: PTH118
    return next((other for other in others if os.path.lexists(other)), None)


def _normalize(text: str) -> list[str]:
    """Return the forms of Unicode that differ from the text as it is."""
    forms = [unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)]
    return [form for form in forms if form != text]
