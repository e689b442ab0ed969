"""Memory of large maps is kept between passes."""

from __future__ import annotations

import platform

import pytest
import torch

from featx.engines._memory import keep_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told what to keep")
def test_a_large_array_takes_pages_from_the_system_once() -> None:
    """36 MB are 9,216 pages of 4 kB, each a fault when the system gives it out anew."""
    import resource

    def count_faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.empty(9 << 20).fill_(1)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    assert keep_freed_memory()
    # a gap left by one is too small for the next by its alignment, until the gaps have grown
    assert min(count_faults() for _ in range(30)) < 500
