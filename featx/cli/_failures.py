"""Images that could not be read, for standard error."""

from __future__ import annotations

__all__ = ["describe_failures", "list_failures"]

MAX_LISTED = 20


def describe_failures(failures: list[dict[str, str]]) -> str:
    """Say on one line that no image could be read, and why the first could not."""
    first = failures[0]
    more = f", and {len(failures) - 1} more" if len(failures) > 1 else ""
    return (
        f"none of the {len(failures)} images could be read: {first['path']!r} "
        f"({first['reason']}){more}; expected at least one that is whole: check the source"
    )


def list_failures(failures: list[dict[str, str]]) -> list[str]:
    """Return a line an image, as far as a person reads."""
    lines = [f"{f['path']}: could not be read: {f['reason']}" for f in failures[:MAX_LISTED]]
    if len(failures) > MAX_LISTED:
        lines.append(f"{len(failures) - MAX_LISTED} more could not be read (--json lists all)")
    return lines
