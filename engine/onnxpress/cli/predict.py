"""`onnxpress predict`: texts in, JSON lines out."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Annotated, BinaryIO, Final

import msgspec
import typer

from onnxpress.classifier import Classifier
from onnxpress.errors import ConfigError
from onnxpress.loading import load
from onnxpress.predictions import Prediction
from onnxpress.settings import OptimizeFor

__all__ = ["predict"]

_CHUNK: Final = 512


class _Answer(msgspec.Struct, omit_defaults=True):
    text: str
    label: str | None = None
    score: float | None = None
    predictions: list[Prediction] | None = None


def predict(
    artifact: Annotated[str, typer.Argument(help="The artifact's directory.")],
    texts: Annotated[
        list[str] | None, typer.Argument(help="What to classify; lines of standard input without any.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Give this many labels, best first.")] = None,
    accepted: Annotated[
        bool, typer.Option("--accepted", help="Give the labels that reach their threshold, best first.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    precision: Annotated[str, typer.Option(help="fp32, fp16, int8 or auto.")] = "auto",
) -> None:
    """Classify texts; prints one JSON object a text, in order."""
    if top_k is not None and top_k < 1:
        raise ConfigError(f"--top-k must be at least 1, got {top_k}")
    if accepted and top_k is not None:
        raise ConfigError("--top-k and --accepted ask for different labels; pass one of them")
    optimize_for: OptimizeFor = "latency" if texts else "throughput"
    with load(artifact, device=device, precision=precision, optimize_for=optimize_for) as classifier:
        write = sys.stdout.buffer.write
        for answer in _answers(classifier, texts or _lines(sys.stdin.buffer), top_k, accepted):
            write(msgspec.json.encode(answer) + b"\n")
        sys.stdout.buffer.flush()


def _answers(classifier: Classifier, texts: Iterable[str], top_k: int | None, accepted: bool) -> Iterator[_Answer]:
    remaining = iter(texts)
    while chunk := list(islice(remaining, _CHUNK)):
        yield from _answer_chunk(classifier, chunk, top_k, accepted)
        sys.stdout.buffer.flush()


def _answer_chunk(classifier: Classifier, texts: Sequence[str], top_k: int | None, accepted: bool) -> list[_Answer]:
    if top_k is None and not accepted:
        return [_Answer(t, p.label, p.score) for t, p in zip(texts, classifier(texts), strict=True)]
    ranked = classifier.accepted(texts) if top_k is None else classifier(texts, top_k=top_k)
    return [_Answer(text, predictions=best) for text, best in zip(texts, ranked, strict=True)]


def _lines(stream: BinaryIO) -> Iterator[str]:
    for number, line in enumerate(stream, 1):
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"line {number} of standard input is not UTF-8 ({error.reason} at byte {error.start}). "
                "Convert it, for example with iconv."
            ) from error
