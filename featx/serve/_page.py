"""The page: a handful of files of the package, held in memory."""

from __future__ import annotations

import hashlib
from importlib.resources import files

from fastapi import FastAPI, Request, Response

from featx.serve._refusal import RefusalError

__all__ = ["add_page"]

TYPES = {
    "index.html": "text/html; charset=utf-8",
    "app.css": "text/css; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


def add_page(app: FastAPI) -> None:
    """Add ``/`` and ``/static/*``, which the description leaves out."""
    static = files("featx.serve") / "static"
    known = {name: (static / name).read_bytes() for name in TYPES}

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return _file(request, known, "index.html")

    @app.get("/static/{name}", include_in_schema=False)
    async def part(request: Request, name: str) -> Response:
        return _file(request, known, name)


def _file(request: Request, known: dict[str, bytes], name: str) -> Response:
    if name not in known:
        raise RefusalError(404, f"there is no file {name!r:.100}")
    tag = f'"{hashlib.sha256(known[name]).hexdigest()[:16]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Content-Type": TYPES[name]}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(known[name], headers=headers)
