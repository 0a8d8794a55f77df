"""Texts to labels: one a text, or many, or a value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from onnxpress.answers.answered import joined_logits
from onnxpress.answers.predictions import (
    Prediction,
    accepted_labels,
    best_labels,
    predicted,
    require_top_k,
)
from onnxpress.errors import ConfigError
from onnxpress.inputs.encoder import TokenRows
from onnxpress.inputs.texts import LoneText, Text, as_list, as_several, is_lone
from onnxpress.model import Model
from onnxpress.tasks.ranking import Ranked, query_pairs, ranked, require_one_score
from onnxpress.tasks.zero_shot import TEMPLATE, Hypotheses, ZeroShot, ask, premises, read_hypotheses, require_room

if TYPE_CHECKING:
    from onnxpress.explaining.explanation import Explanation, Method

__all__ = ["Classifier"]


class Classifier(Model):
    """A loaded classifier of texts, made by `load`. Safe to share between threads; close it, or use it in a `with`.

    Every method takes a sequence of texts, in which a text is a str and a pair a tuple of two str; the call itself
    takes one text alone too. What is neither raises TextTypeError.

    It can be pickled: where it is unpickled, the artifact is loaded again from its path.

    Attributes:
        labels: Label names, in the order of the logits.
        device: Where it runs: "cpu" or "cuda".
        precision: What it runs: "fp32", "fp16" or "int8".
        settings: What it was loaded with.
    """

    # A str is a Sequence[str] to a type checker; at run time the first two overloads win.
    @overload
    def __call__(self, texts: LoneText, *, top_k: None = None) -> Prediction: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, texts: LoneText, *, top_k: int) -> list[Prediction]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, texts: Sequence[Text], *, top_k: None = None) -> list[Prediction]: ...
    @overload
    def __call__(self, texts: Sequence[Text], *, top_k: int) -> list[list[Prediction]]: ...

    def __call__(
        self, texts: LoneText | Sequence[Text], *, top_k: int | None = None
    ) -> Prediction | list[Prediction] | list[list[Prediction]]:
        """Classify one text, or a sequence of them in order.

        A str is a text; a tuple of two str, or a mapping of `text` and `text_pair`, a sentence pair. Anything else is a
        sequence of str and tuples.

        Args:
            texts: What to classify.
            top_k: None for the best label alone, or how many labels to return, best first.

        Raises:
            ConfigError: `top_k` is no whole number, or below 1.
            TextError: A text cannot be classified; none is.
        """
        require_top_k(top_k)
        found = predicted(self._scores(as_several(texts)), self.labels, top_k)
        return found[0] if is_lone(texts) else found

    def logits(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """Raw scores, whatever the activation, float32 [len(texts), len(labels)], in input order.

        At most `max_texts` texts are tokenized ahead of those that run. Equal texts among these are run once.

        Raises:
            TextError: A text cannot be classified; none is answered. Lengths are checked before tokenization.
        """
        return joined_logits(self._call(as_list(texts)))

    def probabilities(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        """Scores, float32 [len(texts), len(labels)], in input order.

        Softmax for one label, sigmoid for many, the raw value for regression. Raises as `logits` does.
        """
        return self._scores(as_list(texts))

    def accepted(self, texts: Sequence[Text]) -> list[list[Prediction]]:
        """The labels of each text that reach their threshold, best first; none is an answer too.

        Thresholds are those that the artifact was exported with. Without any, many-label models accept from one
        half, and single-label models the best label. Raises as `logits` does.

        Raises:
            ConfigError: The model is a regression, which has no labels to accept.
        """
        self.require_accepting()
        return self.accept(self.logits(texts))

    def require_accepting(self) -> None:
        """Raise ConfigError where the model is a regression, which has no labels to accept."""
        if self.decision.activation == "identity":
            raise ConfigError("a regression gives a value, not labels to accept; call the classifier itself")

    def accept(self, logits: NDArray[np.float32]) -> list[list[Prediction]]:
        """`accepted` of what `logits` gave, float32 [texts, len(labels)]."""
        decision, scores = self.decision, self.scores(logits)
        if decision.thresholds is None and decision.activation == "softmax":
            return [[best] for best in best_labels(scores, self.labels)]
        return accepted_labels(scores, self.labels, decision.reached(logits))

    @overload
    def explain(  # type: ignore[overload-overlap]
        self, texts: LoneText, *, label: str | None = None, method: Method = "occlusion", evaluations: int = 500
    ) -> Explanation: ...
    @overload
    def explain(
        self, texts: Sequence[Text], *, label: str | None = None, method: Method = "occlusion", evaluations: int = 500
    ) -> list[Explanation]: ...

    def explain(
        self,
        texts: LoneText | Sequence[Text],
        *,
        label: str | None = None,
        method: Method = "occlusion",
        evaluations: int = 500,
    ) -> Explanation | list[Explanation]:
        """Which words of one text, or of each of several, speak for a label, and which against it.

        Args:
            texts: What to explain, as the call itself takes it.
            label: The label whose score is explained; None for each text's best one.
            method: "occlusion" masks each word alone. "shap" gives shares that add up to the score; it needs the extra
                `explain`.
            evaluations: Masked variants of a text that SHAP may look at, at least 2.

        Raises:
            ConfigError: A setting outside its range, or a label that the model has not.
            MissingDependencyError: `method` is "shap", and the package is not installed.
            TextError: A text cannot be classified; none is explained.
            CheckFailedError: SHAP's shares do not add up to the score.
        """
        from onnxpress.explaining.explain import Answering, Question, explain_texts

        with self._lifetime:
            answering = Answering(
                encoder=self._encoder,
                cascade=self._cascade,
                workers=self._pool,
                at_once=self._workers,
                labels=self.labels,
                decision=self.decision,
            )
            question = Question(label=label, method=method, evaluations=evaluations)
            found = explain_texts(as_several(texts), answering, question)
        return found[0] if is_lone(texts) else found

    @overload
    def zero_shot(  # type: ignore[overload-overlap]
        self,
        texts: str | Mapping[str, str],
        labels: str | Iterable[str],
        *,
        template: str = TEMPLATE,
        multi_label: bool = False,
    ) -> ZeroShot: ...
    @overload
    def zero_shot(
        self, texts: Sequence[str], labels: str | Iterable[str], *, template: str = TEMPLATE, multi_label: bool = False
    ) -> list[ZeroShot]: ...

    def zero_shot(
        self,
        texts: str | Mapping[str, str] | Sequence[str],
        labels: str | Iterable[str],
        *,
        template: str = TEMPLATE,
        multi_label: bool = False,
    ) -> ZeroShot | list[ZeroShot]:
        """Which of `labels` fit one text, or each of several: for models of natural language inference (NLI).

        As transformers' zero-shot pipeline answers. Of a text that is too long its own tokens are cut, never those of
        a label.

        Args:
            texts: What to classify.
            labels: The labels to choose from, or a str of them with commas between.
            template: The sentence that a label becomes, with {} in its place.
            multi_label: Whether each label is judged by itself, rather than against the others.

        Raises:
            ConfigError: The model is not made for it, or the labels or the template cannot be used.
            TextError: A text cannot be classified; none is.
        """
        hypotheses = self.hypotheses(labels, template, multi_label=multi_label)
        found = ask(premises(texts), hypotheses, self.cutting_first())
        return found[0] if is_lone(texts) else found

    def hypotheses(self, labels: str | Iterable[str], template: str, *, multi_label: bool) -> Hypotheses:
        """What `zero_shot` asks of every text.

        Raises:
            ConfigError: It cannot be asked of this model.
        """
        found = read_hypotheses(self.labels, labels, template, multi_label=multi_label)
        self.require_room(found)
        return found

    def require_room(self, hypotheses: Hypotheses) -> None:
        """Raise ConfigError where one of them is so long that no token of a text fits beside it."""
        with self._lifetime:
            require_room(hypotheses, self._encoder)

    def rank(self, query: str, documents: Sequence[str], *, top_k: int | None = None) -> list[Ranked]:
        """`documents` by how well they fit `query`, best first: for models with one score for a pair.

        As sentence-transformers' CrossEncoder ranks.

        Args:
            query: The first text of every pair.
            documents: The second ones.
            top_k: How many to return; None for all.

        Raises:
            ConfigError: The model has several labels, or `top_k` is no whole number or below 1.
            TextError: A document cannot be read, by its place; none is ranked.
        """
        self.require_ranking(top_k)
        scores = self.comparing().probabilities(query_pairs(query, documents))
        return ranked(documents, scores, top_k)

    def require_ranking(self, top_k: int | None) -> None:
        """Raise ConfigError where there is no one score to rank by, or `top_k` is no number of documents."""
        require_top_k(top_k)
        require_one_score(self.labels)

    def stream(self, texts: Iterable[Text], *, chunk: int | None = None) -> Iterator[Prediction]:
        """Classify an endless iterable in constant memory, in order, `chunk` texts at a time.

        With `optimize_for="throughput"` a chunk, `max_texts` texts by default, is read and tokenized while the one
        before it runs. Where texts are long a chunk is smaller: it has no more than some millions of characters.

        Raises:
            ConfigError: `chunk` is no whole number, or below 1.
            TextError: A text cannot be classified; predictions of the chunks before it were yielded. Its index counts
                from the first text.
        """
        return self._stream_each(texts, chunk, lambda part: best_labels(self.scores(part.logits), self.labels))

    def stream_probabilities(self, chunks: Iterable[Sequence[Text]]) -> Iterator[NDArray[np.float32]]:
        """`probabilities` of each chunk, as `stream_logits` gives their logits."""
        return map(self.scores, self.stream_logits(chunks))

    def stream_logits(self, chunks: Iterable[Sequence[Text]]) -> Iterator[NDArray[np.float32]]:
        """`logits` of each chunk, in order, in constant memory.

        With `optimize_for="throughput"` each is read and tokenized while the one before it runs.

        Raises:
            TextError: A text cannot be classified; all chunks before its own were yielded. Its index counts from its
                own chunk's start.
        """
        return map(joined_logits, self.stream_answered(chunks))

    def run(self, rows: TokenRows) -> NDArray[np.float32]:
        """Logits of tokenized texts, float32 [texts, len(labels)], run in the calling thread.

        Raises:
            RunError: ONNX Runtime failed, or logits are not finite. Its index is that of a text of `rows`.
        """
        return self.answer(rows).logits

    def comparing(self) -> Classifier:
        """This classifier for texts whose scores are held against each other: the first stage answers none of them.

        It is another model, and its scores tell which answer is right, not how two texts compare.
        """
        return self._like(_cascade=self._cascade.without_first())

    def cutting_first(self) -> Classifier:
        """As `comparing`; and a pair that is too long loses tokens of its first text alone."""
        return self._like(_cascade=self._cascade.without_first(), _encoder=self._encoder.cutting_first)

    def scores(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """`probabilities` of `logits`, float32 [texts, len(labels)]."""
        return self.decision.scores(logits)

    def _scores(self, texts: Sequence[Text]) -> NDArray[np.float32]:
        return self.scores(joined_logits(self._call(texts)))
