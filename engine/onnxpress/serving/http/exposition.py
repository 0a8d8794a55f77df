"""What /metrics says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from onnxpress.errors import MissingDependencyError
from onnxpress.serving.http.models import Model
from onnxpress.serving.prometheus import ServiceCollector

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["exposition"]


class _Together:
    """The metrics of several services, each once, with the samples of all: the format wants them in one place."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._collectors = [ServiceCollector(model.service.metrics, {"model": name}) for name, model in models.items()]

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for collector in self._collectors:
            for family in collector.collect():
                families.setdefault(family.name, family)
                if families[family.name] is not family:
                    families[family.name].samples.extend(family.samples)
        return families.values()


def exposition(models: Mapping[str, Model]) -> tuple[bytes, str]:
    """Prometheus's text of what was done so far, and its media type.

    Raises:
        MissingDependencyError: prometheus-client is not installed.
    """
    try:
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
    except ImportError as error:
        raise MissingDependencyError("prometheus_client", ("metrics",)) from error
    registry = CollectorRegistry()
    registry.register(_Together(models))
    return generate_latest(registry), CONTENT_TYPE_LATEST
