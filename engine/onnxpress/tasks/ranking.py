"""Which documents fit a query: a model with one score for a pair of texts tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxpress.answers.predictions import require_top_k
from onnxpress.errors import ConfigError, TextTypeError
from onnxpress.inputs.texts import as_list, describe

__all__ = ["Ranked", "query_pairs", "ranked", "require_one_score"]


@dataclass(frozen=True, slots=True)
class Ranked:
    """A document, and how well it fits.

    Attributes:
        index: Its place among the documents, from 0.
        score: As the classifier scores the pair: the activation that the artifact was exported with.
        text: The document.
    """

    index: int
    score: float
    text: str


def require_one_score(labels: Sequence[str]) -> None:
    """Raise ConfigError where the model has several labels, so that no one score says how well a document fits."""
    if len(labels) != 1:
        shown = ", ".join(label[:40] for label in labels[:5])
        raise ConfigError(
            f"this model has {len(labels)} labels ({shown}{', …' if len(labels) > 5 else ''}), and a ranking needs one "
            "score. Classify the pairs themselves: [(query, document), …]."
        )


def query_pairs(query: str, documents: Sequence[str]) -> list[tuple[str, str]]:
    """The query beside each document.

    Raises:
        ConfigError: The query is no str.
        TextTypeError: A document is no str, by its place; or they are no sequence.
    """
    if not isinstance(query, str):
        raise ConfigError(f"query must be a str, got {describe(query)}")
    found = as_list(documents)
    for index, document in enumerate(found):
        if not isinstance(document, str):
            raise TextTypeError(index, describe(document))
    return [(query, document) for document in documents]


def ranked(documents: Sequence[str], scores: NDArray[np.float32], top_k: int | None) -> list[Ranked]:
    """The `top_k` best documents, best first, or all; of equal ones the earlier first.

    Args:
        documents: The documents.
        scores: Theirs, float32 [documents, 1].
        top_k: How many; None for all.

    Raises:
        ConfigError: `top_k` is no whole number, or below 1.
    """
    require_top_k(top_k)
    best = np.argsort(-scores[:, 0], kind="stable")[:top_k].tolist()
    return [Ranked(index, float(scores[index, 0]), documents[index]) for index in best]
