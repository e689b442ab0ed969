"""From sections to one HTML page and one JSON document, and onto disk.

The page holds no script and asks no other host for anything; a content security policy inside it
says so to the browser, too.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from featx._files import seal
from featx.errors import StoreWriteError
from featx.report._section import Section

__all__ = ["render", "to_json", "write_together"]

TEMPLATES = Path(__file__).parent / "templates"


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,  # whatever the file is called
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(sections: Sequence[Section], page: dict[str, Any]) -> str:
    """Return the page; `page` has title, subtitle, created, version and images."""
    return _environment().get_template("page.html.j2").render(sections=sections, **page)


def write_together(texts: Mapping[Path, str]) -> None:
    """Write files under other names in their folders, then rename all of them into place.

    Raises
    ------
    StoreWriteError
        If a folder is missing or cannot be written, or the disk is full; no file has changed then,
        unless a rename itself fails, which leaves those before it.
    """
    written: list[tuple[Path, Path]] = []
    try:
        for path, text in texts.items():
            written.append((_write_beside(path, text), path))
        for beside, path in written:
            beside.replace(path)
    except OSError as err:
        raise StoreWriteError(
            f"report {str(path)!r}: {err.strerror or err}, expected a folder to write to; create "
            "it or choose another path"
        ) from err
    finally:
        for beside, _ in written:
            beside.unlink(missing_ok=True)


def _write_beside(path: Path, text: str) -> Path:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    beside = Path(name)
    try:
        # A file name that is not UTF-8 holds lone surrogates; \udcff is how JSON writes one, too.
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        seal(beside)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return beside


def to_json(document: dict[str, Any]) -> str:
    """Return JSON that any reader accepts: no NaN, text as UTF-8."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
