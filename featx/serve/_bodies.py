"""The bodies of requests: an image as it is or in a form, and several in one JSON document."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from featx.serve._limits import read_body
from featx.serve._refusal import RefusalError

if TYPE_CHECKING:
    from fastapi import Request

__all__ = [
    "BATCH_BODY",
    "EMBED_BODY",
    "FORM",
    "IMAGE_BODY",
    "MAX_IMAGES",
    "Batch",
    "embeds_of",
    "image_of_form",
    "images_of",
    "read_image",
    "suffix_of",
]

# It warns of every damaged form: clients could fill the log.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

Document = TypeVar("Document", bound=BaseModel)
MAX_IMAGES = 32
FORM = "multipart/form-data"
FIELD = "image"
# What a form has around its image: headers of a part, and the boundary three times.
FORM_BYTES = 4096
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

    images: Annotated[
        list[Base64],
        Field(min_length=1, max_length=MAX_IMAGES, description="Files of images in base64."),
    ]


Text = Annotated[str, Field(min_length=1, max_length=200)]


class Embeds(BaseModel):
    """Several images, or several texts, in one document."""

    model_config = ConfigDict(extra="forbid", strict=True, val_json_bytes="base64")

    images: Annotated[
        list[Base64] | None,
        Field(min_length=1, max_length=MAX_IMAGES, description="Files of images in base64."),
    ] = None
    input: Annotated[
        Text | list[Text] | None,
        Field(min_length=1, max_length=MAX_IMAGES, description="Words, or several of them."),
    ] = None


def _describe_body(schemas: dict[str, Any]) -> dict[str, Any]:
    content = {kind: {"schema": schema} for kind, schema in schemas.items()}
    return {"requestBody": {"required": True, "content": content}}


BINARY = {"type": "string", "format": "binary", "minLength": 1}
FORM_SCHEMA = {
    "type": "object",
    "properties": {FIELD: {**BINARY, "description": "A file, as a form sends it."}},
    "required": [FIELD],
    "additionalProperties": False,
}
IMAGE_SCHEMAS = {**dict.fromkeys(SUFFIXES, BINARY), FORM: FORM_SCHEMA}
JSON_SCHEMAS = {"application/json": Batch.model_json_schema()}
IMAGE_BODY = _describe_body(IMAGE_SCHEMAS)
BATCH_BODY = _describe_body(JSON_SCHEMAS)
EMBED_SCHEMAS = {"application/json": Embeds.model_json_schema()}
EMBED_BODY = _describe_body({**IMAGE_SCHEMAS, **EMBED_SCHEMAS})


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


async def read_image(request: Request, max_bytes: int) -> tuple[bytes, str]:
    """Read an image, which is the body or a form's file; return it and its usual suffix.

    Raises
    ------
    RefusalError
        If it is of another type, too large or too slow.
    """
    kind = request.headers.get("content-type")
    if (kind or "").partition(";")[0].strip().lower() != FORM:
        suffix = suffix_of(kind)
        return await read_body(request, max_bytes), suffix
    body = await read_body(request, max_bytes + FORM_BYTES)
    return await asyncio.to_thread(image_of_form, body, kind or "", max_bytes)


@dataclass
class _Part:
    name: bytes = b""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    data: bytearray = field(default_factory=bytearray)


class _Form:
    """What a parser tells of a form, kept as parts."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.is_whole = False

    def on_part_begin(self) -> None:
        if self.parts:
            raise _refuse_form("got several fields")
        self.parts.append(_Part())

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].name += data[start:end].lower()

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        part = self.parts[-1]
        part.headers[part.name] = part.headers.get(part.name, b"") + data[start:end]

    def on_header_end(self) -> None:
        self.parts[-1].name = b""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].data += memoryview(data)[start:end]

    def on_end(self) -> None:
        self.is_whole = True


def image_of_form(body: bytes, content_type: str, max_bytes: int) -> tuple[bytes, str]:
    r"""Return the file of a form that has one, in the field "image", and its usual suffix.

    Raises
    ------
    RefusalError
        If it is no such form, or the file is too large.

    Examples
    --------
    >>> body = (
    ...     b'--x\r\ncontent-disposition: form-data; name="image"; filename="a.png"\r\n'
    ...     b"content-type: image/png\r\n\r\nPNG\r\n--x--\r\n"
    ... )
    >>> image_of_form(body, "multipart/form-data; boundary=x", 100)
    (b'PNG', '.png')
    """
    form = _Form()
    callbacks = {name: getattr(form, name) for name in vars(_Form) if name.startswith("on_")}
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:  # RFC 2046, section 5.1.1
        raise _refuse_form("its content-type has no boundary of 1 to 70 characters")
    try:
        parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except FormParserError as err:
        raise _refuse_form(str(err)) from err
    if not form.is_whole or not form.parts:
        raise _refuse_form("it ends before its last boundary")
    [part] = form.parts
    kind, options = parse_options_header(part.headers.get(b"content-disposition", b""))
    if (
        kind != b"form-data"
        or options.get(b"name") != FIELD.encode()
        or b"filename" not in options
    ):
        raise _refuse_form(f"its field is {options.get(b'name', b'')!r:.100}, or has no file")
    if len(part.data) > max_bytes:
        raise RefusalError(413, f"the image is too large, expected at most {max_bytes} bytes")
    if not part.data:
        raise RefusalError(422, "the image is empty, expected the bytes of an image")
    suffix = suffix_of(part.headers.get(b"content-type", b"").decode("latin-1"))
    return bytes(part.data), suffix


def _refuse_form(reason: str) -> RefusalError:
    return RefusalError(
        422,
        f'body: expected a form with one file, in the field "{FIELD}", and nothing else; '
        f"parameters belong into the address ({reason:.200})",
    )


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
    images = _read_json(body, Batch).images
    _require_size(images, max_bytes)
    return images


def embeds_of(body: bytes, max_bytes: int) -> tuple[list[bytes], list[str]]:
    """Return the images of ``{"images": [...]}``, or the texts of ``{"input": [...]}``.

    Raises
    ------
    RefusalError
        If the document is anything else, or has too many images, texts or bytes.

    Examples
    --------
    >>> embeds_of(b'{"input": "umbrella"}', 100)
    ([], ['umbrella'])
    """
    document = _read_json(body, Embeds)
    if (document.images is None) == (document.input is None):
        raise _refuse_body("got both or neither of images and input")
    if document.input is not None:
        return [], [document.input] if isinstance(document.input, str) else document.input
    images = document.images or []
    _require_size(images, max_bytes)
    return images, []


def _read_json(body: bytes, kind: type[Document]) -> Document:
    # The parser holds the interpreter, and so the server, until it is done: a valid document has
    # few of these bytes, and base64 has none.
    if any(body.count(mark) > most for mark, most in MARKS.items()):
        raise _refuse_body("got more than that")
    try:
        return kind.model_validate_json(body)
    except ValidationError as err:
        first = err.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise _refuse_body(f"{place}: {first['msg']}" if place else first["msg"]) from err


def _require_size(images: list[bytes], max_bytes: int) -> None:
    if sum(map(len, images)) > max_bytes:
        raise RefusalError(413, f"images: too large, expected at most {max_bytes} bytes together")


def _refuse_body(reason: str) -> RefusalError:
    return RefusalError(
        422,
        f'body: expected {{"images": [...]}} and nothing else, with 1 to {MAX_IMAGES} images in '
        f"base64 ({reason:.200})",
    )
