"""The metrics as OpenTelemetry reads them."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry

import onnxpress
from onnxpress import ThreadedClassifier
from onnxpress.answers.answered import Answered
from onnxpress.answers.fidelity import Decision
from onnxpress.inputs.encoder import TokenRows
from onnxpress.serving import opentelemetry
from onnxpress.serving.answers import AnswerRecorder
from onnxpress.serving.metrics import Recorder, ServiceMetrics
from onnxpress.serving.opentelemetry import ServiceInstruments
from onnxpress.serving.prometheus import ServiceCollector
from onnxpress.tasks.text_classification import TextClassification

Values = dict[tuple[str, frozenset[tuple[str, object]]], float]


class Service:
    """Some requests, as a service counts them; `reads` is how often it was asked."""

    def __init__(self) -> None:
        self.recorder = Recorder(
            AnswerRecorder(("bad", "good"), ("int8", "fp32"), TextClassification(Decision("softmax"), 2))
        )
        self.recorder.came(0)
        self.recorder.came(3)
        rows = TokenRows([], np.zeros(2, dtype=np.int64), cut=np.array([True, False]))
        logits = np.array([[0.0, 3.0], [0.5, 0.0]], dtype=np.float32)
        self.recorder.ran([0.25, 0.5], Answered(logits, np.array([0, 1], dtype=np.uint8), rows))
        self.recorder.ended("refused", 4)
        self.reads = 0

    def metrics(self) -> ServiceMetrics:
        self.reads += 1
        return self.recorder.metrics(waiting=7, waiting_tokens=90)


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def meter(reader: InMemoryMetricReader) -> Iterator[Meter]:
    provider = MeterProvider([reader])
    yield provider.get_meter("tests")
    provider.shutdown()


def collect(reader: InMemoryMetricReader) -> Values:
    """Every value, by its instrument and attributes; none comes twice."""
    data = reader.get_metrics_data()
    points = [
        ((metric.name, frozenset(point.attributes.items())), point.value)
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    ]
    assert len(dict(points)) == len(points)
    return dict(points)


def at(name: str, **attributes: str) -> tuple[str, frozenset[tuple[str, object]]]:
    return f"onnxpress.{name}", frozenset(attributes.items())


def test_the_values_are_those_of_the_service(reader: InMemoryMetricReader, meter: Meter) -> None:
    service = Service()
    ServiceInstruments(service.metrics, {"model": "reviews"}, meter)
    found = collect(reader)
    ended = {outcome: found[at("requests", model="reviews", outcome=outcome)] for outcome in service.metrics().requests}
    assert ended == {"answered": 2, "failed": 0, "refused": 4, "expired": 0, "cancelled": 0}
    assert found[at("waiting_requests", model="reviews")] == 7 and found[at("waiting_tokens", model="reviews")] == 90
    names = [f"{name}.{part}" for name in ("queue_depth", "batch_size", "request_seconds") for part in ("count", "sum")]
    assert [found[at(name, model="reviews")] for name in names] == [2, 3, 1, 2, 2, 0.75]
    buckets = {
        (name, bound): found[at(f"{name}.bucket", model="reviews", le=bound)]
        for name, bounds in {"queue_depth": "1 2 4", "batch_size": "1 2", "request_seconds": "0.2 0.5 +Inf"}.items()
        for bound in bounds.split()
    }
    assert list(buckets.values()) == [1, 1, 2, 0, 1, 0, 2, 2]


def test_the_answers_are_those_of_the_service(reader: InMemoryMetricReader, meter: Meter) -> None:
    ServiceInstruments(Service().metrics, {"model": "reviews"}, meter)
    found = collect(reader)
    own = {"model": "reviews"}
    assert [found[at("answers", label=label, **own)] for label in ("bad", "good")] == [1, 1]
    assert [found[at("stage_answers", stage=stage, **own)] for stage in ("int8", "fp32")] == [1, 1]
    assert [found[at("long_texts", read=how, **own)] for how in ("cut", "windows")] == [1, 0]
    assert [found[at("answer_margin.bucket", le=bound, **own)] for bound in ("0.2", "0.5", "2", "3")] == [0, 1, 1, 2]
    assert [found[at("answer_score.bucket", le=bound, **own)] for bound in ("0.6", "0.65", "0.95", "0.99")] == [
        0,
        1,
        1,
        2,
    ]
    assert found[at("answer_margin.sum", **own)] == 3.5


@pytest.mark.parametrize("name", ["outcome", "label", "stage", "read", "le"])
def test_a_name_that_the_metrics_use_is_refused(meter: Meter, name: str) -> None:
    for make in (ServiceCollector, lambda read, own: ServiceInstruments(read, own, meter)):
        with pytest.raises(onnxpress.ConfigError, match=f"the metrics use '{name}' themselves"):
            make(Service().metrics, {name: "reviews"})


def test_kinds_and_units(reader: InMemoryMetricReader, meter: Meter) -> None:
    ServiceInstruments(Service().metrics, meter=meter)
    data = reader.get_metrics_data()
    assert data is not None
    metrics = {metric.name: metric for metric in data.resource_metrics[0].scope_metrics[0].metrics}
    sums = {name for name, metric in metrics.items() if getattr(metric.data, "is_monotonic", False)}
    gauges = {"onnxpress.waiting_requests", "onnxpress.waiting_tokens", "onnxpress.stages_outside"}
    assert metrics.keys() - sums == gauges
    assert {name: metric.unit for name, metric in metrics.items() if metric.unit} == {
        "onnxpress.stages_outside": "{stage}",
        "onnxpress.requests": "{request}",
        "onnxpress.answers": "{answer}",
        "onnxpress.stage_answers": "{answer}",
        "onnxpress.long_texts": "{text}",
        "onnxpress.waiting_requests": "{request}",
        "onnxpress.waiting_tokens": "{token}",
        "onnxpress.queue_depth.sum": "{request}",
        "onnxpress.batch_size.sum": "{request}",
        "onnxpress.request_seconds.sum": "s",
        "onnxpress.answer_score.sum": "1",
        "onnxpress.answer_margin.sum": "1",
    }


def test_prometheus_reports_the_same(reader: InMemoryMetricReader, meter: Meter) -> None:
    service = Service()
    ServiceInstruments(service.metrics, {"model": "reviews"}, meter)
    registry = CollectorRegistry()
    registry.register(ServiceCollector(service.metrics, {"model": "reviews"}))
    samples = {
        (sample.name.removesuffix("_total"), frozenset(sample.labels.items())): sample.value
        for family in registry.collect()
        for sample in family.samples
    }
    assert {(name.replace(".", "_"), own): value for (name, own), value in collect(reader).items()} == samples


def test_a_service_is_read_once_a_collection(reader: InMemoryMetricReader, meter: Meter) -> None:
    service = Service()
    ServiceInstruments(service.metrics, meter=meter)
    for reads in (1, 2, 3):
        assert collect(reader)[at("requests", outcome="refused")] == 3 + reads and service.reads == reads
        service.recorder.ended("refused")


def test_services_share_a_meter_until_closed(reader: InMemoryMetricReader, meter: Meter) -> None:
    first, second = (ServiceInstruments(Service().metrics, {"model": name}, meter) for name in ("reviews", "intents"))
    with pytest.raises(onnxpress.ConfigError, match=r"the attributes \{'model': 'intents'\}; give each its own"):
        ServiceInstruments(Service().metrics, {"model": "intents"}, meter)
    assert {dict(own)["model"] for _, own in collect(reader)} == {"reviews", "intents"}
    first.close()
    assert {dict(own)["model"] for _, own in collect(reader)} == {"intents"}
    again = ServiceInstruments(Service().metrics, {"model": "reviews"}, meter)
    first.close()
    assert {dict(own)["model"] for _, own in collect(reader)} == {"reviews", "intents"}
    again.close()
    second.close()
    assert collect(reader) == {}


def test_what_is_closed_is_let_go(reader: InMemoryMetricReader, meter: Meter) -> None:
    service = Service()
    gone = weakref.ref(service)
    ServiceInstruments(service.metrics, meter=meter).close()
    collect(reader)
    del service
    gc.collect()
    assert gone() is None


def test_a_running_service(classifier: onnxpress.Classifier, reader: InMemoryMetricReader, meter: Meter) -> None:
    with ThreadedClassifier(classifier) as service:
        ServiceInstruments(service.metrics, meter=meter)
        for _ in range(3):
            service.classify("good film")
        found, metrics = collect(reader), service.metrics()
    assert found[at("requests", outcome="answered")] == found[at("batch_size.bucket", le="1")] == 3
    assert found[at("request_seconds.sum")] == metrics.seconds.total


def test_services_may_come_before_the_global_provider() -> None:
    script = """
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from onnxpress.answers.fidelity import Decision
from onnxpress.serving.answers import AnswerRecorder
from onnxpress.serving.metrics import Recorder
from onnxpress.serving.opentelemetry import ServiceInstruments
from onnxpress.tasks.text_classification import TextClassification

def metrics():
    task = TextClassification(Decision("softmax"), 2)
    return Recorder(AnswerRecorder((), (), task)).metrics(waiting=1, waiting_tokens=5)

ServiceInstruments(metrics, {"model": "reviews"})
ServiceInstruments(metrics, {"model": "intents"})
reader = InMemoryMetricReader()
set_meter_provider(MeterProvider([reader]))
ServiceInstruments(metrics, {"model": "moods"})
(resource,) = reader.get_metrics_data().resource_metrics
(scope,) = resource.scope_metrics
(waiting,) = [metric for metric in scope.metrics if metric.name == "onnxpress.waiting_tokens"]
print(scope.scope.name, *(f"{point.attributes['model']}={point.value}" for point in waiting.data.data_points))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["onnxpress", "reviews=5", "intents=5", "moods=5"], done.stderr


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    opentelemetry._global_meter.cache_clear()
    monkeypatch.setitem(sys.modules, "opentelemetry.metrics", None)
    with pytest.raises(onnxpress.MissingDependencyError, match=r"onnxpress\[metrics\]"):
        ServiceInstruments(Service().metrics)
