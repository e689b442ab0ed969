"""From sections to one HTML page, with its numbers inside as JSON.

The page asks no other host for anything and runs one script, whose hash a content security policy
inside it names: no other would run, whatever a label holds. It is whole without the script.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from featx._style import read_style
from featx.report._section import Section, shorten_paths

__all__ = ["render", "to_json"]

TEMPLATES = Path(__file__).parent / "templates"
# Inside a page, where "</template>" in a label must not end the numbers.
_IN_HTML = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"})


def _let_break(name: str) -> Markup:
    """Let a line end behind the parts of a file's name, before it ends within a word."""
    return Markup("<wbr>").join(re.findall(r"[^/_ -]*[/_ -]+|[^/_ -]+", name))


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,  # whatever the file is called
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["let_break"] = _let_break
    return environment


def render(sections: Sequence[Section], document: dict[str, Any], **page: Any) -> str:
    """Return the page.

    Parameters
    ----------
    sections : sequence of Section
    document : dict
        The numbers, which go into the page with short paths: whose disk it was is nobody's.
    **page
        title, subtitle, created, version and images.
    """
    text = json.dumps(shorten_paths(document), allow_nan=False, separators=(",", ":"))
    numbers = Markup(text.translate(_IN_HTML))  # no character of HTML is left in it
    template = _environment().get_template("page.html.j2")
    script = (TEMPLATES / "page.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return template.render(
        sections=sections,
        numbers=numbers,
        style=Markup(read_style()),
        script=Markup(script),
        script_hash=Markup(f"'sha256-{digest}'"),
        **page,
    )


def to_json(document: dict[str, Any]) -> str:
    """Return JSON that any reader accepts: no NaN, and ASCII, as file names may be no UTF-8."""
    return json.dumps(document, indent=2, allow_nan=False) + "\n"
