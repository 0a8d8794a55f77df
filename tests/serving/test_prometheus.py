"""The metrics as Prometheus reads them."""

from __future__ import annotations

import sys

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import onnxpress
from onnxpress import ThreadedClassifier
from onnxpress.serving.prometheus import ServiceCollector


def test_prometheus_reads_them(classifier: onnxpress.Classifier) -> None:
    registry = CollectorRegistry()
    with ThreadedClassifier(classifier) as service:
        registry.register(ServiceCollector(service.metrics, {"model": "reviews"}))
        for _ in range(3):
            service.classify("good film")
        page = generate_latest(registry).decode()
        found = service.metrics()
    samples = {
        (sample.name, sample.labels.get("outcome") or sample.labels.get("le")): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.labels["model"] == "reviews"
    }
    assert samples["onnxpress_requests_total", "answered"] == 3
    assert samples["onnxpress_requests_total", "refused"] == 0
    assert samples["onnxpress_waiting_requests", None] == samples["onnxpress_stages_outside", None] == 0
    assert samples["onnxpress_request_seconds_count", None] == samples["onnxpress_request_seconds_bucket", "+Inf"] == 3
    assert samples["onnxpress_request_seconds_sum", None] == pytest.approx(found.seconds.total)
    assert samples["onnxpress_batch_size_bucket", "1"] == 3 and samples["onnxpress_queue_depth_bucket", "1"] == 3


def test_without_the_extra_it_is_named(classifier: onnxpress.Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with (
        ThreadedClassifier(classifier) as service,
        pytest.raises(onnxpress.MissingDependencyError, match=r"onnxpress\[metrics\]"),
    ):
        ServiceCollector(service.metrics)
