"""The routes. Imported only where FastAPI is known to be installed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Path, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from featx._version import __version__
from featx.serve._bodies import BATCH_BODY, IMAGE_BODY, JSON, images_of, suffix_of
from featx.serve._database import Example, LabelCount
from featx.serve._guard import Guard
from featx.serve._limits import TokenBuckets, read_body
from featx.serve._metrics import CONTENT_TYPE, Metrics
from featx.serve._page import add_page
from featx.serve._refusal import Problem, RefusalError
from featx.serve._service import Answer, Service

__all__ = ["add_refusals", "build_app"]

MAX_K = 100
N_EXAMPLES = 24
Count = Annotated[int, Query(ge=1, le=MAX_K, description="Neighbours.")]
Label = Annotated[str | None, Query(max_length=500, description="Only rows with this label.")]
Row = Annotated[int, Path(ge=0, le=2**53, description="As an answer gave it.")]
JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}
}


@dataclass(frozen=True)
class Health:
    """Whether it runs, and on how many images."""

    status: str
    n_samples: int


@dataclass(frozen=True)
class Description:
    """What may be asked here."""

    n_samples: int
    metric: str
    labels: list[LabelCount]
    examples: list[Example]
    has_model: bool
    is_writable: bool
    max_upload_bytes: int
    max_k: int


@dataclass(frozen=True)
class BatchAnswer:
    """One answer or one problem for each image, in their order."""

    results: list[Answer | Problem]


@dataclass(frozen=True)
class Added:
    """The new row."""

    row: int
    n_samples: int


def describe_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what the description says of refusals."""
    return {s: {"model": Problem} for s in sorted({401, 422, 429, 503, *statuses})}


def build_app(service: Service) -> FastAPI:
    """Return the application; its shutdown closes the service."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    app = FastAPI(
        title="featx serve",
        summary="What looks like this?",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load scripts from another host
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    metrics = Metrics(service)
    buckets = TokenBuckets(service.options.rate)
    api = APIRouter(dependencies=[Security(HTTPBearer(auto_error=False))])
    _add_queries(api, service, buckets)
    _add_notes(api, app, service, metrics)
    if service.options.writable:
        _add_changes(api, service)
    app.include_router(api)
    add_page(app, "index.html")
    add_refusals(app)
    app.add_middleware(Guard, options=service.options, buckets=buckets, metrics=metrics)
    return app


def _add_queries(api: APIRouter, service: Service, buckets: TokenBuckets) -> None:
    limit = service.options.max_upload_bytes

    @api.post("/api/query", responses=describe_problems(408, 413, 415), openapi_extra=IMAGE_BODY)
    async def query(request: Request, k: Count = 12, label: Label = None) -> Answer:
        """Find what looks like the image in the body."""
        suffix_of(request.headers.get("content-type"))
        data = await read_body(request, limit)
        return await service.query(data, k=k, label=label, client=_client(request))

    @api.post(
        "/api/query/batch", responses=describe_problems(408, 413, 415), openapi_extra=BATCH_BODY
    )
    async def query_batch(request: Request, k: Count = 12, label: Label = None) -> BatchAnswer:
        """Find what looks like each of up to 32 images; 422 only where none can be read."""
        suffix_of(request.headers.get("content-type"), JSON)
        body = await read_body(request, 4 * -(-limit // 3) + 4096)
        images = await asyncio.to_thread(images_of, body, limit)
        client = _client(request)
        buckets.take(client, len(images) - 1)

        async def answer(image: bytes) -> Answer | RefusalError:
            try:
                return await service.query(image, k=k, label=label, client=client)
            except RefusalError as err:
                return err

        results = await asyncio.gather(*map(answer, images))
        refused = [result for result in results if isinstance(result, RefusalError)]
        if len(refused) == len(images):
            raise refused[0]
        return BatchAnswer(
            [Problem(r.message) if isinstance(r, RefusalError) else r for r in results]
        )

    @api.get("/api/neighbours/{row}", responses=describe_problems(404))
    async def neighbours(row: Row, k: Count = 12, label: Label = None) -> Answer:
        """Find what looks like an image of the index."""
        return await service.neighbours(row, k=k, label=label)

    @api.get(
        "/thumbnails/{row}",
        responses={**describe_problems(404), **JPEG},
        response_class=Response,
    )
    async def thumbnail(request: Request, row: Row) -> Response:
        """Return a small JPEG of an image of the index."""
        data = await service.thumbnail(row, _client(request))
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": "no-store"})


def add_refusals(app: FastAPI) -> None:
    """Answer what no route takes in one line, as everything that is refused."""
    app.add_exception_handler(HTTPException, _refuse_request)
    app.add_exception_handler(RequestValidationError, _refuse_parameters)


def _add_notes(api: APIRouter, app: FastAPI, service: Service, metrics: Metrics) -> None:
    @app.get("/health", responses={421: {"model": Problem}})
    async def health() -> Health:
        """Say that it runs; needs no token."""
        return Health("ok", service.database.n_samples)

    @api.get("/metrics", responses=describe_problems(), response_class=Response)
    async def prometheus() -> Response:
        """Return counters in Prometheus' text format."""
        return Response(metrics.page(), headers={"Content-Type": CONTENT_TYPE})

    @api.get("/api/index", responses=describe_problems())
    async def describe() -> Description:
        """Say what the index has and what may be asked."""
        options, database = service.options, service.database
        return Description(
            n_samples=database.n_samples,
            metric=database.metric,
            labels=database.labels(),
            examples=database.examples(N_EXAMPLES),
            has_model=service.labeller is not None,
            is_writable=options.writable,
            max_upload_bytes=options.max_upload_bytes,
            max_k=MAX_K,
        )


def _add_changes(api: APIRouter, service: Service) -> None:
    @api.post(
        "/api/add",
        status_code=201,
        responses=describe_problems(408, 409, 413, 415, 507),
        openapi_extra=IMAGE_BODY,
    )
    async def add(
        request: Request, label: Annotated[str | None, Query(min_length=1, max_length=500)] = None
    ) -> Added:
        """Add the image in the body, with a label where the index has labels."""
        suffix = suffix_of(request.headers.get("content-type"))
        data = await read_body(request, service.options.max_upload_bytes)
        row = await service.add(data, suffix=suffix, label=label, client=_client(request))
        return Added(row, service.database.n_samples)

    @api.delete(
        "/api/images/{row}",
        status_code=204,
        response_model=None,  # older versions of FastAPI take "None" for a body
        responses=describe_problems(404, 507),
    )
    async def remove(row: Row) -> None:
        """Remove an image from the index."""
        await service.remove(row)


def _client(request: Request) -> str:
    return request.client.host if request.client else ""


async def _refuse_request(request: Request, err: Exception) -> Response:
    assert isinstance(err, HTTPException)
    route = f"{request.method} {request.url.path}"[:200]
    return JSONResponse({"error": f"{route}: {err.detail}"}, err.status_code, headers=err.headers)


async def _refuse_parameters(_: Request, err: Exception) -> Response:
    """Say which parameter does not fit, in one line as everywhere."""
    assert isinstance(err, RequestValidationError)
    parts = [
        f"{e['loc'][-1]}: got {e['input']!r:.100}, {e['msg'][:1].lower()}{e['msg'][1:]}"
        for e in err.errors()
    ]
    return JSONResponse({"error": "; ".join(parts)}, 422)
