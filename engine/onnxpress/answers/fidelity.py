"""How often one precision answers otherwise than another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from onnxpress.answers.budget import chance_kept, chance_within, clopper_pearson_upper, texts_needed, wilson_interval
from onnxpress.answers.owners import Owners
from onnxpress.answers.predictions import activate, default_thresholds
from onnxpress.artifacts.manifest import Activation, ChangedText, Fidelity
from onnxpress.errors import CheckFailedError

if TYPE_CHECKING:
    from onnxpress.examples import Example

__all__ = [
    "Answers",
    "Decision",
    "FidelityError",
    "NotFiniteError",
    "certainty",
    "compare_answers",
    "require_budget",
    "right_labels",
    "told_of_tokens",
]

_MOVED: Final = 0.1
_ROUNDING: Final = 1e-6
"""An output that is the same for all texts has no spread: what fp32's own rounding moves it by is no change."""
_LIMITLESS: Final = float(np.finfo(np.float32).max)
_EXAMPLES: Final = 20
_EXAMPLE_CHARACTERS: Final = 200


class FidelityError(CheckFailedError):
    """A variant changes more answers than its budget allows."""

    def __init__(self, precision: str, changed: int, texts: int, budget: float, outcome: str = "") -> None:
        super().__init__(precision, changed, texts, budget, outcome)
        self.precision, self.changed, self.texts, self.budget = precision, changed, texts, budget
        self.outcome = outcome

    def __str__(self) -> str:
        return (
            f"{self.precision} changes {self.changed / self.texts:.2%} of the answers on {self.texts:,} texts "
            f"({self.changed}); the budget is {self.budget:.2%}. {self.outcome}Raise --max-disagreement, "
            f"give a larger --sample to choose by, or drop {self.precision}."
        )


