"""What is wrong with a collection: labels, outliers, copies, leaks, classes, pictures."""

from __future__ import annotations

from featx.auditing.audit import audit
from featx.auditing.result import KINDS, Audit, Finding

__all__ = ["KINDS", "Audit", "Finding", "audit"]
