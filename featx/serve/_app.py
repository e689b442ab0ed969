"""The routes. Imported only where FastAPI is known to be installed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, FastAPI, Path, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from featx._version import __version__
from featx.serve._answering import Asked
from featx.serve._bodies import (
    BATCH_BODY,
    EMBED_BODY,
    IMAGE_BODY,
    JSON,
    embeds_of,
    images_of,
    read_image,
    suffix_of,
)
from featx.serve._guard import Guard
from featx.serve._limits import TokenBuckets, read_body
from featx.serve._map_routes import add_map
from featx.serve._metrics import CONTENT_TYPE, Metrics
from featx.serve._page import add_page
from featx.serve._refusal import Problem, RefusalError
from featx.serve._schema import (
    Added,
    Answer,
    BatchAnswer,
    Description,
    Embedding,
    Embeddings,
    Health,
    Usage,
)
from featx.serve._service import Service

__all__ = ["add_refusals", "build_app"]

logger = logging.getLogger(__name__)
T = TypeVar("T")

MAX_K = 100
N_EXAMPLES = 24
LOOK_S = 2.0  # between two looks at the index's file
Count = Annotated[int, Query(ge=1, le=MAX_K, description="Neighbours.")]
Label = Annotated[str | None, Query(max_length=500, description="Only rows with this label.")]
Filters = Annotated[
    tuple[str, ...],
    Query(
        alias="filter",
        max_length=20,
        description="Only rows that fit: label=cat, colour!=red, price<=20 (also >=, < and >). "
        "All must hold; several values of one column are alternatives.",
    ),
]
TEXT = (
    "Words such as fire engine; several add up, and those with a minus before them are to be "
    "absent: dog -husky. "
)
Text = Annotated[
    str | None,
    Query(min_length=1, max_length=200, description=TEXT + "They are added to the image."),
]
NewLabel = Annotated[str, Query(min_length=1, max_length=500, description="Its label.")]
Name = Annotated[
    str,
    Path(
        pattern="^([0-9]{1,15}|(upload-)?[0-9a-f]{64})$",
        description="Row or id, as an answer gave it, or the name of a kept upload.",
    ),
]
JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}
}


def describe_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what the description says of refusals."""
    return {s: {"model": Problem} for s in sorted({401, 422, 429, 503, *statuses})}


def build_app(service: Service) -> FastAPI:
    """Return the application; its shutdown closes the service."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        looking = asyncio.create_task(_follow_file(service))
        yield
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
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
    if service.map is not None:
        add_map(app, api, service)
    app.include_router(api)
    add_page(app, {"/": "index.html", "/docs": "docs.html"})
    add_refusals(app)
    app.add_middleware(Guard, options=service.options, buckets=buckets, metrics=metrics)
    return app


async def _follow_file(service: Service) -> None:
    """Look at the index's file now and then; a fault ends neither this nor the server."""
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            await service.follow_file()
        except Exception:
            logger.exception("fault while looking at the index's file")


