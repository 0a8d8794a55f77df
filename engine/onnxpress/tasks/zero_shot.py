"""Labels that are chosen with the question: a classifier of natural language inference tells which of them follow.

A label becomes a sentence, the hypothesis ("This example is billing."), and each text is paired with each of them. How
strongly the text entails the hypothesis is the label's score: compared with the other labels' where one of them is
right, with its own contradiction where each may be. Both are transformers' zero-shot pipeline's own formulas.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from string import Formatter
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from onnxpress.answers.predictions import activate
from onnxpress.errors import ConfigError, TextError, TextTypeError
from onnxpress.inputs.texts import LoneText, Text, as_several, describe

if TYPE_CHECKING:
    from onnxpress.classifier import Classifier
    from onnxpress.inputs.encoder import Encoder

__all__ = [
    "TEMPLATE",
    "Hypotheses",
    "ZeroShot",
    "answers",
    "ask",
    "pairs",
    "premises",
    "read_hypotheses",
    "require_room",
    "split_labels",
    "text_of",
]

TEMPLATE: Final = "This example is {}."
"""What makes a hypothesis of a label, where nothing else is said."""

_FIELDS: Final = ("", "0")


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroShot:
    """A text's labels, best first.

    Attributes:
        text: The text.
        labels: The labels that were asked for, by falling score; of equal ones the later first.
        scores: Their scores: they sum to 1, but where several labels may be right.
    """

    text: str
    labels: list[str]
    scores: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypotheses:
    """What every text is asked.

    Attributes:
        labels: The labels, all different.
        sentences: The hypothesis of each.
        entailment: The model's label that says a hypothesis follows, by its place.
        contradiction: The one that it is compared with, where labels are independent.
        independent: Whether several labels of a text may be right.
    """

    labels: tuple[str, ...]
    sentences: tuple[str, ...]
    entailment: int
    contradiction: int
    independent: bool


def read_hypotheses(
    model_labels: Sequence[str], labels: str | Iterable[str], template: str, *, multi_label: bool
) -> Hypotheses:
    """What to ask a model that has `model_labels`.

    The model's label of entailment is the first whose name begins with "entail". It is compared with the model's first
    label, or with the last where it is the first itself: that is contradiction, or whatever is no entailment.

    Args:
        model_labels: Names in the order of the logits.
        labels: The labels to choose from, or a str of them with commas between.
        template: A sentence with {} where the label belongs.
        multi_label: Whether several labels of a text may be right; a single label is asked for itself in any case.

    Raises:
        ConfigError: The model has no such label; there is no label, one is empty, occurs twice or is no str; or the
            template has no {} or another field.
    """
    chosen = _labels(labels)
    entailment = next((i for i, name in enumerate(model_labels) if name.lower().startswith("entail")), None)
    if entailment is None:
        raise ConfigError(
            f"none of this model's labels ({_listed(model_labels)}) begins with 'entail', so it does not tell whether "
            "a label fits. Zero-shot needs a model of natural language inference; if it is one, name its labels so "
            "when you export it (--labels)."
        )
    independent = bool(multi_label) or len(chosen) == 1
    if independent and len(model_labels) == 1:
        raise ConfigError(
            f"this model has the label {model_labels[0]!r} alone, so a label can only be compared with others. Pass "
            "two labels or more, without multi_label."
        )
    return Hypotheses(
        labels=chosen,
        sentences=_sentences(chosen, template),
        entailment=entailment,
        contradiction=len(model_labels) - 1 if entailment == 0 else 0,
        independent=independent,
    )


def premises(texts: LoneText | Sequence[Text]) -> list[str]:
    """The texts of a call, or the one that it is.

    Raises:
        TextTypeError: One is no str, or they are no sequence.
        ConfigError: One is a pair.
    """
    found: list[str] = []
    for index, text in enumerate(as_several(texts)):
        if isinstance(text, tuple) and len(text) == 2:
            raise ConfigError(f"text {index} is a pair. Pass single texts: each is paired with the labels.")
        if not isinstance(text, str):
            raise TextTypeError(index, describe(text))
        found.append(text)
    return found


def pairs(texts: Sequence[str], hypotheses: Hypotheses) -> list[tuple[str, str]]:
    """Each text with each hypothesis, text after text."""
    return [(text, sentence) for text in texts for sentence in hypotheses.sentences]


def ask(texts: Sequence[str], hypotheses: Hypotheses, classifier: Classifier) -> list[ZeroShot]:
    """The answers of `classifier`, one that cuts a long text and never its hypothesis.

    Pairs are tokenized and planned by length together, some thousands at a time, whatever texts they are of.

    Raises:
        TextError: A text cannot be classified; none is.
    """
    count = len(hypotheses.sentences)
    together = max(1, classifier.settings.max_texts // count)
    parts = [texts[start : start + together] for start in range(0, len(texts), together)]
    found: list[ZeroShot] = []
    try:
        logits = classifier.stream_logits(pairs(part, hypotheses) for part in parts)
        for part, rows in zip(parts, logits, strict=True):
            found += answers(part, rows, hypotheses)
    except TextError as error:
        raise text_of(error, hypotheses).moved(len(found)) from error.__cause__
    return found


def require_room(hypotheses: Hypotheses, encoder: Encoder) -> None:
    """Raise ConfigError where a hypothesis is so long that no token of a text would fit beside it."""
    for label, sentence in zip(hypotheses.labels, hypotheses.sentences, strict=True):
        if encoder.room_beside(sentence) < 1:
            raise ConfigError(
                f"the label {label[:60]!r} and the template leave a text no token of the {encoder.max_length:,} that "
                "the model takes. Shorten them."
            )


def text_of(error: TextError, hypotheses: Hypotheses) -> TextError:
    """An error of a pair, as one of its text."""
    return error.placed(error.index // len(hypotheses.sentences))


def answers(texts: Sequence[str], logits: NDArray[np.float32], hypotheses: Hypotheses) -> list[ZeroShot]:
    """The answer to each text, of its pairs' logits, float32 [texts * labels, model labels]."""
    rows = logits.reshape(len(texts), len(hypotheses.labels), logits.shape[1])
    if hypotheses.independent:
        against = activate(rows[..., [hypotheses.contradiction, hypotheses.entailment]], "softmax")[..., 1]
    else:
        against = activate(rows[..., hypotheses.entailment], "softmax")
    return list(_ranked(texts, against, hypotheses.labels))


