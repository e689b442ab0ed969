"""Terms of weights: what a folder says of its own, and which are free for all uses.

Terms are names as SPDX and hubs have them, such as "apache-2.0". featx repeats what the source of
the weights states; it judges nothing else.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

__all__ = ["is_free", "read_license", "warn_of_license"]

# They allow any use, commercial ones too, on no more than giving credit or the text of the terms.
FREE = frozenset(
    ("0bsd", "afl-3.0", "apache-2.0", "bsd", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0",
     "cc0-1.0", "isc", "mit", "unlicense", "zlib")
)  # fmt: skip
README = "README.md"
MAX_CHARS = 20_000
# The block of YAML at the top of a hub's README, and two of its fields.
_TOP = re.compile(r"\A---\s*\n(.*?)^---\s*$", re.DOTALL | re.MULTILINE)
_FIELD = re.compile(r"""^(license|license_name):[ \t]*['"]?([\w.+-]+)""", re.MULTILINE)
log = logging.getLogger(__name__)
_said: set[tuple[str, str]] = set()


def is_free(terms: str | None) -> bool:
    """Tell whether terms are known to be free for all uses.

    Parameters
    ----------
    terms : str or None
        None where the source states none: nothing is known of them then.

    Examples
    --------
    >>> [is_free(terms) for terms in ("Apache-2.0", "cc-by-nc-4.0", None)]
    [True, False, False]
    """
    return terms is not None and terms.lower() in FREE


def read_license(folder: Path) -> str | None:
    """Return what the README of a hub's folder states; None where it says nothing.

    Parameters
    ----------
    folder : Path
        Where the weights lie; terms called "other" are given by the name that stands beside.
    """
    try:
        with (folder / README).open(encoding="utf-8", errors="replace") as file:
            text = file.read(MAX_CHARS)
    except OSError:
        return None
    top = _TOP.match(text)
    fields = dict(_FIELD.findall(top[1])) if top else {}
    terms = fields.get("license")
    return fields.get("license_name", terms) if terms == "other" else terms


def warn_of_license(backbone: str, terms: str | None) -> None:
    """Say once in a process that stated terms are not known to be free for all uses."""
    if terms is None or is_free(terms) or (backbone, terms) in _said:
        return
    _said.add((backbone, terms))
    log.warning(
        "the weights of %s come under the terms %r, which may forbid some uses, commercial ones "
        "for example; read them before you use the features",
        backbone,
        terms,
    )
