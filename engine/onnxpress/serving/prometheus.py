"""A service's metrics for Prometheus, and for whatever reads its format, such as OpenTelemetry's collector."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from onnxpress.errors import MissingDependencyError
from onnxpress.serving.metrics import Histogram, ServiceMetrics

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["ServiceCollector"]


class ServiceCollector:
    """A `prometheus_client` collector that reads a service when it is scraped.

    prometheus_client.REGISTRY.register(ServiceCollector(service.metrics, {"model": "reviews"}))
    """

    def __init__(self, read: Callable[[], ServiceMetrics], labels: dict[str, str] | None = None) -> None:
        """Make a collector.

        Args:
            read: A service's `metrics`.
            labels: Labels that tell this service from others.

        Raises:
            MissingDependencyError: prometheus-client is not installed.
        """
        try:
            from prometheus_client import core
        except ImportError as error:
            raise MissingDependencyError("prometheus_client", ("metrics",)) from error
        self._core: Any = core
        self._read = read
        self._names = tuple(labels or {})
        self._values = tuple((labels or {}).values())

    def collect(self) -> Iterable[Metric]:
        """The metrics now."""
        found = self._read()
        requests = self._core.CounterMetricFamily(
            "onnxpress_requests", "Requests by how they ended.", labels=(*self._names, "outcome")
        )
        for outcome, count in found.requests.items():
            requests.add_metric((*self._values, outcome), count)
        yield requests
        for name, words, value in (
            ("waiting_requests", "Requests that wait.", found.waiting),
            ("waiting_tokens", "Tokens of the requests that wait.", found.waiting_tokens),
        ):
            gauge = self._core.GaugeMetricFamily(f"onnxpress_{name}", words, labels=self._names)
            gauge.add_metric(self._values, value)
            yield gauge
        for name, words, histogram in (
            ("queue_depth", "Requests that waited as another came.", found.depth),
            ("batch_size", "Requests of a run.", found.batch_size),
            ("request_seconds", "From a request's coming to its answer.", found.seconds),
        ):
            family = self._core.HistogramMetricFamily(f"onnxpress_{name}", words, labels=self._names)
            family.add_metric(self._values, buckets=_cumulative(histogram), sum_value=histogram.total)
            yield family


def _cumulative(histogram: Histogram) -> list[tuple[str, int]]:
    bounds = [f"{bound:g}" for bound in histogram.bounds] + ["+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True))
