"""The pages: files of the package, held in memory.

Starlette's `StaticFiles` also answers Range headers, the malformed ones in plain text.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files

from fastapi import FastAPI, Request, Response

from featx._style import read_style
from featx.serve._refusal import RefusalError

__all__ = ["add_page"]

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def add_page(app: FastAPI, pages: dict[str, str]) -> None:
    """Add pages by path, and ``/static/*``, which the description leaves out."""
    static = files("featx.serve") / "static"
    content = {file.name: file.read_bytes() for file in static.iterdir() if _type_of(file.name)}
    content["style.css"] = read_style().encode()

    async def page(request: Request) -> Response:
        return _answer(request, content, pages[request.url.path])

    for path in pages:
        app.add_api_route(path, page, include_in_schema=False)

    @app.get("/static/{name}", include_in_schema=False)
    async def part(request: Request, name: str) -> Response:
        return _answer(request, content, name)


def _type_of(name: str) -> str:
    return TYPES.get(name[name.rfind(".") :], "")


def _answer(request: Request, content: dict[str, bytes], name: str) -> Response:
    if name not in content:
        raise RefusalError(404, f"there is no file {name!r:.100}")
    tag = f'"{hashlib.sha256(content[name]).hexdigest()[:16]}"'
    headers = {"ETag": tag, "Content-Type": _type_of(name)}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content[name], headers=headers)
