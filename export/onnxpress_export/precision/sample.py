"""The user's texts, in parts: to choose by, to teach a first stage, and those that no choice ever sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec import structs
from tokenizers import Tokenizer

from onnxpress.encoder import Encoder, TokenRows
from onnxpress.errors import ConfigError
from onnxpress.examples import Example, read_examples
from onnxpress.fidelity import Answers, Decision
from onnxpress.generic import GENERIC_NAME
from onnxpress.planner import plan_batches
from onnxpress.tasks.comparison import COMPARISONS, Comparison
from onnxpress.vectors import places_of
from onnxpress_export.checkpoint import Checkpoint
from onnxpress_export.verify import torch_logits

__all__ = ["SEED", "Sample", "read_sample", "torch_answers", "without_repeats"]

SEED: Final = 20_240_229
_LEAST: Final = 100
_LEAST_TO_TEACH: Final = 2_000
_HELPING: Final = 20_000
_HELD_BACK: Final = 5
"""One of so many texts finds a first stage's margin, and as many stay unseen."""
_MOST_TO_SEARCH: Final = 1_000
_MOST_FOR_TORCH: Final = 1_000
_MAX_CHARACTERS: Final = 100_000
_MAX_TOKENS: Final = 512


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
    """

    name: str
    seen: Sequence[Example]
    unseen: Sequence[Example]
    encoder: Encoder
    comparison: Comparison = COMPARISONS["text-classification"]
    taught: Sequence[Example] = ()
    held: Sequence[Example] = ()

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

    def with_more_seen(self, count: int) -> Sample:
        """The same after the first `count` unseen texts have been seen too."""
        return replace(self, seen=[*self.seen, *self.unseen[:count]], unseen=self.unseen[count:])

    def with_lesson(self) -> Sample:
        """The same with most texts to teach a first stage, which leaves two fifths: to find its margin, and unseen.

        Raises:
            ConfigError: There are too few texts.
        """
        total = len(self.seen) + len(self.unseen)
        if total < _LEAST_TO_TEACH:
            raise ConfigError(
                f"{self.name}: {total:,} different texts; a first stage is taught on at least {_LEAST_TO_TEACH:,}, and "
                f"{_HELPING:,} help. They need no labels. Bring more, or leave --first-stage out."
            )
        part = total // _HELD_BACK
        lesson, held, unseen = self.unseen[: -2 * part], self.unseen[-2 * part : -part], self.unseen[-part:]
        return replace(self, unseen=unseen, taught=[*self.seen, *lesson], held=held)


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
    examples = without_repeats(examples, encoder.encode([example.text for example in examples]))
    if len(examples) < _LEAST:
        raise ConfigError(f"{path}: {len(examples)} different texts; at least {_LEAST} are needed to measure answers.")
    order = np.random.default_rng(SEED).permutation(len(examples))
    cut = min(len(examples) // 2, _MOST_TO_SEARCH)
    seen, unseen = ([examples[index] for index in part] for part in (order[:cut], order[cut:]))
    name = GENERIC_NAME if path is None else path.name
    return Sample(name, seen, unseen, encoder, comparison)


def without_repeats(examples: Sequence[Example], rows: TokenRows) -> list[Example]:
    """`examples`, of which no two are the same to the model: the first of those with equal tokens.

    Its label is the one that all labelled ones of them have; where they disagree nobody knows the right one.
    """
    labels: dict[tuple[tuple[int, ...], ...], set[Any]] = {}
    first: dict[tuple[tuple[int, ...], ...], Example] = {}
    for index, example in enumerate(examples):
        key = tuple(tuple(rows.column(np.intp(index), name)) for name in ("input_ids", "token_type_ids"))
        first.setdefault(key, example)
        if example.label is not None:
            labels.setdefault(key, set()).add(example.label)
    return [
        structs.replace(example, label=next(iter(found)) if len(found := labels.get(key, set())) == 1 else None)
        for key, example in first.items()
    ]


def torch_answers(checkpoint: Checkpoint, sample: Sample, decision: Decision) -> Answers:
    """What torch answers to the first of the sample's unseen texts, in batches of equal length."""
    rows = sample.unseen_rows
    lengths = rows.lengths[:_MOST_FOR_TORCH]
    bounds = checkpoint.task.bounds(lengths)
    logits = np.empty((int(bounds[-1]), len(checkpoint.labels)), dtype=np.float32)
    for batch in plan_batches(lengths, max_tokens=_MAX_TOKENS):
        logits[places_of(batch, bounds)] = torch_logits(checkpoint, rows.inputs(batch, checkpoint.input_names))
    return Answers(logits, decision, sample.comparison.owners(rows).first(len(lengths)))
