"""Labels of a text, or of a sentence pair."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification

from onnxpress.generic import generic_examples
from onnxpress.inputs.vectors import Bounds
from onnxpress.tasks.comparison import COMPARISONS
from onnxpress_export.meaning import activation as read_activation
from onnxpress_export.meaning import problem_type as read_problem_type
from onnxpress_export.passes import COMMON
from onnxpress_export.tasks.task import ExportTask, Meaning

__all__ = ["TEXT_CLASSIFICATION"]


def _head_shape(rows: int, _tokens: int, labels: int) -> tuple[int, ...]:
    return rows, labels


def _vectors(logits: NDArray[np.float32], _mask: NDArray[np.int64]) -> NDArray[np.float32]:
    return logits


def _bounds(lengths: NDArray[np.int64]) -> Bounds:
    return np.arange(len(lengths) + 1)


def _meaning(source: str, config: Any, labels: int, problem_type: str | None, activation: str | None) -> Meaning:
    problem = read_problem_type(source, config, labels, problem_type)
    scores = read_activation(source, config, problem, activation, problem_asked=problem_type is not None)
    return Meaning(problem_type=problem, activation=scores)


TEXT_CLASSIFICATION: Final = ExportTask(
    name="text-classification",
    kind="sequence classifier",
    ending="ForSequenceClassification",
    adapter="SEQ_CLS",
    model_class=AutoModelForSequenceClassification,
    passes=COMMON,
    head_shape=_head_shape,
    vectors=_vectors,
    bounds=_bounds,
    comparison=COMPARISONS["text-classification"],
    meaning=_meaning,
    generic_examples=generic_examples,
)
