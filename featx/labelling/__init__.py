"""What to label next, sessions of labelling, and what labels have bought."""

from __future__ import annotations

from featx.labelling.session import LabelSession
from featx.labelling.suggest import suggest

__all__ = ["LabelSession", "suggest"]
