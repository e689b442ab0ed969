"""The bodies of requests: which types are taken, and several images in one JSON document."""

from __future__ import annotations

import base64
import json
from typing import Any

from featx.serve._refusal import RefusalError

__all__ = ["BATCH_BODY", "IMAGE_BODY", "MAX_IMAGES", "images_of", "require_json", "suffix_of"]

MAX_IMAGES = 32
# Most that a document with MAX_IMAGES images has of what makes it dear to parse.
MARKS = {b"{": 1, b"[": 1, b",": MAX_IMAGES, b'"': 2 * MAX_IMAGES + 2, b":": 1}

# What featx decodes; the second name of a format is one that systems also send.
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
IMAGE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"type": "string", "format": "binary", "minLength": 1}}
            for kind in SUFFIXES
        },
    }
}
BATCH_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "additionalProperties": False,
                    "properties": {
                        "images": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": MAX_IMAGES,
                            "items": {"type": "string", "contentEncoding": "base64"},
                        }
                    },
                }
            }
        },
    }
}


def suffix_of(content_type: str | None) -> str:
    """Return the usual ending of a file of a type; which format it is, its content tells.

    Raises
    ------
    RefusalError
        If it is no type of an image that featx decodes.

    Examples
    --------
    >>> suffix_of("image/jpeg")
    '.jpg'
    """
    kind = (content_type or "").partition(";")[0].strip().lower()
    if kind not in SUFFIXES:
        raise RefusalError(
            415,
            f"content-type: got {content_type or ''!r:.100}, expected one of "
            f"{', '.join(SUFFIXES)}, with the bytes of the image as the body",
        )
    return SUFFIXES[kind]


def require_json(content_type: str | None) -> None:
    """Refuse anything but JSON.

    Raises
    ------
    RefusalError
    """
    if (content_type or "").partition(";")[0].strip().lower() != "application/json":
        raise RefusalError(
            415, f"content-type: got {content_type or ''!r:.100}, expected application/json"
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
    # The parser holds the interpreter, and so the server, until it is done: a document that may be
    # ours has few of these bytes, of which base64 has none.
    if any(body.count(mark) > most for mark, most in MARKS.items()):
        raise _not_images()
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as err:
        reason = " ".join(str(err).split())[:100]
        raise RefusalError(422, f"body: got no JSON ({reason})") from err
    texts = document.get("images") if isinstance(document, dict) and len(document) == 1 else None
    if not isinstance(texts, list) or not 1 <= len(texts) <= MAX_IMAGES:
        raise _not_images()
    images = [_decoded(i, text) for i, text in enumerate(texts)]
    if sum(map(len, images)) > max_bytes:
        raise RefusalError(413, f"images: too large, expected at most {max_bytes} bytes together")
    return images


def _not_images() -> RefusalError:
    return RefusalError(
        422,
        f'body: expected {{"images": [...]}} and nothing else, with 1 to {MAX_IMAGES} images in '
        "base64",
    )


def _decoded(i: int, text: Any) -> bytes:
    if not isinstance(text, str):
        raise RefusalError(422, f"images[{i}]: got {type(text).__name__}, expected text in base64")
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as err:  # of which binascii.Error is one
        raise RefusalError(422, f"images[{i}]: got no base64 ({err})") from err
