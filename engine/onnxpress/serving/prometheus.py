"""A service's metrics for Prometheus, and for whatever reads its format, such as OpenTelemetry's collector."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from onnxpress.errors import MissingDependencyError
from onnxpress.serving.exported import COUNTERS, GAUGES, HISTOGRAMS, require_unreserved
from onnxpress.serving.metrics import ServiceMetrics

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
            ConfigError: A label has a name that the metrics use themselves.
            MissingDependencyError: prometheus-client is not installed.
        """
        require_unreserved(labels or {})
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
        for counter in COUNTERS:
            counts = self._core.CounterMetricFamily(
                f"onnxpress_{counter.name}", counter.words, labels=(*self._names, counter.by)
            )
            for value, count in counter.read(found).items():
                counts.add_metric((*self._values, value), count)
            yield counts
        for level in GAUGES:
            gauge = self._core.GaugeMetricFamily(f"onnxpress_{level.name}", level.words, labels=self._names)
            gauge.add_metric(self._values, level.read(found))
            yield gauge
        for spread in HISTOGRAMS:
            histogram = spread.read(found)
            family = self._core.HistogramMetricFamily(f"onnxpress_{spread.name}", spread.words, labels=self._names)
            family.add_metric(self._values, buckets=histogram.cumulative(), sum_value=histogram.total)
            yield family
