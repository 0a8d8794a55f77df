"""Texts to explanations.

All variants of a text run at one precision: the one that answered the text itself. A cascade would send the variants of
which int8 is not sure to fp32, and shares, which are differences of scores, would then hold the difference of two
precisions as well. The one that answered is the one whose answer is to be explained: its score is the classifier's own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray

from onnxpress.answers.fidelity import Decision
from onnxpress.answers.predictions import top_labels
from onnxpress.errors import ConfigError, TextError
from onnxpress.explaining.explanation import Explanation, Method, Word
from onnxpress.explaining.game import Game, TracedText
from onnxpress.explaining.mask import mask_of
from onnxpress.explaining.occlusion import occlude
from onnxpress.explaining.partition import partition
from onnxpress.explaining.words import Span, words_of
from onnxpress.extras import require
from onnxpress.inputs.encoder import Encoder, TokenIds, TokenRows
from onnxpress.inputs.texts import Text
from onnxpress.running.cascade import Cascade
from onnxpress.running.workers import Workers
from onnxpress.settings import require_whole

__all__ = ["Answering", "Question", "explain_texts"]

_SHOWN_LABELS: Final = 8
_ENDS_SENTENCE: Final = re.compile(r"[.!?…\n。！？]")
_ENDS_CLAUSE: Final = re.compile(r"[,;:()，、；：]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """What a classifier answers with.

    Attributes:
        encoder: Makes tokens.
        cascade: Makes logits.
        workers: Run batches, `at_once` of them at a time; None where the calling thread does.
        at_once: Batches that run at once.
        labels: Label names, in the order of the logits.
        decision: Makes scores of logits.
    """

    encoder: Encoder
    cascade: Cascade
    workers: Workers | None
    at_once: int
    labels: Sequence[str]
    decision: Decision

    def logits(self, cascade: Cascade, rows: TokenRows) -> NDArray[np.float32]:
        """Logits of tokenized texts, float32 [texts, labels]."""
        return cascade.begin(rows, self.workers, self.at_once).result()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of each text.

    Attributes:
        label: The label to explain; None for each text's best one.
        method: "occlusion" or "shap".
        evaluations: Masked variants of a text that SHAP may ask for, at least 2.
    """

    label: str | None = None
    method: Method = "occlusion"
    evaluations: int = 500

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise ConfigError(f"method must be {' or '.join(get_args(Method))}, got {self.method!r}")
        require_whole("evaluations", self.evaluations, 2)

    def column(self, labels: Sequence[str]) -> int | None:
        """Where the label stands among `labels`; None for the best one. Raises ConfigError where it does not."""
        if self.label is None:
            return None
        if self.label not in labels:
            known = ", ".join(labels[:_SHOWN_LABELS]) + (", …" if len(labels) > _SHOWN_LABELS else "")
            raise ConfigError(f"label must be one of the model's {len(labels)} ({known}), got {self.label!r}")
        return list(labels).index(self.label)


def explain_texts(texts: Sequence[Text], answering: Answering, question: Question) -> list[Explanation]:
    """Explain each text.

    Raises:
        ConfigError: The model has no such label, or its tokenizer nothing to mask words with.
        MissingDependencyError: The method is "shap", and the package is not installed.
        TextError: A text cannot be classified; none is explained.
        CheckFailedError: SHAP's shares do not add up.
    """
    column = question.column(answering.labels)
    if question.method == "shap":
        require(("shap",), extra="explain")
    answering.encoder.check(texts)
    mask = mask_of(answering.encoder.tokenizer)
    found = []
    for index, text in enumerate(texts):
        try:
            found.append(_explained(text, answering, question, column, mask))
        except TextError as error:
            raise error.placed(index) from error.__cause__
    return found


def _explained(
    text: Text, answering: Answering, question: Question, column: int | None, mask: tuple[int, str]
) -> Explanation:
    traced = _traced(text, answering.encoder)
    stage = _answering_stage(traced, answering)
    alone = answering.cascade.alone(stage)
    game = Game(
        traced,
        mask[0],
        run=lambda rows: answering.logits(alone, _one_each(rows)),
        score=lambda logits, starts: answering.decision.scores(alone.task.joined(logits, starts)),
    )
    base, whole = game(np.array([[False], [True]]).repeat(game.words, axis=1))
    shares = np.zeros((0, len(whole)))
    if game.words and question.method == "shap":
        shares = partition(game, _breaks(text, traced.words), base, whole, question.evaluations)
    elif game.words:
        shares = occlude(game, whole)
    best = int(whole.argmax()) if column is None else column
    return Explanation(
        text=text,
        label=answering.labels[best],
        score=float(whole[best]),
        base=float(base[best]),
        words=tuple(
            _word(text, span, share) for span, share in zip(traced.words, shares[:, best].tolist(), strict=True)
        ),
        method=question.method,
        precision=alone.stages[0].name,
        mask=mask[1],
        predictions=tuple(top_labels(whole[None].astype(np.float32), answering.labels, len(whole))[0]),
    )


def _traced(text: Text, encoder: Encoder) -> TracedText:
    encodings = encoder.trace(text)
    words, owners = words_of(text, encodings)
    return TracedText(rows=[TokenIds.of(encoding) for encoding in encodings], words=words, owners=owners)


def _answering_stage(text: TracedText, answering: Answering) -> int:
    """The number of the stage that answers the text."""
    lengths = np.array([len(row) for row in text.rows], dtype=np.int64)
    rows = TokenRows(text.rows, lengths, np.zeros(1, dtype=np.intp) if len(text.rows) > 1 else None)
    if len(answering.cascade.stages) == 1:
        return 0
    running = answering.cascade.begin(rows, answering.workers, answering.at_once)
    return int(running.answered().stages[0])


def _one_each(rows: Sequence[TokenIds]) -> TokenRows:
    """Rows that each stand for themselves."""
    return TokenRows(rows, np.array([len(row) for row in rows], dtype=np.int64))


def _word(text: Text, span: Span, share: float) -> Word:
    part = text if isinstance(text, str) else text[span.part]
    return Word(text=part[span.start : span.end], start=span.start, end=span.end, share=share, part=span.part)


def _breaks(text: Text, words: Sequence[Span]) -> list[int]:
    """How strongly each word but the last is parted from the next: texts of a pair most, then sentences, clauses."""
    parts = (text,) if isinstance(text, str) else text
    found = []
    for word, after in pairwise(words):
        if word.part != after.part:
            found.append(3)
            continue
        between = parts[word.part][word.end - 1 : after.start]
        found.append(2 if _ENDS_SENTENCE.search(between) else int(bool(_ENDS_CLAUSE.search(between))))
    return found
