"""The bodies of requests: which types are taken, and several images in one JSON document."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from featx.serve._refusal import RefusalError

__all__ = ["BATCH_BODY", "IMAGE_BODY", "MAX_IMAGES", "Batch", "images_of", "suffix_of"]

MAX_IMAGES = 32
# How often a document with MAX_IMAGES images has the bytes that make parsing expensive, at most.
MARKS = {b"{": 1, b"[": 1, b",": MAX_IMAGES, b'"': 2 * MAX_IMAGES + 2, b":": 1}

# The formats that featx decodes; some systems send the second name of a format.
SUFFIXES = {
    "image/jpeg": ".jpg",
    "image/jpg": ".jpg",
    "image/png": ".png",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "image/bmp": ".bmp",
    "image/x-ms-bmp": ".bmp",
    "image/tiff": ".tif",
    "image/x-portable-pixmap": ".ppm",
    "image/x-portable-graymap": ".pgm",
    "image/x-portable-bitmap": ".pbm",
    "image/avif": ".avif",
}
JSON = {"application/json": ".json"}

Base64 = Annotated[bytes, WithJsonSchema({"type": "string", "contentEncoding": "base64"})]


class Batch(BaseModel):
    """Several images in one document."""

    model_config = ConfigDict(extra="forbid", strict=True, val_json_bytes="base64")

    images: Annotated[list[Base64], Field(min_length=1, max_length=MAX_IMAGES)]


def _describe_body(schemas: dict[str, Any]) -> dict[str, Any]:
    content = {kind: {"schema": schema} for kind, schema in schemas.items()}
    return {"requestBody": {"required": True, "content": content}}


BINARY = {"type": "string", "format": "binary", "minLength": 1}
IMAGE_BODY = _describe_body(dict.fromkeys(SUFFIXES, BINARY))
BATCH_BODY = _describe_body({"application/json": Batch.model_json_schema()})


def suffix_of(content_type: str | None, suffixes: dict[str, str] = SUFFIXES) -> str:
    """Return the usual suffix of a file of a type; the content decides which format it is.

    Raises
    ------
    RefusalError
        If it is none of the types that are taken: by default those of images.

    Examples
    --------
    >>> suffix_of("image/jpeg")
    '.jpg'
    """
    kind = (content_type or "").partition(";")[0].strip().lower()
    if kind not in suffixes:
        raise RefusalError(
            415,
            f"content-type: got {content_type or ''!r:.100}, expected one of "
            f"{', '.join(suffixes)}, with the bytes of such a file as the body",
        )
    return suffixes[kind]


def images_of(body: bytes, max_bytes: int) -> list[bytes]:
    r"""Return the images of ``{"images": ["base64", ...]}``.

    Raises
    ------
    RefusalError
        If the document is anything else, or has too many images or bytes.

    Examples
    --------
    >>> images_of(b'{"images": ["AAEC"]}', 100)
    [b'\x00\x01\x02']
    """
    # The parser holds the interpreter, and so the server, until it is done: a valid document has
    # few of these bytes, and base64 has none.
    if any(body.count(mark) > most for mark, most in MARKS.items()):
        raise _refuse_body("got more than that")
    try:
        images = Batch.model_validate_json(body).images
    except ValidationError as err:
        first = err.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise _refuse_body(f"{place}: {first['msg']}" if place else first["msg"]) from err
    if sum(map(len, images)) > max_bytes:
        raise RefusalError(413, f"images: too large, expected at most {max_bytes} bytes together")
    return images


def _refuse_body(reason: str) -> RefusalError:
    return RefusalError(
        422,
        f'body: expected {{"images": [...]}} and nothing else, with 1 to {MAX_IMAGES} images in '
        f"base64 ({reason:.200})",
    )
