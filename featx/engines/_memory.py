"""Memory that one pass frees, kept for the next.

glibc takes each array of more than 32 MB from the system and gives it back when it is freed: the
maps of a few images at the beginning of a network in float32. Each pass then begins with pages
that the system has to clear, a third of the time of such a pass.
"""

from __future__ import annotations

import ctypes
import functools
import platform

__all__ = ["keep_freed_memory"]

# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES, LARGEST_BYTES = 512 << 20, 256 << 20


@functools.cache
def keep_freed_memory() -> bool:
    """Let this process keep up to 512 MB that is free, and reuse it for arrays of up to 256 MB.

    Returns
    -------
    bool
        False where the C library is not glibc (macOS, Windows, musl): nothing is changed there.

    Examples
    --------
    >>> keep_freed_memory() in (True, False)
    True
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    done = libc.mallopt(M_MMAP_THRESHOLD, LARGEST_BYTES)
    return bool(done and libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES))