def _ranked(texts: Sequence[str], scores: NDArray[np.float32], labels: Sequence[str]) -> Iterator[ZeroShot]:
    best = np.argsort(scores, axis=-1, kind="stable")[:, ::-1]
    ordered = np.take_along_axis(scores, best, axis=-1)
    for text, places, values in zip(texts, best.tolist(), ordered.tolist(), strict=True):
        yield ZeroShot(text=text, labels=[labels[place] for place in places], scores=values)


def split_labels(labels: str | list[str]) -> list[str]:
    """The labels of a str that has commas between them, or those of a list as they are."""
    return [part.strip() for part in labels.split(",") if part.strip()] if isinstance(labels, str) else labels


def _labels(labels: str | Iterable[str]) -> tuple[str, ...]:
    if isinstance(labels, str):
        found: list[object] = [*split_labels(labels)]
    elif isinstance(labels, (bytes, bytearray, Set, Mapping)) or not isinstance(labels, Iterable):
        raise ConfigError(f"labels must be a list of str, or one str with commas between, got {describe(labels)}")
    else:
        found = list(labels)
    if not found:
        raise ConfigError("labels is empty. Pass at least one label to choose.")
    chosen: dict[str, None] = {}
    for index, label in enumerate(found):
        if not isinstance(label, str):
            raise ConfigError(f"labels must be str, and label {index} is {describe(label)}")
        if not label.strip():
            raise ConfigError(f"label {index} is empty. Leave it out.")
        if label in chosen:
            raise ConfigError(f"the label {label[:100]!r} is given twice. Leave one out.")
        _require_encodable(label, f"label {index}")
        chosen[label] = None
    return tuple(chosen)


def _sentences(labels: Sequence[str], template: str) -> tuple[str, ...]:
    """The hypotheses. Only a bare {} (or {0}) is filled: no attribute, conversion or width."""
    if not isinstance(template, str):
        raise ConfigError(f"template must be a str, got {describe(template)}")
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ConfigError(
            f"template {template[:100]!r} cannot be read ({error}). Write braces twice, {{}} once."
        ) from error
    fields = [_field(*part[1:]) for part in parts if part[1] is not None]
    if not fields:
        raise ConfigError(f"template {template[:100]!r} has no {{}}, where the label belongs")
    if other := next((field for field in fields if field not in _FIELDS), None):
        raise ConfigError(f"template {template[:100]!r} has the field {{{other[:40]}}}; only {{}} stands for a label")
    if len(fields) > 1 and "" in fields:
        raise ConfigError(f"template {template[:100]!r} has {len(fields)} fields. Write {{}} once, or {{0}} each time.")
    _require_encodable(template, "template")
    return tuple(template.format(label) for label in labels)


def _field(name: str | None, form: str | None, conversion: str | None) -> str:
    """What stands between a field's braces."""
    return f"{name}{f'!{conversion}' if conversion else ''}{f':{form}' if form else ''}"


def _require_encodable(text: str, what: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise ConfigError(
            f"{what} holds the lone surrogate U+{code:04X} at character {error.start}. Leave it out."
        ) from None


def _listed(labels: Sequence[str]) -> str:
    shown = ", ".join(label[:40] for label in labels[:5])
    return f"{shown}, …" if len(labels) > 5 else shown
