"""How often one precision answers otherwise than another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from onnxpress.errors import CheckFailedError
from onnxpress.examples import Example
from onnxpress.manifest import Activation, ChangedText, Fidelity

__all__ = ["Answers", "FidelityError", "chance_within", "compare_answers", "require_budget", "wilson_interval"]

_MOVED: Final = 0.1
_NORMAL_95: Final = 1.959964
_EXAMPLES: Final = 20
_EXAMPLE_CHARACTERS: Final = 200


class FidelityError(CheckFailedError):
    """A variant changes more answers than its budget allows."""

    def __init__(self, precision: str, changed: int, texts: int, budget: float) -> None:
        super().__init__(precision, changed, texts, budget)
        self.precision, self.changed, self.texts, self.budget = precision, changed, texts, budget

    def __str__(self) -> str:
        return (
            f"{self.precision} changes {self.changed / self.texts:.2%} of the answers on {self.texts:,} texts "
            f"({self.changed}); the budget is {self.budget:.2%}. Raise --max-disagreement, "
            f"give a larger --sample to choose by, or drop {self.precision}."
        )


@dataclass(frozen=True, slots=True)
class Answers:
    """The reference's logits, and what an answer is.

    Attributes:
        logits: float32 [texts, labels].
        activation: What makes scores of them: "softmax" answers with the best label, "sigmoid" with every label from
            one half on, "identity" with the value, which has changed when it moved by a tenth of its spread.
    """

    logits: NDArray[np.float32]
    activation: Activation

    def changed(self, logits: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which texts `logits` answer otherwise, bool [texts]."""
        result: NDArray[np.bool_]
        if self.activation == "softmax":
            result = logits.argmax(axis=1) != self.logits.argmax(axis=1)
        elif self.activation == "sigmoid":
            result = ((logits > 0) != (self.logits > 0)).any(axis=1)
        else:
            result = (np.abs(logits - self.logits) > _MOVED * self.logits.std()).any(axis=1)
        return result

    def noise(self, logits: NDArray[np.float32]) -> float:
        """Mean square of what `logits` change in the margins that decide, see `expected`."""
        return float(np.square(self._margins(logits) - self._margins(self.logits)).mean())

    def expected(self, logits: NDArray[np.float32]) -> float:
        """The share of answers that noise as strong as that of `logits` changes on average.

        A margin is the distance of a text's best label from the second, or of a label from its limit. The noise is
        taken as normal and the same for every text: a steadier figure than counting the few that changed.
        """
        deviation = math.sqrt(self.noise(logits))
        if deviation == 0:
            return 0.0
        if self.activation == "identity":
            return math.erfc(_MOVED * float(self.logits.std()) / deviation / math.sqrt(2))
        distances = np.abs(self._margins(self.logits)) / deviation / math.sqrt(2)
        flips = np.array([math.erfc(distance) / 2 for distance in distances.ravel()]).reshape(distances.shape)
        return float(1 - np.prod(1 - flips, axis=1).mean())

    def _margins(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [texts, decisions]."""
        if self.activation != "softmax":
            return logits
        if logits.shape[1] == 1:
            return np.ones_like(logits)  # one label alone is always the best
        rows = np.arange(len(logits))
        second, best = np.argsort(self.logits, axis=1)[:, -2:].T
        margins: NDArray[np.float32] = (logits[rows, best] - logits[rows, second])[:, None]
        return margins


def compare_answers(
    answers: Answers,
    logits: NDArray[np.float32],
    examples: Sequence[Example],
    labels: Sequence[str],
    *,
    sample: str,
    budget: float,
    speed: float | None,
    torch: Answers | None = None,
) -> Fidelity:
    """How far `logits` keep the reference's `answers` to `examples`, which came from the file `sample`.

    Args:
        answers: The reference's.
        logits: float32 [texts, labels].
        examples: The texts, with the right labels where known.
        labels: Names of the labels.
        sample: Name of the texts' file.
        budget: Share of answers that may change.
        speed: How many times as fast as the reference, for the record; None where it was not timed.
        torch: What torch answers to the first of the examples, where it was asked.
    """
    changed = answers.changed(logits)
    low, high = wilson_interval(int(changed.sum()), len(changed))
    difference = np.abs(logits - answers.logits)
    activation = answers.activation
    accuracy, f1 = _quality(logits, examples, labels, activation)
    reference_accuracy, reference_f1 = _quality(answers.logits, examples, labels, activation)
    return Fidelity(
        sample=sample,
        texts=len(changed),
        changed=int(changed.sum()),
        changed_low=low,
        changed_high=high,
        budget=budget,
        accuracy=accuracy,
        f1=f1,
        reference_accuracy=reference_accuracy,
        reference_f1=reference_f1,
        torch_texts=0 if torch is None else len(torch.logits),
        torch_changed=0 if torch is None else int(torch.changed(logits[: len(torch.logits)]).sum()),
        largest_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        speed=speed,
        examples=tuple(
            ChangedText(
                text=_shown(examples[int(index)]),
                reference=_answer(answers.logits[index], labels, activation),
                found=_answer(logits[index], labels, activation),
            )
            for index in np.flatnonzero(changed)[:_EXAMPLES]
        ),
    )


def require_budget(fidelity: Fidelity, precision: str) -> None:
    """Raise FidelityError when more answers changed than the budget allows."""
    if fidelity.changed > fidelity.budget * fidelity.texts:
        raise FidelityError(precision, fidelity.changed, fidelity.texts, fidelity.budget)


def chance_within(share: float, budget: float, texts: int) -> float:
    """The probability that at most a `budget` of `texts` change when each does with probability `share` (Poisson)."""
    mean, most = share * texts, math.floor(budget * texts + 1e-9)
    if mean == 0:
        return 1.0
    return math.fsum(math.exp(count * math.log(mean) - mean - math.lgamma(count + 1)) for count in range(most + 1))


def wilson_interval(count: int, total: int) -> tuple[float, float]:
    """The 95 % interval of the share that `count` of `total` estimates (Wilson 1927)."""
    share, square = count / total, _NORMAL_95**2
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = _NORMAL_95 / (1 + square / total) * math.sqrt(share * (1 - share) / total + square / (4 * total**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def _quality(
    logits: NDArray[np.float32], examples: Sequence[Example], labels: Sequence[str], activation: Activation
) -> tuple[float | None, float | None]:
    """Accuracy and macro F1 on the examples that have a label; None without any, or where it means nothing."""
    index = {label: number for number, label in enumerate(labels)}
    wanted = np.array([-1 if example.label is None else index[example.label] for example in examples])
    known = wanted >= 0
    if activation != "softmax" or not known.any():
        return None, None
    found, wanted = logits.argmax(axis=1)[known], wanted[known]
    right = np.bincount(wanted[found == wanted], minlength=len(labels))
    occurring = np.bincount(wanted, minlength=len(labels)) + np.bincount(found, minlength=len(labels))
    return float((found == wanted).mean()), float((2 * right / np.maximum(occurring, 1))[occurring > 0].mean())


def _answer(logits: NDArray[np.float32], labels: Sequence[str], activation: Activation) -> str:
    if activation == "identity":
        return ", ".join(f"{value:.4g}" for value in logits)
    if activation == "sigmoid":
        return ", ".join(labels[int(index)] for index in np.flatnonzero(logits > 0)) or "none"
    return labels[int(logits.argmax())]


def _shown(example: Example) -> str:
    text = example.text if isinstance(example.text, str) else " | ".join(example.text)
    return text if len(text) <= _EXAMPLE_CHARACTERS else text[: _EXAMPLE_CHARACTERS - 1] + "…"
