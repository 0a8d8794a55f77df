"""`onnxpress predict`: texts in, JSON lines out."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from io import BufferedIOBase
from typing import Annotated, Final, cast

import msgspec
import typer

from onnxpress.classifier import Classifier
from onnxpress.cli.lines import ready_lines
from onnxpress.errors import ConfigError, TaskError, TextError
from onnxpress.loading import load
from onnxpress.predictions import Prediction
from onnxpress.settings import OptimizeFor
from onnxpress.tasks.entities import Aggregation, Entity
from onnxpress.token_classifier import TokenClassifier, require_aggregation

__all__ = ["predict"]

_CHUNK: Final = 512


class _Answer(msgspec.Struct, omit_defaults=True):
    text: str
    label: str | None = None
    score: float | None = None
    predictions: list[Prediction] | None = None
    logits: list[float] | list[list[float]] | None = None
    entities: list[Entity] | None = None


def predict(
    artifact: Annotated[str, typer.Argument(help="The artifact's directory.")],
    texts: Annotated[
        list[str] | None, typer.Argument(help="What to classify; lines of standard input without any.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Give this many labels, best first.")] = None,
    accepted: Annotated[
        bool, typer.Option("--accepted", help="Give the labels that reach their threshold, best first.")
    ] = False,
    logits: Annotated[
        bool, typer.Option("--logits", help="Give the model's raw values, in the order of its labels.")
    ] = False,
    aggregation: Annotated[
        str | None,
        typer.Option(
            help="Where tokens have the labels: what becomes an entity, none, simple, first, average or max.",
            show_default="simple",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    precision: Annotated[str, typer.Option(help="fp32, fp16, int8 or auto.")] = "auto",
) -> None:
    """Label texts, or find their entities; prints one JSON object a text, in order. Lines are answered as they come."""
    if top_k is not None and top_k < 1:
        raise ConfigError(f"--top-k must be at least 1, got {top_k}")
    if (top_k is not None) + accepted + logits > 1:
        raise ConfigError("--top-k, --accepted and --logits ask for different answers; pass one of them")
    if not texts and sys.stdin is None:
        raise ConfigError("standard input is closed; pass texts as arguments, or open it")
    optimize_for: OptimizeFor = "latency" if texts else "throughput"
    with load(artifact, device=device, precision=precision, optimize_for=optimize_for) as classifier:
        answer: _Answering | _Tagging
        if isinstance(classifier, TokenClassifier):
            if accepted or top_k is not None:
                raise TaskError("--accepted" if accepted else "--top-k", "token-classification")
            answer = _Tagging(classifier, cast("Aggregation", aggregation or "simple"), logits=logits)
        elif aggregation is not None:
            raise ConfigError("--aggregation is for labels of tokens; this artifact is for labels of whole texts")
        else:
            answer = _Answering(classifier, top_k, accepted=accepted, logits=logits)
        if texts:
            _print(answer(texts))
            return
        lines = ready_lines(cast("BufferedIOBase", sys.stdin.buffer), _CHUNK)
        for answers in _answered_lines(answer, lines):
            _print(answers)


class _Answering:
    """What is asked of each text."""

    def __init__(self, classifier: Classifier, top_k: int | None, *, accepted: bool, logits: bool) -> None:
        self.classifier = classifier
        self._top_k = top_k
        self._accepted = accepted
        self._logits = logits

    def __call__(self, texts: Sequence[str]) -> list[_Answer]:
        """Answers to all of them. Raises TextError, by the place in `texts`."""
        classifier = self.classifier
        if self._logits:
            rows = classifier.logits(texts).tolist()
            return [_Answer(text, logits=row) for text, row in zip(texts, rows, strict=True)]
        if self._accepted or self._top_k is not None:
            ranked = classifier.accepted(texts) if self._top_k is None else classifier(texts, top_k=self._top_k)
            return [_Answer(text, predictions=best) for text, best in zip(texts, ranked, strict=True)]
        return [_Answer(t, p.label, p.score) for t, p in zip(texts, classifier(texts), strict=True)]


class _Tagging:
    """What is asked of the tokens of each text."""

    def __init__(self, classifier: TokenClassifier, aggregation: Aggregation, *, logits: bool) -> None:
        require_aggregation(aggregation)
        self.classifier = classifier
        self._aggregation = aggregation
        self._logits = logits

    def __call__(self, texts: Sequence[str]) -> list[_Answer]:
        """Answers to all of them. Raises TextError, by the place in `texts`."""
        if self._logits:
            return [
                _Answer(t, logits=rows.tolist()) for t, rows in zip(texts, self.classifier.logits(texts), strict=True)
            ]
        found = self.classifier(texts, aggregation=self._aggregation)
        return [_Answer(text, entities=entities) for text, entities in zip(texts, found, strict=True)]


def _answered_lines(answer: _Answering | _Tagging, chunks: Iterable[list[str]]) -> Iterator[list[_Answer]]:
    """Answers to the lines of each chunk; those before a bad line are answered before it is told, by its number."""
    done = 0
    for lines in chunks:
        bad = next(iter(answer.classifier.rejected(lines)), None)
        good = lines if bad is None else lines[: bad.index]
        if good:
            try:
                answers = answer(good)
            except TextError as error:
                raise _of_line(error, done) from error
            yield answers
        if bad is not None:
            raise _of_line(bad, done) from bad
        done += len(lines)


def _of_line(error: TextError, before: int) -> ConfigError:
    return ConfigError(f"line {before + error.index + 1:,} of standard input {error.problem}")


def _print(answers: Iterable[_Answer]) -> None:
    """Write and flush: what reads may wait for these very answers."""
    for answer in answers:
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()
