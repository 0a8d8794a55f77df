"""The user's texts, in parts: to choose by, to teach a first stage, and those that no choice ever sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec import structs
from tokenizers import Tokenizer

from onnxpress.answers.fidelity import Answers, Decision
from onnxpress.errors import ConfigError
from onnxpress.examples import Example, read_examples
from onnxpress.generic import GENERIC_NAME
from onnxpress.inputs.encoder import Encoder, Text, TokenRows
from onnxpress.inputs.vectors import places_of
from onnxpress.running.planner import plan_batches
from onnxpress.tasks.comparison import COMPARISONS, Comparison
from onnxpress_export.checkpoint import Checkpoint
from onnxpress_export.verify import torch_logits

__all__ = ["HELPING", "SEED", "Sample", "read_sample", "torch_answers", "without_repeats"]

SEED: Final = 20_240_229
_LEAST: Final = 100
_LEAST_TO_TEACH: Final = 2_000
HELPING: Final = 20_000
"""Texts to teach by that help a first stage to answer more."""
_LEAST_HELD: Final = 200
_HELD_BACK: Final = 5
"""One of so many texts finds a first stage's margin, and as many stay unseen."""
_MOST_TO_SEARCH: Final = 1_000
_MOST_FOR_TORCH: Final = 1_000
_MAX_CHARACTERS: Final = 100_000
_MAX_TOKENS: Final = 512

_Key = tuple[bytes, ...]


@dataclass(frozen=True)
class Sample:
    """Examples and their tokens.

    Attributes:
        name: Name of the file that they came from.
        seen, unseen: What calibration and search use, and what the figures are measured on.
        encoder: What makes their tokens.
        comparison: How answers to them are compared.
        taught: What a first stage learns from; none without one.
        held: What its margin is found by; none without one.
        times: How often the file holds each text that it holds more than once.
    """

    name: str
    seen: Sequence[Example]
    unseen: Sequence[Example]
    encoder: Encoder
    comparison: Comparison = COMPARISONS["text-classification"]
    taught: Sequence[Example] = ()
    held: Sequence[Example] = ()
    times: Mapping[Text, int] = field(default_factory=dict)

    @cached_property
    def seen_rows(self) -> TokenRows:
        """The tokens of `seen`."""
        return self.encoder.encode([example.text for example in self.seen])

    @cached_property
    def unseen_rows(self) -> TokenRows:
        """The tokens of `unseen`."""
        return self.encoder.encode([example.text for example in self.unseen])

    @cached_property
    def taught_rows(self) -> TokenRows:
        """The tokens of `taught`."""
        return self.encoder.encode([example.text for example in self.taught])

    @cached_property
    def held_rows(self) -> TokenRows:
        """The tokens of `held`."""
        return self.encoder.encode([example.text for example in self.held])

    def as_in_the_file(self, *, without_taught: bool) -> list[Text]:
        """All texts, as often as the file holds them; without those that a first stage was taught on, where it was."""
        kept = [] if without_taught else (self.taught or self.seen)
        return [
            example.text
            for example in (*kept, *self.held, *self.unseen)
            for _ in range(self.times.get(example.text, 1))
        ]

    def with_more_seen(self, count: int) -> Sample:
        """The same after the first `count` unseen texts have been seen too."""
        return replace(self, seen=[*self.seen, *self.unseen[:count]], unseen=self.unseen[count:])

    def with_lesson(self, more: Sequence[Example] = ()) -> Sample:
        """The same with texts to teach a first stage, and others to find its margin by.

        Three fifths teach, a fifth is held back for the margin, and a fifth stays unseen. Where there are `more` texts,
        on which nothing is measured, these teach with the seen ones, and half of the others each is held back and stays
        unseen. None teaches that is the same to the model as one of the sample.

        Raises:
            ConfigError: There are too few texts.
        """
        total, others = len(self.seen) + len(self.unseen), self._others(more)
        if total + len(others) < _LEAST_TO_TEACH:
            raise ConfigError(
                f"{self.name}: {total + len(others):,} different texts; a first stage is taught on at least "
                f"{_LEAST_TO_TEACH:,}, and {HELPING:,} help. They need no labels. Bring more, or leave --first-stage "
                "out."
            )
        part = len(self.unseen) // 2 if others else total // _HELD_BACK
        if part < _LEAST_HELD:
            raise ConfigError(
                f"{self.name}: {total:,} different texts; beside --first-stage-sample at least {4 * _LEAST_HELD:,} are "
                "needed to find a first stage's margin by, and to measure it. Bring more, or leave --first-stage out."
            )
        rest = len(self.unseen) - 2 * part
        taught = [*self.seen, *self.unseen[:rest], *others]
        return replace(self, taught=taught, held=self.unseen[rest : rest + part], unseen=self.unseen[rest + part :])

    def _others(self, more: Sequence[Example]) -> list[Example]:
        """The different ones of `more` that the sample does not hold."""
        if not more:
            return []
        own = set(_keys(self.encoder.encode([example.text for example in (*self.seen, *self.unseen)])))
        found = dict(zip(_keys(self.encoder.encode([example.text for example in more])), more, strict=True))
        return [example for key, example in found.items() if key not in own]


