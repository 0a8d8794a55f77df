"""`onnxpress predict`: texts in, JSON lines out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BufferedIOBase
from itertools import chain
from typing import Annotated, Final, cast

import msgspec
import typer

from onnxpress.cli.asking import Answer, Wishes, asking
from onnxpress.cli.lines import ready_lines
from onnxpress.errors import ConfigError, TextError
from onnxpress.inputs.texts import Text
from onnxpress.loading import load
from onnxpress.model import Model
from onnxpress.settings import OptimizeFor
from onnxpress.tasks.ranking import Ranked

__all__ = ["predict"]

_CHUNK: Final = 512


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
        bool, typer.Option("--logits", "--raw", help="Give the model's raw values, in the order of its labels.")
    ] = False,
    labels: Annotated[
        str | None,
        typer.Option(help="Choose from these, separated by commas, instead of the model's own (zero-shot, by NLI)."),
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="The sentence that each of --labels becomes.", show_default="This example is {}.")
    ] = None,
    multi_label: Annotated[
        bool, typer.Option("--multi-label", help="Judge each of --labels by itself, rather than against the others.")
    ] = False,
    pair: Annotated[
        bool, typer.Option("--pair", help="Two texts are a pair: arguments two by two, a tab between those of a line.")
    ] = False,
    query: Annotated[str | None, typer.Option(help="Rank the texts by how well they fit this one.")] = None,
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
    """Label texts, or find their entities; prints one JSON object a text, in order. Lines are answered as they come.

    With --query texts are ranked: printed best first, once all have come.
    """
    wishes = Wishes(
        top_k=top_k,
        accepted=accepted,
        logits=logits,
        labels=labels,
        template=template,
        multi_label=multi_label,
        pair=pair,
        query=query,
        aggregation=aggregation,
    )
    if not texts and sys.stdin is None:
        raise ConfigError("standard input is closed; pass texts as arguments, or open it")
    given = None if not texts else wishes.of_arguments(texts)
    optimize_for: OptimizeFor = "latency" if texts else "throughput"
    with load(artifact, device=device, precision=precision, optimize_for=optimize_for) as classifier:
        answer = asking(classifier, wishes)
        if given is not None:
            _print(answer(given))
            return
        lines = ready_lines(cast("BufferedIOBase", sys.stdin.buffer), _CHUNK)
        chunks = [list(chain.from_iterable(lines))] if query is not None else lines
        for answers in _answered_lines(classifier, answer, wishes, chunks):
            _print(answers)


def _answered_lines(
    classifier: Model,
    answer: Callable[[Sequence[Text]], Sequence[Answer | Ranked]],
    wishes: Wishes,
    chunks: Iterable[Sequence[str]],
) -> Iterator[Sequence[Answer | Ranked]]:
    """Answers to the lines of each chunk; those before a bad line are answered before it is told, by its number."""
    done = 0
    for lines in chunks:
        texts, problem = wishes.of_lines(lines, done)
        if (bad := next(iter(classifier.rejected(texts)), None)) is not None:
            texts, problem = texts[: bad.index], _of_line(bad, done)
        if texts and (problem is None or wishes.query is None):  # a ranking is of all texts, or of none
            try:
                answers = answer(texts)
            except TextError as error:
                raise _of_line(error, done) from error
            yield answers
        if problem is not None:
            raise problem
        done += len(lines)


def _of_line(error: TextError, before: int) -> ConfigError:
    return ConfigError(f"line {before + error.index + 1:,} of standard input {error.problem}")


def _print(answers: Iterable[Answer | Ranked]) -> None:
    """Write and flush: what reads may wait for these very answers."""
    for answer in answers:
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()
