"""A hub on this machine: folders under ``owner/name``, as huggingface_hub reads them."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Handler(http.server.BaseHTTPRequestHandler):
    root: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        place = unquote(urlsplit(self.path).path)
        repo, is_file, rest = place.strip("/").partition("/resolve/")
        path = self.root / repo / rest.partition("/")[2]
        self.asked.append(f"{self.command} {place}")
        if not is_file and repo.startswith("api/models/"):
            names = sorted(p.name for p in (self.root / repo[11:].split("/tree/")[0]).glob("*"))
            siblings = [{"rfilename": name} for name in names]
            listing = [{"type": "file", "path": n, "size": 1, "oid": COMMIT} for n in names]
            whole = {"id": repo[11:], "sha": COMMIT, "siblings": siblings}
            body = json.dumps(listing if "/tree/" in repo else whole).encode()
            headers = {"Content-Type": "application/json"}
        elif is_file and path.is_file():
            body = path.read_bytes()
            headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": COMMIT}
        else:
            self.send_response(404)
            known = (self.root / repo).is_dir()
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def serve_hub(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve the folders of a root; give the address, and what has been asked so far."""
    handler = type("Handler", (_Handler,), {"root": root, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler.asked
    finally:
        server.shutdown()
        server.server_close()
