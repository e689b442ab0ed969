"""The routes of the page of featx label. Imported only where FastAPI is known to be installed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request, Response
from pydantic import BaseModel, Field

from featx._version import __version__
from featx.labelling.suggest import STRATEGIES
from featx.serve._app import add_refusals
from featx.serve._desk import Desk
from featx.serve._guard import Guard
from featx.serve._limits import TokenBuckets
from featx.serve._metrics import Metrics
from featx.serve._page import add_page

__all__ = ["build_label_app"]

MAX_SHOWN = 200
Count = Annotated[int, Query(ge=1, le=MAX_SHOWN)]
Row = Annotated[int, Path(ge=0, le=2**53)]
Name = Annotated[str, Field(max_length=500)]
Words = Annotated[str, Query(max_length=500)]


class Label(BaseModel):
    """One image's label: a class, a list of attributes, or some attributes with yes or no."""

    row: Annotated[int, Field(ge=0, le=2**53)]
    label: Name | list[Name] | dict[Name, bool]


class Stroke(BaseModel):
    """Labels."""

    labels: Annotated[list[Label], Field(max_length=MAX_SHOWN)]


class Rows(BaseModel):
    """Some images."""

    rows: Annotated[list[int], Field(max_length=MAX_SHOWN)]


def build_label_app(desk: Desk) -> FastAPI:
    """Return the application; its shutdown closes the desk."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(desk.close)

    app = FastAPI(
        title="featx label", version=__version__, lifespan=lifespan, docs_url=None,
        redoc_url=None, redirect_slashes=False,
    )  # fmt: skip
    _add_routes(app, desk)
    add_page(app, {"/": "label.html"})
    add_refusals(app)
    buckets = TokenBuckets(desk.options.rate)
    app.add_middleware(Guard, options=desk.options, buckets=buckets, metrics=Metrics())
    return app


def _add_routes(app: FastAPI, desk: Desk) -> None:
    @app.get("/api/state")
    async def state() -> dict[str, Any]:
        return await desk.read_state()

    @app.get("/api/suggestions")
    async def suggestions(n: Count = 24, strategy: str = STRATEGIES[0]) -> dict[str, Any]:
        return {"suggestions": await desk.suggest(n, strategy)}

    @app.get("/api/likely")
    async def likely(name: str, n: Count = 24) -> dict[str, Any]:
        return {"suggestions": await desk.find_likely(name, n)}

    @app.get("/api/doubtful")
    async def doubtful(n: Count = 24) -> dict[str, Any]:
        return {"suggestions": await desk.find_doubtful(n)}

    @app.get("/api/words")
    async def words(text: Words, n: Count = 24) -> dict[str, Any]:
        return {"suggestions": await desk.find_by_words(text, n)}

    @app.get("/api/similar")
    async def similar(row: int, n: Count = 24) -> dict[str, Any]:
        return {"suggestions": await desk.find_similar(row, n)}

    @app.post("/api/labels")
    async def label(stroke: Stroke) -> dict[str, Any]:
        return await desk.label({given.row: given.label for given in stroke.labels})

    @app.post("/api/guesses")
    async def guess(rows: Rows) -> dict[str, Any]:
        return await desk.guess(rows.rows)

    @app.post("/api/undo")
    async def undo() -> dict[str, Any]:
        return await desk.undo()

    @app.post("/api/skip", status_code=204)
    async def skip(rows: Rows) -> None:
        await desk.skip(rows.rows)

    @app.post("/api/train")
    async def train() -> dict[str, Any]:
        return await desk.train()

    @app.get("/thumbnails/{row}", response_class=Response)
    async def thumbnail(request: Request, row: Row) -> Response:
        client = request.client.host if request.client else ""
        data = await desk.thumbnail(row, client)
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": "no-store"})
