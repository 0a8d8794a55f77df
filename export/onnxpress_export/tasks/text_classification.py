"""Labels of a text, or of a sentence pair."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification

from onnxpress.examples import Example
from onnxpress.manifest import Activation
from onnxpress.sample_labels import with_right_labels
from onnxpress_export.meaning import activation as read_activation
from onnxpress_export.meaning import problem_type as read_problem_type
from onnxpress_export.passes import COMMON
from onnxpress_export.tasks.task import ExportTask, Meaning

__all__ = ["TEXT_CLASSIFICATION"]


def _head_shape(rows: int, _tokens: int, labels: int) -> tuple[int, ...]:
    return rows, labels


def _answers(logits: NDArray[np.float32], _mask: NDArray[np.int64]) -> NDArray[np.float32]:
    return logits


def _answers_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.ones_like(lengths)


def _meaning(source: str, config: Any, labels: int, problem_type: str | None, activation: str | None) -> Meaning:
    problem = read_problem_type(source, config, labels, problem_type)
    scores = read_activation(source, config, problem, activation, problem_asked=problem_type is not None)
    return Meaning(problem_type=problem, activation=scores)


def _examples(
    examples: Sequence[Example], labels: Sequence[str], activation: Activation, path: Path | None
) -> list[Example]:
    return list(examples) if path is None else with_right_labels(examples, labels, activation, path)


TEXT_CLASSIFICATION: Final = ExportTask(
    name="text-classification",
    kind="sequence classifier",
    ending="ForSequenceClassification",
    adapter="SEQ_CLS",
    model_class=AutoModelForSequenceClassification,
    passes=COMMON,
    head_shape=_head_shape,
    answers=_answers,
    answers_of=_answers_of,
    meaning=_meaning,
    examples=_examples,
)
