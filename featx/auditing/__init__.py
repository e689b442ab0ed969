"""What is wrong with a collection: labels, outliers, copies, leaks, classes, pictures."""

from __future__ import annotations

from featx.auditing.audit import audit

__all__ = ["audit"]
