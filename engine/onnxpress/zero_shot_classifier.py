"""A classifier by labels that are chosen once, for many texts: what a scoring job runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from onnxpress.answers.answered import Answered, joined_logits
from onnxpress.answers.fidelity import Decision
from onnxpress.artifacts.manifest import Activation
from onnxpress.classifier import Classifier
from onnxpress.errors import TextError
from onnxpress.inputs.encoder import TokenIds, TokenRows
from onnxpress.inputs.texts import Text, as_chunks, as_list
from onnxpress.model import Model
from onnxpress.tasks.text_classification import TextClassification
from onnxpress.tasks.zero_shot import Hypotheses, pairs, premises, text_of

__all__ = ["ZeroShotClassifier", "scores_of"]


def scores_of(hypotheses: Hypotheses) -> Activation:
    """What makes scores of a `ZeroShotClassifier`'s logits."""
    return "sigmoid" if hypotheses.independent else "softmax"


class ZeroShotClassifier(Model):
    """`Model` whose labels are those of some hypotheses: a text has one logit for each of them.

    It is how strongly the text entails the hypothesis; where labels are independent, how much more than it contradicts
    it. Softmax, or a sigmoid, of these are the scores that `Classifier.zero_shot` gives. Close the classifier that it
    was made of.

    Attributes:
        labels: The labels to choose from.
    """

    _hypotheses: Hypotheses
    _task: TextClassification

    @classmethod
    def of(cls, classifier: Classifier, hypotheses: Hypotheses) -> ZeroShotClassifier:
        """Have `classifier` answer `hypotheses`, which are of its own labels.

        Raises:
            ConfigError: One of them leaves a text no token.
        """
        classifier.require_room(hypotheses)
        made = object.__new__(cls)
        task = TextClassification(Decision(scores_of(hypotheses), None), len(hypotheses.labels))
        vars(made).update(
            vars(classifier.cutting_first()), labels=hypotheses.labels, _hypotheses=hypotheses, _task=task
        )
        return made

    @property
    def task(self) -> TextClassification:
        """Labels of texts."""
        return self._task

    def stream_answered(self, chunks: Iterable[Sequence[Text]]) -> Iterator[Sequence[Answered]]:
        """The answers to each chunk, in one part. Raises as `Model.stream_answered` does."""
        asked = (pairs(premises(as_list(chunk)), self._hypotheses) for chunk in as_chunks(chunks))
        try:
            for parts in super().stream_answered(asked):
                yield [_of_texts(parts, self._hypotheses)]
        except TextError as error:
            raise text_of(error, self._hypotheses) from error.__cause__

    def encode(self, texts: Sequence[Text]) -> TokenRows:
        """Tokenize each text with each hypothesis, text after text. Raises as `Model.encode` does."""
        try:
            return super().encode(pairs(premises(texts), self._hypotheses))
        except TextError as error:
            raise text_of(error, self._hypotheses) from error.__cause__


def _of_texts(parts: Sequence[Answered], hypotheses: Hypotheses) -> Answered:
    """The answers to texts, of the parts that all their pairs ran in; its rows are each text's with the first label."""
    count = len(hypotheses.labels)
    logits = joined_logits(parts)
    values = logits[:, hypotheses.entailment]
    if hypotheses.independent:
        values = values - logits[:, hypotheses.contradiction]
    stages = np.concatenate([part.stages for part in parts]).reshape(-1, count).max(axis=1, initial=0)
    encodings = list(chain.from_iterable(_encodings(part) for part in parts))[::count]
    cut = np.concatenate([part.cut() for part in parts])[::count]
    lengths = np.fromiter(map(len, encodings), dtype=np.int64, count=len(encodings))
    rows = TokenRows(encodings, lengths, None, cut if cut.any() else None)
    return Answered(np.ascontiguousarray(values.reshape(-1, count)), stages.astype(np.uint8), rows)


def _encodings(part: Answered) -> list[TokenIds]:
    """The tokens of each pair of `part`: one row each, as no pair has windows."""
    places: NDArray[np.intp] | range = range(len(part)) if part.repeats is None else part.repeats
    return [part.rows.encodings[int(place)] for place in places]
