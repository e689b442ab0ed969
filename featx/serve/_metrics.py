"""Counters in Prometheus' text format, which is a page of lines: no package is needed for it."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from featx.serve._service import Service

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    r"""Requests by route and status, and how long they took.

    Examples
    --------
    >>> metrics = Metrics()
    >>> metrics.count("/api/query", 200, 0.02)
    >>> print("\n".join(metrics.lines()[:3]))
    # HELP featx_requests_total Requests answered.
    # TYPE featx_requests_total counter
    featx_requests_total{route="/api/query",status="200"} 1
    """

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._slots: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}

    def count(self, route: str, status: int, seconds: float) -> None:
        """Count one request; called from the event loop only."""
        self._requests[route, status] += 1
        slots = self._slots.setdefault(route, [0] * (len(BOUNDS_S) + 1))
        slots[bisect_left(BOUNDS_S, seconds)] += 1
        self._seconds[route] = self._seconds.get(route, 0.0) + seconds

    def lines(self) -> list[str]:
        """Return the lines about requests."""
        return [*self._request_lines(), *self._time_lines()]

    def _request_lines(self) -> Iterator[str]:
        name = "featx_requests_total"
        yield from _head(name, "counter", "Requests answered.")
        for (route, status), n in sorted(self._requests.items()):
            yield f'{name}{{route="{route}",status="{status}"}} {n}'

    def _time_lines(self) -> Iterator[str]:
        name = "featx_request_seconds"
        yield from _head(name, "histogram", "From the headers of a request to its answer's end.")
        for route, slots in sorted(self._slots.items()):
            total = 0
            for bound, n in zip([*map(str, BOUNDS_S), "+Inf"], slots, strict=True):
                total += n
                yield f'{name}_bucket{{route="{route}",le="{bound}"}} {total}'
            yield f'{name}_sum{{route="{route}"}} {self._seconds[route]:.6f}'
            yield f'{name}_count{{route="{route}"}} {total}'

    def page(self, service: Service) -> str:
        """Return everything, the service's own numbers included."""
        sizes = service.batcher.sizes
        numbers = (
            ("featx_samples", "gauge", "Images in the index.", service.database.n_samples),
            ("featx_waiting", "gauge", "Queries in line.", service.batcher.n_waiting),
            (
                "featx_images_total",
                "counter",
                "Images through the network.",
                service.network.n_images,
            ),
            ("featx_batches_total", "counter", "Batches of queries.", sum(sizes)),
            (
                "featx_batched_total",
                "counter",
                "Queries in these batches.",
                sum((i + 1) * n for i, n in enumerate(sizes)),
            ),
        )
        found = self.lines()
        for name, kind, text, value in numbers:
            found += [*_head(name, kind, text), f"{name} {value}"]
        return "\n".join(found) + "\n"


def _head(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"
