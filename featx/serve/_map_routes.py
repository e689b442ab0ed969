"""The routes of the map."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, FastAPI, Path, Response

from featx.mapping.served import ServedMap
from featx.serve._refusal import RefusalError
from featx.serve._service import Service

__all__ = ["add_map"]

Number = Annotated[int, Path(ge=0, le=10**6, description="Of a sheet of small pictures.")]


def add_map(app: FastAPI, api: APIRouter, service: Service) -> None:
    """Add the page, and what its script asks for, which the description leaves out."""

    def find() -> ServedMap:
        assert service.map is not None
        return service.map.of(service.database)

    @app.get("/map", include_in_schema=False)
    async def page() -> Response:
        shown = await asyncio.to_thread(find)
        headers = {"Content-Security-Policy": f"{shown.policy}; frame-ancestors 'none'"}
        return Response(shown.shell, media_type="text/html", headers=headers)

    @api.get("/api/map", include_in_schema=False)
    async def data() -> Response:
        shown = await asyncio.to_thread(find)
        return Response(shown.data, media_type="application/json")

    @api.get("/api/map/sheets/{number}", include_in_schema=False)
    async def sheet(number: Number) -> Response:
        found = await asyncio.to_thread(lambda: find().read_sheet(str(number)))
        if found is None:
            raise RefusalError(404, f"there is no sheet {number}")
        return Response(found, media_type="image/jpeg")
