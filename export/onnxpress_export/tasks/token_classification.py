"""Labels of each token of a text: named entities, personal data, parts of speech."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from transformers import AutoModelForTokenClassification

from onnxpress.errors import ConfigError
from onnxpress.examples import Example
from onnxpress.generic import generic_examples
from onnxpress.inputs.vectors import bounds_of
from onnxpress.tasks.comparison import COMPARISONS
from onnxpress_export.passes import EVERY_TOKEN
from onnxpress_export.tasks.task import ExportTask, Meaning

__all__ = ["TOKEN_CLASSIFICATION"]

_ONE_LABEL: Final = "single_label_classification"
_SCORES: Final = "softmax"


def _head_shape(rows: int, tokens: int, labels: int) -> tuple[int, ...]:
    return rows, tokens, labels


def _vectors(logits: NDArray[np.float32], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    """Of the tokens that are no padding: what a model says of padding is nobody's answer.

    Logits of another shape are not of these tokens: they stay as they are, and equal none.
    """
    return logits[mask.astype(np.bool_)] if logits.shape[:-1] == mask.shape else logits


def _meaning(source: str, config: Any, labels: int, problem_type: str | None, activation: str | None) -> Meaning:
    """As transformers' pipeline reads it: whatever config.json states, each token has one label, by a softmax."""
    for name, asked, only in (("problem_type", problem_type, _ONE_LABEL), ("activation", activation, _SCORES)):
        if asked not in (None, only):
            raise ConfigError(f"{name} must be {only} for token classification, got {asked!r}. Leave it out.")
    return Meaning(problem_type=_ONE_LABEL, activation=_SCORES)


def _generic_examples() -> list[Example]:
    """The single texts: no token of a pair is ever labelled."""
    return [example for example in generic_examples() if isinstance(example.text, str)]


TOKEN_CLASSIFICATION: Final = ExportTask(
    name="token-classification",
    kind="token classifier",
    ending="ForTokenClassification",
    adapter="TOKEN_CLS",
    model_class=AutoModelForTokenClassification,
    passes=EVERY_TOKEN,
    head_shape=_head_shape,
    vectors=_vectors,
    bounds=bounds_of,
    comparison=COMPARISONS["token-classification"],
    meaning=_meaning,
    generic_examples=_generic_examples,
    refused=MappingProxyType(
        {
            "thresholds": "thresholds are for labels of a whole text, and a token has its best label. Leave them out.",
            "first_stage": "a first stage answers labels of a whole text, and this model labels tokens. Leave it out.",
            "calibrate": "scores of tokens are not calibrated: a sample has labels of whole texts. Leave it out.",
        }
    ),
)
