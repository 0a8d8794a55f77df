"""What /metrics says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from onnxpress.errors import MissingDependencyError
from onnxpress.serving.http.models import Model
from onnxpress.serving.prometheus import ServiceCollector

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["exposition", "families_of", "workers_told"]


class _Together:
    """Metrics from several places, each once, with the samples of all: the format wants them in one place."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._families: dict[str, Metric] = {}
        for family in metrics:
            known = self._families.setdefault(family.name, family)
            if known is not family:
                known.samples.extend(family.samples)

    def collect(self) -> Iterable[Metric]:
        return self._families.values()


def families_of(models: Mapping[str, Model], labels: Mapping[str, str]) -> list[Metric]:
    """What the services of `models` did so far. `labels` tell this process from others.

    Raises:
        MissingDependencyError: prometheus-client is not installed.
    """
    return [
        family
        for name, model in models.items()
        for family in ServiceCollector(model.service.metrics, {**labels, "model": name}).collect()
    ]


def workers_told(workers: int) -> Metric:
    """How many workers' counts are told together."""
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily("onnxpress_workers", "Workers whose counts this answer holds.")
    family.add_metric((), workers)
    return family


def exposition(metrics: Sequence[Metric]) -> tuple[bytes, str]:
    """Prometheus's text of `metrics`, and its media type.

    Raises:
        MissingDependencyError: prometheus-client is not installed.
    """
    try:
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
    except ImportError as error:
        raise MissingDependencyError("prometheus_client", ("metrics",)) from error
    registry = CollectorRegistry()
    registry.register(_Together(metrics))
    return generate_latest(registry), CONTENT_TYPE_LATEST
