"""Whether two systems give the same answers: by the labels accepted, or by how far a value has moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from onnxpress.answers.fidelity import Answers, Decision

__all__ = ["Compared", "align", "changed_answers", "compared_by", "fits"]

Compared = Literal["labels", "values"]

# Sums of fp32 in another order move a value by about 1e-5 of the largest. A hundred times that is another model.
_EXACT: Final = 1e-3


def compared_by(decision: Decision, outputs: int) -> Compared:
    """What an answer of `outputs` logits is: labels, or values, as of a regression or of a lone softmax output."""
    only_value = decision.activation == "softmax" and outputs == 1
    return "values" if decision.activation == "identity" or only_value else "labels"


def fits(labels: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether `align` can put a system's `labels` into the order of `wanted`."""
    return len(labels) == len(wanted)


def align(logits: NDArray[np.float32], labels: Sequence[str], wanted: Sequence[str]) -> NDArray[np.float32]:
    """`logits` [texts, labels] with the columns of `labels` in the order of `wanted`.

    By name; by place where the names are others, as of an artifact whose labels were named at its export.
    """
    if sorted(labels) != sorted(wanted) or len(set(labels)) < len(labels):
        return logits
    return logits[:, [labels.index(label) for label in wanted]]


def changed_answers(
    reference: NDArray[np.float32], logits: NDArray[np.float32], decision: Decision, *, precision: str
) -> NDArray[np.bool_]:
    """Which texts `logits` answer otherwise than `reference`, both [texts, labels]; bool [texts].

    Labels by `decision`. Values of int8 and fp16 may move by a tenth of their spread, as in their exports; those of
    other precisions by 1e-3 of the largest, or of 1. What is not finite is changed.
    """
    changed = Answers(reference, decision).changed(logits)
    if compared_by(decision, reference.shape[1]) == "values" and precision not in ("int8", "fp16"):
        limit = _EXACT * max(1.0, float(np.abs(reference).max(initial=0.0)))
        changed = np.logical_or(changed, (np.abs(logits - reference) > limit).any(axis=1))
    elif decision.activation == "softmax" and reference.shape[1] == 1:
        changed = np.logical_or(changed, Answers(reference, Decision("identity")).changed(logits))
    return np.logical_or(changed, ~np.isfinite(logits).all(axis=1))