def _add_queries(api: APIRouter, service: Service, buckets: TokenBuckets) -> None:
    limit = service.options.max_upload_bytes

    async def read_batch(request: Request, read: Callable[[bytes, int], T]) -> T:
        suffix_of(request.headers.get("content-type"), JSON)
        body = await read_body(request, 4 * -(-limit // 3) + 4096)
        return await asyncio.to_thread(read, body, limit)

    @api.post("/api/query", responses=describe_problems(408, 413, 415), openapi_extra=IMAGE_BODY)
    async def query(
        request: Request,
        k: Count = 12,
        label: Label = None,
        filters: Filters = (),
        text: Text = None,
    ) -> Answer:
        """Find what looks like the image in the body, which may be a form's."""
        data, _ = await read_image(request, limit)
        return await service.query(data, Asked(k, label, filters, text), _client(request))

    @api.post(
        "/api/query/batch", responses=describe_problems(408, 413, 415), openapi_extra=BATCH_BODY
    )
    async def query_batch(
        request: Request,
        k: Count = 12,
        label: Label = None,
        filters: Filters = (),
        text: Text = None,
    ) -> BatchAnswer:
        """Find what looks like each of up to 32 images; 422 only where none can be read."""
        images, client = await read_batch(request, images_of), _client(request)
        buckets.take(client, len(images) - 1)
        asked = Asked(k, label, filters, text)

        async def answer(image: bytes) -> Answer | RefusalError:
            try:
                return await service.query(image, asked, client)
            except RefusalError as err:
                return err

        results = await asyncio.gather(*map(answer, images))
        refused = [result for result in results if isinstance(result, RefusalError)]
        if len(refused) == len(images):
            raise refused[0]
        return BatchAnswer(
            [Problem(r.message) if isinstance(r, RefusalError) else r for r in results]
        )

    @api.get("/api/search", responses=describe_problems())
    async def search(
        text: Annotated[str, Query(min_length=1, max_length=200, description=TEXT)],
        k: Count = 12,
        label: Label = None,
        filters: Filters = (),
    ) -> Answer:
        """Find what words say, where the network of the index has words."""
        return await service.find(Asked(k, label, filters, text))

    @api.post("/api/embed", responses=describe_problems(408, 413, 415), openapi_extra=EMBED_BODY)
    async def embed(request: Request) -> Embeddings:
        """Return the vector of the image in the body, or of each image or text in JSON.

        The answer is that of OpenAI's embeddings, which clients of vector databases read.
        """
        kind, client = request.headers.get("content-type") or "", _client(request)
        if kind.partition(";")[0].strip().lower() not in JSON:
            data, _ = await read_image(request, limit)
            return _embeddings(service, [await service.embed(data, client)])
        images, texts = await read_batch(request, embeds_of)
        buckets.take(client, len(images) + len(texts) - 1)
        waiting = [service.embed(image, client) for image in images]
        waiting += [service.embed_words(text) for text in texts]
        return _embeddings(service, await asyncio.gather(*waiting))

    @api.get("/api/neighbours/{row}", responses=describe_problems(404))
    async def neighbours(
        request: Request,
        row: Name,
        k: Count = 12,
        label: Label = None,
        filters: Filters = (),
        text: Text = None,
    ) -> Answer:
        """Find what looks like an image of the index, or like an upload that is still kept."""
        asked = Asked(k, label, filters, text)
        return await service.neighbours(_name(row), asked, _client(request))

    @api.get(
        "/thumbnails/{row}",
        responses={**describe_problems(404), **JPEG},
        response_class=Response,
    )
    async def thumbnail(
        request: Request,
        row: Name,
        size: Annotated[
            Literal["small", "large"],
            Query(description="At most 288 or 1600 pixels on the longer side."),
        ] = "small",
    ) -> Response:
        """Return an image of the index, or a kept upload, as a JPEG."""
        data = await service.thumbnail(_name(row), _client(request), is_large=size == "large")
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": "no-store"})


def _embeddings(service: Service, vectors: Sequence[Any]) -> Embeddings:
    recipe = service.network.recipes[0]
    data = [Embedding(i, vector.tolist(), "embedding") for i, vector in enumerate(vectors)]
    return Embeddings(data, f"{recipe.backbone}/{recipe.layer}", "list", Usage())


def add_refusals(app: FastAPI) -> None:
    """Answer what no route takes in one line, as everything that is refused."""
    app.add_exception_handler(HTTPException, _refuse_request)
    app.add_exception_handler(RequestValidationError, _refuse_parameters)


def _add_notes(api: APIRouter, app: FastAPI, service: Service, metrics: Metrics) -> None:
    @app.get("/health", responses={421: {"model": Problem}})
    async def health() -> Health:
        """Say that it runs; needs no token."""
        database = service.database
        return Health("ok", database.n_samples, database.collection, service.problem)

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
            columns=database.columns,
            link_column=database.link_column,
            examples=database.examples(N_EXAMPLES),
            has_words=database.has_words,
            has_model=service.labeller is not None,
            has_map=service.map is not None,
            is_writable=options.writable,
            needs_write_token=options.write_token is not None,
            max_upload_bytes=options.max_upload_bytes,
            max_k=MAX_K,
            collection=database.collection,
            problem=service.problem,
        )


def _add_changes(api: APIRouter, service: Service) -> None:
    @api.post(
        "/api/add",
        status_code=201,
        responses=describe_problems(403, 408, 409, 413, 415, 507),
        openapi_extra=IMAGE_BODY,
    )
    async def add(
        request: Request,
        label: Annotated[
            str | None,
            Query(
                min_length=1, max_length=500, description="Its label, where the index has labels."
            ),
        ] = None,
        values: Annotated[
            tuple[str, ...],
            Query(
                alias="value",
                max_length=50,
                description="COLUMN=VALUE for further columns; missing where it is not given.",
            ),
        ] = (),
    ) -> Added:
        """Add the image in the body, with a label where the index has labels."""
        data, suffix = await read_image(request, service.options.max_upload_bytes)
        given = _read_values(values)
        client = _client(request)
        row = await service.add(data, suffix=suffix, label=label, metadata=given, client=client)
        database = service.database
        digest = await asyncio.to_thread(hashlib.sha256, data)
        return Added(row, database.n_samples, digest.hexdigest(), database.collection)

    @api.patch(
        "/api/images/{row}",
        status_code=204,
        response_model=None,
        responses=describe_problems(403, 404, 507),
    )
    async def relabel(row: Name, label: NewLabel) -> None:
        """Give an image another label."""
        await service.relabel(_name(row), label)

    @api.delete(
        "/api/images/{row}",
        status_code=204,
        response_model=None,  # older versions of FastAPI take "None" for a body
        responses=describe_problems(403, 404, 507),
    )
    async def remove(row: Name) -> None:
        """Remove an image from the index."""
        await service.remove(_name(row))


def _read_values(words: Sequence[str]) -> dict[str, str]:
    given = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise RefusalError(422, f"value: got {word!r:.100}, expected COLUMN=VALUE")
        given[name] = value
    return given


def _name(text: str) -> int | str:
    """Return a row's number, an id, or the name of an upload."""
    return text if len(text) >= 64 else int(text)


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
