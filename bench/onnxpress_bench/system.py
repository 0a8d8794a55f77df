"""The systems under test: how each is made, and the three questions that it answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = ["Answers", "System", "SystemSpec", "build", "engine_systems", "pipeline_systems"]


class SystemSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to run.

    Attributes:
        name: As tables show it.
        kind: Which implementation.
        model: The artifact's or the checkpoint's directory, or the checkpoint's Hub id.
        optimize_for: The engine's setting; the pipeline has none.
        batch_size: The pipeline's setting; the engine plans its own batches.
        precision: The engine's variant; the pipeline's is fp32.
        may_change: Share of labels that may differ from the checkpoint's.
    """

    name: str
    kind: Literal["engine", "pipeline"]
    model: str
    optimize_for: Literal["latency", "throughput"] | None = None
    batch_size: int | None = None
    precision: str = "fp32"
    may_change: float = 0.0


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """A system's answers to all texts: labels, and logits [texts, labels]."""

    labels: list[str]
    logits: list[list[float]]


class System(Protocol):
    """A classifier being measured."""

    def classify(self, text: str) -> str:
        """The label of one text: what a single request is."""
        ...

    def classify_all(self, texts: Sequence[str]) -> list[str]:
        """The labels of all texts, as fast as the system can."""
        ...

    def answers(self, texts: Sequence[str]) -> Answers:
        """Labels and logits, for comparison; not timed."""
        ...


_OPTIMIZE_FOR: Final[tuple[Literal["latency", "throughput"], ...]] = ("latency", "throughput")
_PIPELINE_BATCHES: Final = (1, 32)


def engine_systems(artifact: str, precision: str = "fp32", may_change: float = 0.0) -> list[SystemSpec]:
    """The engine on `artifact` in `precision`, in both of its settings."""
    suffix = "" if precision == "fp32" else f", {precision}"
    return [
        SystemSpec(
            name=f"onnxpress, {goal}{suffix}",
            kind="engine",
            model=artifact,
            optimize_for=goal,
            precision=precision,
            may_change=may_change,
        )
        for goal in _OPTIMIZE_FOR
    ]


def pipeline_systems(checkpoint: str) -> list[SystemSpec]:
    """Transformers' pipeline on `checkpoint`, text by text and in batches."""
    return [
        SystemSpec(name=f"transformers pipeline, batch {size}", kind="pipeline", model=checkpoint, batch_size=size)
        for size in _PIPELINE_BATCHES
    ]


def build(spec: SystemSpec) -> System:
    """Load the system that `spec` describes; imports nothing that it does not need."""
    return _Engine(spec) if spec.kind == "engine" else _Pipeline(spec)


class _Engine:
    def __init__(self, spec: SystemSpec) -> None:
        import onnxpress

        assert spec.optimize_for is not None
        self._classifier = onnxpress.load(
            spec.model, optimize_for=spec.optimize_for, precision=spec.precision, device="cpu"
        )

    def classify(self, text: str) -> str:
        return self._classifier(text).label

    def classify_all(self, texts: Sequence[str]) -> list[str]:
        return [prediction.label for prediction in self._classifier(texts)]

    def answers(self, texts: Sequence[str]) -> Answers:
        return Answers(labels=self.classify_all(texts), logits=self._classifier.logits(texts).tolist())


class _Pipeline:
    def __init__(self, spec: SystemSpec) -> None:
        import torch
        from transformers import pipeline
        from transformers.utils import logging

        logging.disable_progress_bar()
        self._pipeline: Any = pipeline("text-classification", model=spec.model, dtype=torch.float32, device="cpu")
        self._batch_size = spec.batch_size
        self._options = {"truncation": True, "batch_size": spec.batch_size}

    def classify(self, text: str) -> str:
        label: str = self._pipeline(text, truncation=True)[0]["label"]
        return label

    def classify_all(self, texts: Sequence[str]) -> list[str]:
        return [answer["label"] for answer in self._pipeline(list(texts), **self._options)]

    def answers(self, texts: Sequence[str]) -> Answers:
        ids: dict[str, int] = self._pipeline.model.config.label2id
        raw = self._pipeline(list(texts), top_k=None, function_to_apply="none", **self._options)
        logits: NDArray[np.float64] = np.empty((len(texts), len(ids)))
        for row, scores in zip(logits, raw, strict=True):
            for score in scores:
                row[ids[score["label"]]] = score["score"]
        return Answers(labels=self.classify_all(texts), logits=logits.tolist())
