"""Counters for Prometheus, in a registry of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from featx.serve._service import Service

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Requests by route and status, how long they took, and a service's own counters.

    Parameters
    ----------
    service : Service, optional
        What is counted besides requests.

    Examples
    --------
    >>> metrics = Metrics()
    >>> metrics.count("/api/query", 200, 0.02)
    >>> metrics.page().decode().splitlines()[2]
    'featx_requests_total{route="/api/query",status="200"} 1.0'
    """

    def __init__(self, service: Service | None = None) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "featx_requests", "Requests answered.", ["route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "featx_request_seconds",
            "From the headers of a request to its answer's end.",
            ["route"],
            registry=self._registry,
            buckets=BOUNDS_S,
        )
        if service is not None:
            self._registry.register(_OfService(service))

    def count(self, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def page(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)


class _OfService(Collector):
    """What a service counts by itself, read when it is asked for."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        service, sizes = self._service, self._service.batcher.sizes
        n_queries = sum((i + 1) * n for i, n in enumerate(sizes))
        gauge, counter = GaugeMetricFamily, CounterMetricFamily
        yield gauge("featx_samples", "Images in the index.", service.database.n_samples)
        yield gauge("featx_waiting", "Queries in line.", service.batcher.n_waiting)
        yield counter("featx_images", "Images through the network.", service.n_images)
        yield counter("featx_batches", "Batches of queries.", sum(sizes))
        yield counter("featx_batched", "Queries in these batches.", n_queries)
