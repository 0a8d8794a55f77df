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
from onnxpress.predictions import default_thresholds

__all__ = [
    "Answers",
    "Decision",
    "FidelityError",
    "chance_within",
    "compare_answers",
    "require_budget",
    "wilson_interval",
]

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
class Decision:
    """What makes an answer of logits.

    Attributes:
        activation: "softmax" answers with the best label, "sigmoid" with every label from its threshold on, "identity"
            with the value, which has changed when it moved by a tenth of its spread.
        thresholds: The score from which each label is accepted; None for one half, or, with softmax, for the best
            label alone. With softmax the labels accepted are part of the answer too.
    """

    activation: Activation
    thresholds: tuple[float, ...] | None = None

    def limits(self, labels: int) -> NDArray[np.float64] | None:
        """The log-odds from which each label is accepted, float64 [labels]; None where none is."""
        if self.activation == "identity" or (self.activation == "softmax" and self.thresholds is None):
            return None
        thresholds = np.array(self.thresholds or default_thresholds(labels))
        with np.errstate(divide="ignore"):  # thresholds of 0 and 1: always and next to never
            limits: NDArray[np.float64] = np.log(thresholds) - np.log1p(-thresholds)
        return limits

    def accepted(self, logits: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which labels are accepted, bool [texts, labels]; none where labels have no limit."""
        limits = self.limits(logits.shape[1])
        result: NDArray[np.bool_] = (
            np.zeros(logits.shape, dtype=np.bool_) if limits is None else self.log_odds(logits) >= limits
        )
        return result

    def log_odds(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Of each label being right, by the model's word, float64 [texts, labels]."""
        if self.activation != "softmax":
            return logits.astype(np.float64)
        below_best = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
        shares = np.exp(below_best)
        others = np.maximum(shares.sum(axis=1, keepdims=True) - shares, np.finfo(np.float64).tiny)
        odds: NDArray[np.float64] = below_best - np.log(others)
        return odds


@dataclass(frozen=True, slots=True)
class Answers:
    """The reference's logits, float32 [texts, labels], and what makes an answer of them."""

    logits: NDArray[np.float32]
    decision: Decision

    def changed(self, logits: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which texts `logits` answer otherwise, bool [texts]."""
        if self.decision.activation == "identity":
            return np.asarray((np.abs(logits - self.logits) > _MOVED * self.logits.std()).any(axis=1))
        accepted = (self.decision.accepted(logits) != self.decision.accepted(self.logits)).any(axis=1)
        if self.decision.activation == "softmax":
            accepted |= logits.argmax(axis=1) != self.logits.argmax(axis=1)
        return np.asarray(accepted)

    def noise(self, logits: NDArray[np.float32]) -> float:
        """Mean square of what `logits` change in the values that decide, see `expected`."""
        return float(np.square(self._deciding(logits)[0] - self._deciding(self.logits)[0]).mean())

    def expected(self, logits: NDArray[np.float32]) -> float:
        """The share of answers that noise as strong as that of `logits` changes on average.

        What decides is the distance of a text's best label from the second, and of a label from its limit. The noise
        is taken as normal and the same for every text: a steadier figure than counting the few that changed.
        """
        deviation = math.sqrt(self.noise(logits))
        if deviation == 0:
            return 0.0
        if self.decision.activation == "identity":
            return math.erfc(_MOVED * float(self.logits.std()) / deviation / math.sqrt(2))
        values, limits = self._deciding(self.logits)
        distances = np.abs(values - limits) / deviation / math.sqrt(2)
        flips = np.array([math.erfc(distance) / 2 for distance in distances.ravel()]).reshape(distances.shape)
        return float(1 - np.prod(1 - flips, axis=1).mean())

    def _deciding(self, logits: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The values that decide, float64 [texts, decisions], and the limit of each, float64 [decisions]."""
        limits = self.decision.limits(logits.shape[1])
        values = self.decision.log_odds(logits) if limits is not None else logits.astype(np.float64)
        if self.decision.activation != "softmax":
            return values, np.zeros(logits.shape[1]) if limits is None else limits
        margins = self._margins(logits)
        if limits is None:
            return margins, np.zeros(1)
        return np.hstack([margins, values]), np.concatenate([np.zeros(1), limits])

    def _margins(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """How far the reference's best label lies above its second, float64 [texts, 1]."""
        if logits.shape[1] == 1:
            return np.ones(logits.shape)  # one label alone is always the best
        rows = np.arange(len(logits))
        second, best = np.argsort(self.logits, axis=1)[:, -2:].T
        margins: NDArray[np.float64] = (logits[rows, best].astype(np.float64) - logits[rows, second])[:, None]
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
    decision = answers.decision
    accuracy, f1 = _quality(logits, examples, labels, decision.activation)
    reference_accuracy, reference_f1 = _quality(answers.logits, examples, labels, decision.activation)
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
                reference=_answer(answers.logits[index], labels, decision),
                found=_answer(logits[index], labels, decision),
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


def _answer(logits: NDArray[np.float32], labels: Sequence[str], decision: Decision) -> str:
    if decision.activation == "identity":
        return ", ".join(f"{value:.4g}" for value in logits)
    accepted = [labels[int(index)] for index in np.flatnonzero(decision.accepted(logits[None])[0])]
    if decision.activation == "sigmoid":
        return ", ".join(accepted) or "none"
    best = labels[int(logits.argmax())]
    return best if decision.thresholds is None else f"{best}; accepted: {', '.join(accepted) or 'none'}"


def _shown(example: Example) -> str:
    text = example.text if isinstance(example.text, str) else " | ".join(example.text)
    return text if len(text) <= _EXAMPLE_CHARACTERS else text[: _EXAMPLE_CHARACTERS - 1] + "…"
