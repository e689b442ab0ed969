"""The look that all pages share: colours, type and parts, in one sheet.

A page adds only its layout. No other sheet names a colour, and a test holds them to it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

__all__ = ["read_style"]


@cache
def read_style() -> str:
    """Return the sheet, which comes before a page's own.

    Examples
    --------
    >>> "--ink" in read_style()
    True
    """
    return (Path(__file__).parent / "style.css").read_text("utf-8")