class NotFiniteError(CheckFailedError):
    """A variant gives logits that are NaN or infinite."""

    def __init__(self, name: str, count: int, texts: int) -> None:
        super().__init__(name, count, texts)
        self.name, self.count, self.texts = name, count, texts

    def __str__(self) -> str:
        return (
            f"{self.name} gives logits that are NaN or infinite for {self.count:,} of {self.texts:,} texts. "
            "Drop it, and take fp32."
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """What makes an answer of logits.

    Attributes:
        activation: "softmax" answers with the best label, "sigmoid" with every label from its threshold on, "identity"
            with the value, which has changed when it moved by a tenth of its spread.
        thresholds: The score from which each label is accepted; None for one half, or, with softmax, for the best
            label alone. With softmax the labels accepted are part of the answer too.
        temperature: What logits are divided by before scores are made of them. It changes no answer and no margin, and
            thresholds are of the scores without it.
    """

    activation: Activation
    thresholds: tuple[float, ...] | None = None
    temperature: float = 1.0

    def scores(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """What users see of `logits`, float32 [texts, labels]; the best label is that without the temperature.

        Labels that are too near each other for a float32 to tell apart once they are divided are told apart by its last
        bit.
        """
        if self.temperature == 1 or self.activation == "identity":
            return activate(logits, self.activation)
        scores = activate(logits / np.float32(self.temperature), self.activation)
        best = activate(logits, self.activation).argmax(axis=-1)
        places = np.flatnonzero(scores.argmax(axis=-1) != best)
        scores[places, best[places]] = np.nextafter(scores[places].max(axis=-1), np.float32(np.inf))
        return scores

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

    def reached(self, logits: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which labels' scores, without the temperature, reach their threshold or one half, bool [texts, labels].

        As `accepted`, but by the float32 scores that users see, to the last bit of these.
        """
        thresholds = self.thresholds or default_thresholds(logits.shape[1])
        return np.asarray(activate(logits, self.activation) >= np.asarray(thresholds, dtype=np.float32))

    def log_odds(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Of each label being right, by the model's word, float64 [texts, labels]."""
        if self.activation != "softmax":
            return logits.astype(np.float64)
        below_best = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
        shares = np.exp(below_best)
        others = np.maximum(shares.sum(axis=1, keepdims=True) - shares, np.finfo(np.float64).tiny)
        odds: NDArray[np.float64] = below_best - np.log(others)
        return odds

    def margins(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """How far each text is from another answer, float64 [texts], by its own logits alone and in their unit.

        With one label a text: how far the best lies above the second. With many, or with thresholds: the log-odds of
        the label that is nearest to its limit; the smaller one where both decide. Logits that are not finite are sure
        of nothing: 0. A regression's value is never near another answer: infinite.
        """
        margins, finite = np.full(len(logits), np.inf), _finite(logits)
        if self.activation == "identity":
            return margins
        logits = np.where(finite[:, None], logits, np.float32(0))
        if self.activation == "softmax":
            margins = _above_others(logits, logits.argmax(axis=1))
        if (limits := self.limits(logits.shape[1])) is not None:
            margins = np.minimum(margins, np.abs(self.log_odds(logits) - limits).min(axis=1))
        return np.where(finite, margins, 0.0)


@dataclass(frozen=True, slots=True)
class Answers:
    """The reference's answers.

    Attributes:
        logits: float32 [vectors, labels].
        decision: What makes an answer of a vector.
        of: The texts that the vectors are of; None where each text has one.
    """

    logits: NDArray[np.float32]
    decision: Decision
    of: Owners | None = None

    @property
    def owners(self) -> Owners:
        """The texts that the vectors are of."""
        return Owners.alone(len(self.logits)) if self.of is None else self.of

    def changed(self, logits: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which texts `logits` answer otherwise, bool [texts]. Logits that are not finite answer nothing."""
        owners, finite = self.owners, _finite(logits) & _finite(self.logits)
        return owners.any_of((self.changed_vectors(logits) & owners.decides) | ~finite)

    def changed_vectors(self, logits: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which vectors of `logits` say otherwise, bool [vectors]; those that are not finite too."""
        kept = _finite(logits) & _finite(self.logits)
        found, wanted = (np.where(kept[:, None], values, np.float32(0)) for values in (logits, self.logits))
        if self.decision.activation == "identity":
            changed = (np.abs(found.astype(np.float64) - wanted) > _steps(wanted)).any(axis=1)
        else:
            changed = (self.decision.accepted(found) != self.decision.accepted(wanted)).any(axis=1)
            if self.decision.activation == "softmax":
                changed |= found.argmax(axis=1) != wanted.argmax(axis=1)
        return np.asarray(changed | ~kept)

    def margins(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """How far each text is from another answer, float64 [texts], by `logits`: see `Decision.margins`.

        The smallest of its vectors that decide; 0 where any of its vectors is not finite.
        """
        owners, margins = self.owners, self.decision.margins(logits)
        return owners.smallest(np.where(owners.decides | ~_finite(logits), margins, np.inf))

    def again(self, logits: NDArray[np.float32], sure: NDArray[np.bool_]) -> NDArray[np.float32]:
        """`logits` of texts that are `sure`, bool [texts], and the reference's of others: float32 [vectors, labels]."""
        return np.where(self.owners.spread(sure)[:, None], logits, self.logits)

    def noise(self, logits: NDArray[np.float32]) -> float:
        """Mean square of what `logits` change in the values that decide; very large where they are not finite."""
        if not _finite(logits).all():
            return _LIMITLESS
        return float(np.square(self.deciding(logits) - self.deciding(self.logits)).mean())

    def expected(self, logits: NDArray[np.float32], threshold: float = 0.0) -> float:
        """The share of answers that noise like that of `logits` changes on average, see `chance_kept`.

        A steadier figure than the few that changed. Of a regression, which has no margin, it is those that changed.
        """
        if self.decision.activation == "identity" or not _finite(logits).all():
            return float(self.changed(logits).mean())
        margins = self.deciding(self.logits)
        kept = chance_kept(margins, self.deciding(logits) - margins, threshold)
        return float(1 - self.owners.product(kept).mean())

    def deciding(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """How far `logits` lie on the reference's side of each decision, float64 [deciding vectors, decisions].

        Of the best label: how far the reference's best lies above every other label. Of a label with a threshold: how
        far its log-odds lie beyond it, on the side where the reference's are. Below 0 the decision is another one. A
        regression decides nothing: its values themselves.
        """
        decides = self.owners.decides
        logits, reference = logits[decides], self.logits[decides]
        if self.decision.activation == "identity":
            return logits.astype(np.float64)
        parts = []
        if self.decision.activation == "softmax":
            parts.append(_above_others(logits, reference.argmax(axis=1))[:, None])
        if (limits := self.decision.limits(logits.shape[1])) is not None:
            side = np.where(self.decision.accepted(reference), 1.0, -1.0)
            parts.append(np.clip(side * (self.decision.log_odds(logits) - limits), -_LIMITLESS, _LIMITLESS))
        return np.hstack(parts)


def _steps(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """What each output of a regression may move by, float64 [outputs]: a tenth of its own spread over the texts."""
    exact = values.astype(np.float64)
    steps: NDArray[np.float64] = np.maximum(_MOVED * exact.std(axis=0), _ROUNDING * np.abs(exact).max(axis=0))
    return steps


def _finite(logits: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Texts whose logits are all finite, bool [texts]."""
    return np.asarray(np.isfinite(logits).all(axis=1))


def _above_others(logits: NDArray[np.float32], best: NDArray[np.intp]) -> NDArray[np.float64]:
    """How far the label `best` of each text lies above the highest of all others, float64 [texts]."""
    values, rows = logits.astype(np.float64), np.arange(len(logits))
    if values.shape[1] == 1:
        return np.full(len(values), _LIMITLESS)  # one label alone is always the best
    own = values[rows, best]
    values[rows, best] = -np.inf
    return np.asarray(own - values.max(axis=1))


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
    name: str = "the variant",
    told: Callable[[NDArray[np.float32], int], str] | None = None,
) -> Fidelity:
    """How far `logits` keep the reference's `answers` to `examples`, which came from the file `sample`.

    Args:
        answers: The reference's.
        logits: float32 [vectors, labels].
        examples: The texts, with the right labels where known.
        labels: Names of the labels.
        sample: Name of the texts' file.
        budget: Share of answers that may change.
        speed: How many times as fast as the reference, for the record; None where it was not timed.
        torch: What torch answers to the first of the examples, where it was asked.
        name: What gave the logits, for the error.
        told: What logits, float32 [vectors, labels], answer to a text, by its number, in words; None for the labels
            that its one vector has.

    Raises:
        NotFiniteError: A logit is NaN or infinite: nothing else would be worth a figure.
    """
    if not (finite := _finite(logits)).all():
        broken = answers.owners.any_of(~finite)
        raise NotFiniteError(name, int(broken.sum()), len(broken))
    changed = answers.changed(logits)
    low, high = wilson_interval(int(changed.sum()), len(changed))
    difference = np.abs(logits - answers.logits)
    decision = answers.decision
    tell = told or (lambda values, index: _answer(values[index], labels, decision))
    quality, before = (_quality(values, examples, labels, decision) for values in (logits, answers.logits))
    return Fidelity(
        sample=sample,
        texts=len(changed),
        changed=int(changed.sum()),
        changed_low=low,
        changed_high=high,
        upper_95=clopper_pearson_upper(int(changed.sum()), len(changed)),
        budget=budget,
        accuracy=quality.accuracy,
        f1=quality.f1,
        error=quality.error,
        reference_accuracy=before.accuracy,
        reference_f1=before.f1,
        reference_error=before.error,
        torch_texts=0 if torch is None else torch.owners.texts,
        torch_changed=0 if torch is None else int(torch.changed(logits[: len(torch.logits)]).sum()),
        largest_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        speed=speed,
        examples=tuple(
            ChangedText(
                text=_shown(examples[int(index)]),
                reference=tell(answers.logits, int(index)),
                found=tell(logits, int(index)),
            )
            for index in np.flatnonzero(changed)[:_EXAMPLES]
        ),
    )


def require_budget(fidelity: Fidelity, precision: str, *, outcome: str = "") -> None:
    """Raise FidelityError, which says what the `outcome` was, when more answers changed than the budget allows."""
    if fidelity.changed > fidelity.budget * fidelity.texts:
        raise FidelityError(precision, fidelity.changed, fidelity.texts, fidelity.budget, outcome)


def certainty(fidelity: Fidelity) -> str:
    """What the count of changed answers proves of the budget, in words."""
    changed, texts, budget = fidelity.changed, fidelity.texts, fidelity.budget
    upper = clopper_pearson_upper(changed, texts)
    proven = f"at most {upper:.2%} with 95 % confidence"
    if upper <= budget:
        return proven
    passes = chance_within(min(2 * budget, 1.0), budget, texts)
    doubted = (
        f"{proven}, which does not prove the budget: what changes twice as much passes in {passes:.0%} of all cases"
    )
    needed = texts_needed(budget)
    return doubted if needed is None else f"{doubted}; {needed:,} unseen texts would do, none of them changed"


def right_labels(examples: Sequence[Example], labels: Sequence[str]) -> NDArray[np.bool_]:
    """Which of `labels` are right for each of `examples`, all of which have some, bool [texts, labels].

    Their labels are names, as `onnxpress.answers.sample_labels` gives them.
    """
    names = [example.label if isinstance(example.label, tuple) else (example.label,) for example in examples]
    return np.array([[label in right for label in labels] for right in names], dtype=np.bool_)


def told_of_tokens(fidelity: Fidelity) -> str:
    """What became of tokens and entities, in words behind others; empty where labels are of whole texts."""
    if (found := fidelity.tokens) is None:
        return ""
    share = "" if not found.entities else f" ({found.equal / found.entities:.2%})"
    return (
        f"; {found.changed:,} of {found.tokens:,} tokens changed; {found.equal:,} of {found.entities:,} entities "
        f"equal{share}, {found.found - found.equal:,} others found"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Quality:
    """How right answers are: the fields of `Fidelity` of the same names, None where they mean nothing."""

    accuracy: float | None = None
    f1: float | None = None
    error: float | None = None


def _quality(
    logits: NDArray[np.float32], examples: Sequence[Example], labels: Sequence[str], decision: Decision
) -> _Quality:
    """By the examples that have a label, as `onnxpress.answers.sample_labels` gives it."""
    known = np.array([example.label is not None for example in examples])
    if not known.any():
        return _Quality()
    labelled = [example for example in examples if example.label is not None]
    logits = logits[known]
    if decision.activation == "identity":
        right = np.array([example.label for example in labelled], dtype=np.float64)
        return _Quality(error=float(np.abs(logits - right).mean()))
    wanted = right_labels(labelled, labels)
    if decision.activation == "sigmoid":
        found = decision.accepted(logits)
    else:
        found = np.arange(len(labels)) == logits.argmax(axis=1)[:, None]
    hits, occurring = (found & wanted).sum(axis=0), found.sum(axis=0) + wanted.sum(axis=0)
    scores = 2 * hits[occurring > 0] / occurring[occurring > 0]
    return _Quality(
        accuracy=float((found == wanted).all(axis=1).mean()), f1=float(scores.mean()) if len(scores) else None
    )


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
