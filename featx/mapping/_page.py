"""The page of a map: written, and read again for the places that it keeps."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from featx._style import read_style
from featx._version import __version__
from featx.errors import FileFormatError
from featx.files.remote import is_url
from featx.mapping._layout import Layout

__all__ = ["make_document", "read_layout", "relative_paths", "render_page", "render_shell"]

PAGE_FORMAT = 1
STATIC = Path(__file__).parent / "static"
OPENING, CLOSING = '<script id="map" type="application/json">', "</script>"
COMMON = "default-src 'none'; base-uri 'none'; form-action 'none'"
POLICY = f"{COMMON}; img-src 'self' data: blob: file:"
SERVED_POLICY = f"{COMMON}; img-src blob:; connect-src 'self'"
_IN_HTML = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"})


def make_document(
    layout: Layout, paths: list[str] | None, labels: tuple[str, ...], **more: Any
) -> dict[str, Any]:
    """Return what the page's script reads.

    Parameters
    ----------
    layout : Layout
    paths : list of str, or None
        As the page shows them, where it does.
    labels : tuple of str
        "" where an image has none.
    **more
        Title and pictures.
    """
    names, codes = np.unique([label for label in labels if label], return_inverse=True)
    numbers = np.full(len(labels), -1, np.int32)
    numbers[[i for i, label in enumerate(labels) if label]] = codes.reshape(-1)
    return {
        "map_format": PAGE_FORMAT,
        "recipe": layout.recipe,
        "series": layout.series,
        "levels": list(layout.levels),
        "first_new": layout.first_new,
        **more,
        "n_samples": len(labels),
        "labels": names.tolist(),
        "label": _pack(numbers, "<i4"),
        "place": _pack(layout.places, "<u2"),
        "slot": _pack(layout.slots, "<i4"),
        "key": _pack(layout.keys, "<u8"),
        "paths": paths,
    }


def relative_paths(ids: tuple[str, ...], folder: Path) -> list[str]:
    """Return paths as seen from a folder: whose disk it was is nobody's, and links still lead."""
    start = str(folder)
    return [
        name if is_url(name) or not os.path.isabs(name) else _from(name, start)  # noqa: PTH117
        for name in ids
    ]


def _from(path: str, start: str) -> str:
    try:
        return os.path.relpath(path, start).replace(os.sep, "/")
    except ValueError:  # another drive
        return path


def render_page(document: dict[str, Any]) -> str:
    """Return the page, with everything that it needs inside but sheets that are files."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    data = OPENING + text.translate(_IN_HTML) + CLOSING  # no character of HTML is left
    return _render(document["title"], data, ("d3-zoom.min.js", "map.js"), POLICY)[0]


def render_shell(title: str) -> tuple[str, str]:
    """Return the page without data, which its script asks a server for, and its policy."""
    return _render(title, "", ("d3-zoom.min.js", "served.js", "map.js"), SERVED_POLICY)


def _render(title: str, data: str, names: tuple[str, ...], policy: str) -> tuple[str, str]:
    scripts = [(STATIC / name).read_text("utf-8") for name in names]
    style = "\n" + read_style() + (STATIC / "map.css").read_text("utf-8")
    policy += f"; script-src {' '.join(map(_hash, scripts))}; style-src {_hash(style)}"
    page = _template().render(
        title=title,
        version=__version__,
        data=Markup(data),
        style=Markup(style),
        scripts=[Markup(script) for script in scripts],
        policy=Markup(policy),
        is_served=not data,
    )
    return page, policy


def _hash(text: str) -> str:
    """Return what a policy calls an element of this content."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(STATIC)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("map.html.j2")


def read_layout(path: Path) -> tuple[Layout, dict[str, Any]]:
    """Return the layout that a page keeps, and its document.

    Raises
    ------
    FileFormatError
        If it is not as it was written.
    """
    try:
        text = path.read_text("utf-8")
        start = text.index(OPENING) + len(OPENING)
        document = json.loads(text[start : text.index(CLOSING, start)])
        n = document["n_samples"]
        layout = Layout(
            document["recipe"],
            _unpack(document["key"], "<u8", (n,)),
            _unpack(document["place"], "<u2", (n, 2)),
            _unpack(document["slot"], "<i4", (n,)),
            tuple(document["levels"]),
            document["series"],
            document["first_new"],
        )
    except (ValueError, KeyError, TypeError) as err:
        raise FileFormatError(
            f"map {os.fspath(path)!r}: its places cannot be read ({err}), expected a page made by "
            "featx map; give --anew to replace it with a new map"
        ) from err
    return layout, document


def _pack(values: NDArray[Any], dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype).tobytes()).decode("ascii")


def _unpack(text: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    values = np.frombuffer(base64.b64decode(text, validate=True), dtype).reshape(shape)
    return values.astype(values.dtype.newbyteorder("="))