def read_sample(path: Path | None, checkpoint: Checkpoint) -> Sample:
    """Read `path`, or take generic text, drop repeated texts, and split it at random, always the same way.

    Raises:
        ConfigError: It cannot be read, has too few different texts, or labels that the model does not have.
        TextError: A text cannot be tokenized.
    """
    comparison = checkpoint.task.comparison
    if path is None:
        examples = checkpoint.task.generic_examples()
    else:
        examples = comparison.examples(read_examples(path), checkpoint.labels, checkpoint.activation, path)
    encoder = Encoder(
        Tokenizer.from_str(checkpoint.tokenizer.backend_tokenizer.to_str()),
        max_length=checkpoint.max_length,
        truncation_side=checkpoint.truncation_side,
        max_characters=_MAX_CHARACTERS,
        keeps_places=comparison.needs_places,
    )
    rows = encoder.encode([example.text for example in examples])
    times = _times(examples, rows)
    examples = without_repeats(examples, rows)
    if len(examples) < _LEAST:
        raise ConfigError(f"{path}: {len(examples)} different texts; at least {_LEAST} are needed to measure answers.")
    order = np.random.default_rng(SEED).permutation(len(examples))
    cut = min(len(examples) // 2, _MOST_TO_SEARCH)
    seen, unseen = ([examples[index] for index in part] for part in (order[:cut], order[cut:]))
    name = GENERIC_NAME if path is None else path.name
    return Sample(name, seen, unseen, encoder, comparison, times=times)


def without_repeats(examples: Sequence[Example], rows: TokenRows) -> list[Example]:
    """`examples`, of which no two are the same to the model: the first of those with equal tokens.

    Its label is the one that all labelled ones of them have; where they disagree nobody knows the right one.
    """
    labels: dict[_Key, set[Any]] = {}
    first: dict[_Key, Example] = {}
    for example, key in zip(examples, _keys(rows), strict=True):
        first.setdefault(key, example)
        if example.label is not None:
            labels.setdefault(key, set()).add(example.label)
    return [
        structs.replace(example, label=next(iter(found)) if len(found := labels.get(key, set())) == 1 else None)
        for key, example in first.items()
    ]


def _keys(rows: TokenRows) -> Iterator[_Key]:
    """What tells one text from another, to the model."""
    for index in range(len(rows.lengths)):
        yield tuple(rows.column(np.intp(index), name).tobytes() for name in ("input_ids", "token_type_ids"))


def _times(examples: Sequence[Example], rows: TokenRows) -> dict[Text, int]:
    """How often each text comes that comes more than once, by its first form."""
    first: dict[_Key, Text] = {}
    counts = Counter(first.setdefault(key, example.text) for example, key in zip(examples, _keys(rows), strict=True))
    return {text: count for text, count in counts.items() if count > 1}


def torch_answers(checkpoint: Checkpoint, sample: Sample, decision: Decision) -> Answers:
    """What torch answers to the first of the sample's unseen texts, in batches of equal length."""
    rows = sample.unseen_rows
    lengths = rows.lengths[:_MOST_FOR_TORCH]
    bounds = checkpoint.task.bounds(lengths)
    logits = np.empty((int(bounds[-1]), len(checkpoint.labels)), dtype=np.float32)
    for batch in plan_batches(lengths, max_tokens=_MAX_TOKENS):
        logits[places_of(batch, bounds)] = torch_logits(checkpoint, rows.inputs(batch, checkpoint.input_names))
    return Answers(logits, decision, sample.comparison.owners(rows).first(len(lengths)))
