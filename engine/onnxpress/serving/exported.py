"""What exporters call a service's metrics: one list, so that all of them report the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from onnxpress.errors import ConfigError
from onnxpress.serving.histogram import Histogram
from onnxpress.serving.metrics import ServiceMetrics

__all__ = ["COUNTERS", "GAUGES", "HISTOGRAMS", "Counted", "Exported", "require_unreserved"]

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Exported(Generic[Value]):
    """One metric.

    Attributes:
        name: Without the prefix "onnxpress".
        words: What it counts.
        unit: Of its values, as UCUM writes it.
        read: Takes its value from a service's metrics.
    """

    name: str
    words: str
    unit: str
    read: Callable[[ServiceMetrics], Value]


@dataclass(frozen=True, slots=True)
class Counted(Exported[Mapping[Any, int]]):
    """Counters of one name.

    Attributes:
        by: The label, or attribute, that tells them apart.
    """

    by: str


COUNTERS: Final[tuple[Counted, ...]] = (
    Counted("requests", "Requests by how they ended.", "{request}", lambda found: found.requests, "outcome"),
    Counted("answers", "Answers by their best label.", "{answer}", lambda found: found.answers.labels, "label"),
    Counted(
        "stage_answers", "Answers by the stage that gave them.", "{answer}", lambda found: found.answers.stages, "stage"
    ),
    Counted(
        "long_texts",
        "Texts that the model read a part of (cut), or in several pieces (windows).",
        "{text}",
        lambda found: {"cut": found.answers.cut, "windows": found.answers.in_windows},
        "read",
    ),
)

GAUGES: Final[tuple[Exported[int], ...]] = (
    Exported("waiting_requests", "Requests that wait.", "{request}", lambda found: found.waiting),
    Exported(
        "stages_outside",
        "Stages that answered another share of the latest texts than was certified.",
        "{stage}",
        lambda found: found.answers.stages_outside,
    ),
    Exported("waiting_tokens", "Tokens of the requests that wait.", "{token}", lambda found: found.waiting_tokens),
)

HISTOGRAMS: Final[tuple[Exported[Histogram], ...]] = (
    Exported("queue_depth", "Requests that waited as another came.", "{request}", lambda found: found.depth),
    Exported("batch_size", "Requests of a run.", "{request}", lambda found: found.batch_size),
    Exported("request_seconds", "From a request's coming to its answer.", "s", lambda found: found.seconds),
    Exported("answer_score", "Score of an answer's best label.", "1", lambda found: found.answers.scores),
    Exported(
        "answer_margin", "How far an answer is from another one, in logits.", "1", lambda found: found.answers.margins
    ),
)

_RESERVED: Final = frozenset({"le", *(counter.by for counter in COUNTERS)})


def require_unreserved(labels: Mapping[str, str]) -> None:
    """Raise ConfigError when one of the `labels` that tell services apart has a name that the metrics use."""
    if taken := sorted(_RESERVED & labels.keys()):
        raise ConfigError(f"the metrics use {taken[0]!r} themselves; tell services apart by another name")
