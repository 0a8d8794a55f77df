"""What `onnxpress predict` asks of a classifier, and the answers that it prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import msgspec
from msgspec.structs import replace

from onnxpress.answers.predictions import Prediction
from onnxpress.classifier import Classifier
from onnxpress.errors import ConfigError, TaskError
from onnxpress.inputs.texts import Text
from onnxpress.tasks.entities import Aggregation, Entity
from onnxpress.tasks.ranking import Ranked
from onnxpress.token_classifier import TokenClassifier, require_aggregation

__all__ = ["Answer", "Wishes", "asking"]


class Answer(msgspec.Struct, omit_defaults=True):
    """One text's line; what was not asked for is not printed."""

    text: str
    text_pair: str | None = None
    label: str | None = None
    score: float | None = None
    labels: list[str] | None = None
    scores: list[float] | None = None
    predictions: list[Prediction] | None = None
    logits: list[float] | list[list[float]] | None = None
    entities: list[Entity] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What is asked for.

    Attributes:
        top_k: How many labels, or of a ranking how many texts, to give; None for the best label, or all texts.
        accepted: Whether to give the labels that reach their threshold.
        logits: Whether to give the raw values.
        labels: What to choose from instead of the model's labels, with commas between; None for the model's.
        template: The sentence that such a label becomes; None for the usual one.
        multi_label: Whether each of them is judged by itself.
        pair: Whether two texts make a pair.
        query: What the texts are ranked for; None where they are classified.
        aggregation: What becomes an entity, where tokens have the labels; None for the usual.
    """

    top_k: int | None = None
    accepted: bool = False
    logits: bool = False
    labels: str | None = None
    template: str | None = None
    multi_label: bool = False
    pair: bool = False
    query: str | None = None
    aggregation: str | None = None

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"--top-k must be at least 1, got {self.top_k}")
        best = self.top_k is not None and self.query is None
        asked = {
            "--top-k": best,
            "--accepted": self.accepted,
            "--logits": self.logits,
            "--labels": self.labels is not None,
            "--query": self.query is not None,
        }
        names = [name for name, wanted in asked.items() if wanted]
        if len(names) > 1:
            raise ConfigError(f"{' and '.join(names)} ask for different answers; pass one of them")
        if self.labels is None and (self.template is not None or self.multi_label):
            raise ConfigError("--template and --multi-label say how --labels are asked for; pass these too")
        if self.pair and (self.labels is not None or self.query is not None):
            raise ConfigError(f"{names[0]} takes single texts, which it pairs itself; leave --pair out")

    def of_arguments(self, texts: Sequence[str]) -> list[Text]:
        """The texts, or each two of them as a pair."""
        if not self.pair:
            return list(texts)
        if len(texts) % 2:
            raise ConfigError(f"--pair takes texts two by two, got {len(texts)}")
        return list(zip(texts[::2], texts[1::2], strict=True))

    def of_lines(self, lines: Sequence[str], before: int) -> tuple[list[Text], ConfigError | None]:
        """The lines, or each as a pair of what stands before and behind its tab; `before` lines came earlier.

        Where one is no pair, those before it, and what is wrong with it.
        """
        if not self.pair:
            return list(lines), None
        found: list[Text] = []
        for number, line in enumerate(lines, start=before + 1):
            first, tab, second = line.partition("\t")
            if not tab or "\t" in second:
                tabs = "no tab" if not tab else "more tabs than one"
                return found, ConfigError(
                    f"line {number:,} of standard input has {tabs}. A pair has one between its two texts."
                )
            found.append((first, second))
        return found, None


def asking(
    classifier: Classifier | TokenClassifier, wishes: Wishes
) -> Callable[[Sequence[Text]], Sequence[Answer | Ranked]]:
    """What answers texts. It raises TextError, by the place of a text; ConfigError where it cannot be asked."""
    if isinstance(classifier, TokenClassifier):
        return _asking_tokens(classifier, wishes)
    if wishes.aggregation is not None:
        raise ConfigError("--aggregation is for labels of tokens; this artifact is for labels of whole texts")
    if wishes.query is not None:
        return partial(_ranked, classifier, wishes.query, wishes.top_k)
    if wishes.labels is not None:
        return partial(_chosen, classifier, wishes)
    if wishes.logits:
        return partial(_raw, classifier)
    if wishes.accepted:
        return partial(_accepted, classifier)
    if wishes.top_k is not None:
        return partial(_top, classifier, wishes.top_k)
    return partial(_best, classifier)


def _asking_tokens(tagger: TokenClassifier, wishes: Wishes) -> Callable[[Sequence[Text]], Sequence[Answer]]:
    of_texts = {
        "--top-k": wishes.top_k is not None,
        "--accepted": wishes.accepted,
        "--labels": wishes.labels is not None,
        "--pair": wishes.pair,
        "--query": wishes.query is not None,
    }
    if asked := [name for name, wanted in of_texts.items() if wanted]:
        raise TaskError(asked[0], "token-classification")
    require_aggregation(wishes.aggregation or "simple")
    aggregation = cast("Aggregation", wishes.aggregation or "simple")
    return partial(_raw_tokens, tagger) if wishes.logits else partial(_entities, tagger, aggregation)


def _raw_tokens(tagger: TokenClassifier, texts: Sequence[Text]) -> list[Answer]:
    single = [text for text in texts if isinstance(text, str)]
    return [Answer(text, logits=rows.tolist()) for text, rows in zip(single, tagger.logits(single), strict=True)]


def _entities(tagger: TokenClassifier, aggregation: Aggregation, texts: Sequence[Text]) -> list[Answer]:
    single = [text for text in texts if isinstance(text, str)]
    found = tagger(single, aggregation=aggregation)
    return [Answer(text, entities=entities) for text, entities in zip(single, found, strict=True)]


def _ranked(classifier: Classifier, query: str, top_k: int | None, texts: Sequence[Text]) -> list[Ranked]:
    return classifier.rank(query, [text for text in texts if isinstance(text, str)], top_k=top_k)


def _chosen(classifier: Classifier, wishes: Wishes, texts: Sequence[Text]) -> list[Answer]:
    template = {} if wishes.template is None else {"template": wishes.template}
    assert wishes.labels is not None
    single = [text for text in texts if isinstance(text, str)]
    found = classifier.zero_shot(single, wishes.labels, multi_label=wishes.multi_label, **template)
    return [Answer(one.text, labels=one.labels, scores=one.scores) for one in found]


def _raw(classifier: Classifier, texts: Sequence[Text]) -> list[Answer]:
    rows = classifier.logits(texts).tolist()
    return [replace(_bare(text), logits=row) for text, row in zip(texts, rows, strict=True)]


def _accepted(classifier: Classifier, texts: Sequence[Text]) -> list[Answer]:
    return _several(texts, classifier.accepted(texts))


def _top(classifier: Classifier, top_k: int, texts: Sequence[Text]) -> list[Answer]:
    return _several(texts, classifier(texts, top_k=top_k))


def _several(texts: Sequence[Text], found: Sequence[list[Prediction]]) -> list[Answer]:
    return [replace(_bare(text), predictions=best) for text, best in zip(texts, found, strict=True)]


def _best(classifier: Classifier, texts: Sequence[Text]) -> list[Answer]:
    return [
        replace(_bare(text), label=best.label, score=best.score)
        for text, best in zip(texts, classifier(texts), strict=True)
    ]


def _bare(text: Text) -> Answer:
    """The line of a text without what was asked of it."""
    return Answer(text) if isinstance(text, str) else Answer(text[0], text[1])
