"""A page that runs an exported file in the browser, with all that it needs inside.

A page that is opened from a disk may not read files beside it, so the file and the runtime are in
the page, packed.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from featx._style import read_style
from featx._version import __version__

__all__ = ["render_page"]

STATIC = Path(__file__).parent / "static"
POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; img-src blob:"
_IN_HTML = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"})
# Of the metadata what the script reads.
NOTES = ("kind", "classes", "min_px", "self_test")
PACK_LEVEL = 6


def render_page(
    title: str, model: bytes, metadata: Mapping[str, Any], runtime: tuple[bytes, bytes]
) -> str:
    """Return the page of a model.

    Parameters
    ----------
    title : str
    model : bytes
        As ONNX, from an image to an answer.
    metadata : mapping
        What the file says of itself.
    runtime : (bytes, bytes)
        From `featx.deployment._runtime.find_runtime`.
    """
    ort, wasm = runtime
    scripts = [_as_global(ort.decode()), "\n" + (STATIC / "model.js").read_text("utf-8")]
    style = "\n" + read_style() + (STATIC / "model.css").read_text("utf-8")
    allowed = " ".join(map(_hash, scripts))
    policy = f"{POLICY}; script-src 'wasm-unsafe-eval' {allowed}; style-src {_hash(style)}"
    notes = json.dumps({name: metadata[name] for name in NOTES}, separators=(",", ":"))
    loader = jinja2.FileSystemLoader(STATIC)
    template = jinja2.Environment(loader=loader, autoescape=True).get_template("model.html.j2")
    return template.render(
        title=title,
        about=_about(metadata),
        version=__version__,
        policy=Markup(policy),
        style=Markup(style),
        notes=Markup(notes.translate(_IN_HTML)),
        model=_pack(model),
        wasm=_pack(wasm),
        runtime=Markup(scripts[0]),
        script=Markup(scripts[1]),
    )


def _about(metadata: Mapping[str, Any]) -> str:
    names, n = metadata["classes"], len(metadata["classes"])
    kind = "attributes" if metadata["kind"] == "attributes" else "classes"
    listed = ", ".join(names[:8]) + (f" and {n - 8} more" if n > 8 else "")
    return f"It knows {n} {kind}: {listed}."


def _as_global(module: str) -> str:
    """Return a module's text with its exports as one global object."""
    code, _, names = module.rpartition("export{")
    pairs = [each.split(" as ") for each in names.partition("}")[0].split(",")]
    found = ",".join(f"{words[-1].strip()}:{words[0].strip()}" for words in pairs)
    return f"\n{code}globalThis.featxRuntime={{{found}}};\n"


def _pack(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, PACK_LEVEL, mtime=0)).decode()


def _hash(text: str) -> str:
    """Return what a policy calls an element of this content."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
