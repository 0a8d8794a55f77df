"""A server's answers beside an artifact's."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from onnxpress.endpoint.client import Found
from onnxpress.errors import CheckFailedError, ConfigError
from onnxpress.inputs.texts import Text

__all__ = ["Difference", "EndpointError", "EndpointReport", "compare_found"]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A text that the server answers otherwise.

    Attributes:
        index: Its place among those that were asked.
        text: The text, its beginning where it is long.
        what: "label" (another best one), "score" or "order" (the labels are not given best first).
        reference: The artifact's scores, best first.
        found: The server's, in its order.
        difference: The largest difference of a score.
    """

    index: int
    text: Text
    what: str
    reference: Found
    found: Found
    difference: float


class EndpointReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a server compares.

    Attributes:
        endpoint: Its URL.
        protocol: What it speaks: "tei" or "vllm".
        precision: The artifact's, that it was compared with.
        texts: Texts compared.
        cut: Texts among them that are longer than the model takes.
        differing: Those that are answered otherwise.
        largest_difference: Of a score.
        tolerance: What a score may differ by.
        examples: The first that differ.
    """

    endpoint: str
    protocol: str
    precision: str
    texts: int
    cut: int
    differing: int
    largest_difference: float
    tolerance: float
    examples: tuple[Difference, ...]


class EndpointError(CheckFailedError):
    """A server gives other answers than the artifact."""

    def __init__(self, endpoint: str, differing: int, texts: int, first: str) -> None:
        super().__init__(endpoint, differing, texts, first)
        self.endpoint, self.differing, self.texts, self.first = endpoint, differing, texts, first

    def __str__(self) -> str:
        return (
            f"{self.endpoint} answers {self.differing:,} of {self.texts:,} texts otherwise than the artifact, first "
            f"{self.first}. See the line above for more, and look at its weights, activation, precision and truncation."
        )


def compare_found(
    texts: Sequence[Text],
    scores: NDArray[np.float32],
    found: Sequence[Found],
    labels: Sequence[str],
    *,
    tolerance: float,
) -> list[Difference]:
    """The texts whose best label, scores or order of labels differ, in order.

    A best label may be another one where the artifact's own scores of both are within `tolerance`.

    Args:
        texts: What was asked.
        scores: The artifact's, float32 [texts, labels].
        found: The server's.
        labels: In the order of `scores`.
        tolerance: What a score may differ by.

    Raises:
        ConfigError: The server has other labels.
    """
    differences = []
    for index, (text, row, answer) in enumerate(zip(texts, scores, found, strict=True)):
        if set(answer) != set(labels):
            raise ConfigError(
                f"the server's labels are {', '.join(sorted(answer))[:200]}; the artifact's are "
                f"{', '.join(sorted(labels))[:200]}. It serves another model."
            )
        theirs = np.array([answer[label] for label in labels], dtype=np.float64)
        difference = float(np.abs(theirs - row).max()) if np.isfinite(theirs).all() else np.inf
        if what := _what(row, theirs, difference, list(answer.values()), tolerance):
            order = np.argsort(-row, kind="stable").tolist()
            differences.append(
                Difference(
                    index=index,
                    text=_short(text),
                    what=what,
                    reference={labels[place]: float(row[place]) for place in order},
                    found=answer,
                    difference=difference,
                )
            )
    return differences


def _what(
    row: NDArray[np.float32], theirs: NDArray[np.float64], difference: float, given: list[float], tolerance: float
) -> str | None:
    """In what it differs; None for nothing."""
    if row.max() - row[theirs.argmax()] > tolerance:
        return "label"
    if difference > tolerance:
        return "score"
    if any(later > earlier for earlier, later in pairwise(given)):
        return "order"
    return None


def _short(text: Text) -> Text:
    return text[:200] if isinstance(text, str) else (text[0][:200], text[1][:200])
