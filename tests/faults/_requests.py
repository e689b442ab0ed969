"""Requests to ``featx serve``: whole, damaged, and answered.

A request is one file: a line of JSON with its method, path and headers, then its body.
"""

from __future__ import annotations

import base64
import functools
import io
import json
import random
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from _damage import damaged
from PIL import Image

TOKEN = "faults-only-token"
N_IMAGES = 12
MARK = "between-parts"
ODD_VALUES = (
    "",
    "0",
    "-1",
    "9" * 40,
    "nan",
    "1e9",
    "[]",
    "a\x00b",
    "\ud7ff\u202e",
    "../..",
    "x" * 9999,
)


def requests(folder: Path) -> list[bytes]:
    """Return one of each kind."""
    file = io.BytesIO()
    Image.fromarray(_pixels(0)).save(file, "JPEG")
    jpeg = file.getvalue()
    batch = {"images": [base64.b64encode(jpeg).decode()] * 2}
    image, token = {"content-type": "image/jpeg"}, {"authorization": f"Bearer {TOKEN}"}
    form = {"content-type": f"multipart/form-data; boundary={MARK}"}
    asked: list[tuple[str, str, dict[str, str], bytes]] = [
        ("POST", "/api/query?k=3&label=a", image, jpeg),
        ("POST", "/api/query/batch?k=3", {"content-type": "application/json"},
         json.dumps(batch).encode()),
        ("GET", "/api/neighbours/3?k=3", {}, b""),
        ("GET", "/thumbnails/3", {}, b""),
        ("POST", "/api/add?label=b", image, jpeg),
        ("DELETE", "/api/images/3", {}, b""),
        ("POST", "/api/query?filter=label=a", form, _form(jpeg)),
        ("POST", "/api/embed", image, jpeg),
        ("PATCH", "/api/images/4?label=b", {}, b""),
        ("GET", "/api/index", {}, b""),
        ("GET", "/", {}, b""),
    ]  # fmt: skip
    return [
        json.dumps({"method": method, "path": path, "headers": {**headers, **token}}).encode()
        + b"\n"
        + body
        for method, path, headers, body in asked
    ]


def _form(jpeg: bytes) -> bytes:
    head = 'content-disposition: form-data; name="image"; filename="a.jpg"'
    head = f"--{MARK}\r\n{head}\r\ncontent-type: image/jpeg\r\n\r\n"
    return head.encode() + jpeg + f"\r\n--{MARK}--\r\n".encode()


def damaged_request(data: bytes, draw: random.Random) -> bytes:
    """Damage the body, or put odd things into what stands before it."""
    line, _, body = data.partition(b"\n")
    head = json.loads(line)
    for _ in range(draw.randint(1, 2)):
        way = draw.randrange(5)
        if way < 2:
            body = damaged(body, draw)
        elif way == 2:
            where, mark, _ = head["path"].partition("=")
            head["path"] = where + mark + quote(draw.choice(ODD_VALUES))
        elif way == 3:
            parts = head["path"].split("/")
            parts[draw.randrange(1, len(parts))] = quote(draw.choice(ODD_VALUES), safe="")
            head["path"] = "/".join(parts)
        else:
            name = draw.choice(
                ["content-type", "content-length", "authorization", "range", "host"]
            )
            head["headers"][name] = draw.choice(["", "0", "-1", "9" * 40, "image/png", "x" * 999])
    return json.dumps(head).encode() + b"\n" + body


def answer(path: Path) -> None:
    """Ask a server; whatever it is asked, it says what is wrong, and no more."""
    line, _, body = path.read_bytes().partition(b"\n")
    head = json.loads(line)
    root = path.parent / "server"
    client = _client(root)
    found = client.request(
        head["method"], head["path"], headers=head["headers"], content=body, follow_redirects=False
    )
    if found.status_code >= 500 and found.status_code not in (503, 507):
        raise AssertionError(f"status {found.status_code}: {found.content[:200]!r}")
    if root.parent.name.encode() in found.content or b"Traceback" in found.content:
        raise AssertionError(f"it tells where it is: {found.content[:200]!r}")
    if found.status_code >= 400 and list(json.loads(found.content)) != ["error"]:
        raise AssertionError(f"status {found.status_code} says {found.content[:200]!r}")


def _pixels(seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (40, 30, 3), np.uint8)


@functools.cache
def _client(root: Path) -> Any:
    """Start a server within this process, once: after a fork, which torch does not survive."""
    from starlette.testclient import TestClient

    import featx
    from featx.serve import ServeOptions, create_app, open_service

    for i in range(N_IMAGES):
        (root / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(_pixels(i)).save(root / "ab"[i % 2] / f"{i}.png")
    with featx.extract(root, root / "f.h5", workers=0, progress=False, device="cpu") as store:
        featx.RetrievalIndex().fit(store).save(root / "index")
    options = ServeOptions(rate=0, writable=True, token=TOKEN, max_upload_mb=0.1)
    app = create_app(open_service(str(root / "index"), options=options))
    client = TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)
    return client.__enter__()
