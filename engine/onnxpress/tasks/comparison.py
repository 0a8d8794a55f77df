"""How the answers of two precisions are compared: by whole texts, of which each may have several vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from onnxpress.answers.answered import Answered
from onnxpress.answers.fidelity import Answers, compare_answers
from onnxpress.answers.owners import Owners
from onnxpress.answers.sample_labels import with_right_labels
from onnxpress.artifacts.manifest import Activation, Fidelity, Task, TokenFidelity
from onnxpress.errors import ConfigError
from onnxpress.inputs.encoder import TokenRows
from onnxpress.inputs.texts import whole_text
from onnxpress.inputs.vectors import bounds_of
from onnxpress.tasks.entities import Entity, EntityMaker

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from onnxpress.examples import Example

__all__ = ["COMPARISONS", "Compared", "Comparison", "Measure"]

_OUTSIDE: Final = ("O",)
_SHOWN: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What is measured with.

    Attributes:
        examples: The texts.
        labels: Names of the labels.
        sample: Name of the texts' file.
        budget: Share of answers that may change.
        tokenizer: What made the texts' tokens.
    """

    examples: Sequence[Example]
    labels: Sequence[str]
    sample: str
    budget: float
    tokenizer: Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What is compared with a reference.

    Attributes:
        logits: float32 [vectors, labels].
        name: What gave them.
        speed: How many times as fast as the reference; None where it was not timed.
        torch: What torch answers to the first of the texts, where it was asked.
    """

    logits: NDArray[np.float32]
    name: str
    speed: float | None
    torch: Answers | None = None


class Comparison(Protocol):
    """What a task says of comparing."""

    @property
    def needs_places(self) -> bool:
        """Whether rows must tell where their tokens stand."""

    def examples(
        self, examples: Sequence[Example], labels: Sequence[str], activation: Activation, path: Path
    ) -> list[Example]:
        """`examples`, which came from the file `path`, as they are compared. Raises ConfigError."""

    def owners(self, rows: TokenRows) -> Owners:
        """The texts that the vectors of `rows` are of, each text having one row."""

    def compare(self, answers: Answers, rows: TokenRows, found: Compared, measure: Measure) -> Fidelity:
        """How far `found` keeps `answers` to the texts of `rows`. Raises NotFiniteError, see `compare_answers`."""


class _OfTexts:
    """Of texts with one vector each."""

    needs_places = False

    def examples(
        self, examples: Sequence[Example], labels: Sequence[str], activation: Activation, path: Path
    ) -> list[Example]:
        return with_right_labels(examples, labels, activation, path)

    def owners(self, rows: TokenRows) -> Owners:
        return Owners.alone(len(rows.lengths))

    def compare(self, answers: Answers, rows: TokenRows, found: Compared, measure: Measure) -> Fidelity:
        return _compared(answers, found, measure)


class _OfTokens:
    """Of texts with a vector for each token, those that the tokenizer adds among them."""

    needs_places = True

    def examples(
        self, examples: Sequence[Example], labels: Sequence[str], activation: Activation, path: Path
    ) -> list[Example]:
        """Without the labels that a file may have of each text: they are not of its tokens."""
        if pairs := sum(isinstance(example.text, tuple) for example in examples):
            raise ConfigError(f"{path}: {pairs:,} rows are sentence pairs; tokens are labelled in single texts alone.")
        return [structs.replace(example, label=None) for example in examples]

    def owners(self, rows: TokenRows) -> Owners:
        added = [np.zeros(0, dtype=np.bool_), *(rows.places(row).added for row in range(len(rows.lengths)))]
        return Owners(len(rows.lengths), np.repeat(np.arange(len(rows.lengths)), rows.lengths), ~np.concatenate(added))

    def compare(self, answers: Answers, rows: TokenRows, found: Compared, measure: Measure) -> Fidelity:
        maker = EntityMaker(measure.labels, measure.tokenizer, unknown=None)

        def entities(logits: NDArray[np.float32]) -> list[list[Entity]]:
            stages = np.zeros(len(rows.lengths), dtype=np.uint8)
            answered = Answered(logits, stages, rows, bounds=bounds_of(rows.lengths))
            return maker.entities(answered, "simple", _OUTSIDE)

        fidelity = _compared(answers, found, measure, told=_Teller(answers, found.logits, rows, measure.labels))
        theirs, ours = entities(answers.logits), entities(found.logits)
        both = sum(len(_places(one) & _places(other)) for one, other in zip(theirs, ours, strict=True))
        decides = answers.owners.decides
        tokens = TokenFidelity(
            tokens=int(decides.sum()),
            changed=int((answers.changed_vectors(found.logits) & decides).sum()),
            entities=sum(map(len, theirs)),
            found=sum(map(len, ours)),
            equal=both,
        )
        return structs.replace(fidelity, tokens=tokens)


def _compared(answers: Answers, found: Compared, measure: Measure, told: _Teller | None = None) -> Fidelity:
    return compare_answers(
        answers,
        found.logits,
        measure.examples,
        measure.labels,
        sample=measure.sample,
        budget=measure.budget,
        speed=found.speed,
        torch=found.torch,
        name=found.name,
        told=told,
    )


@dataclass(frozen=True, slots=True)
class _Teller:
    """Says what the tokens of a text are labelled by which two answers differ."""

    answers: Answers
    found: NDArray[np.float32]
    rows: TokenRows
    labels: Sequence[str]

    def __call__(self, logits: NDArray[np.float32], text: int) -> str:
        owners = self.answers.owners
        mine = slice(*np.searchsorted(owners.of, [text, text + 1]).tolist())
        spans, source = self.rows.places(text).spans, whole_text(self.rows.texts[text])
        differ = self.answers.logits[mine].argmax(axis=1) != self.found[mine].argmax(axis=1)
        places = np.flatnonzero(differ & owners.decides[mine])
        best = logits[mine].argmax(axis=1)
        told = [f"{source[slice(*spans[place])]}: {self.labels[best[place]]}" for place in places[:_SHOWN].tolist()]
        return ", ".join(told) + (", …" if len(places) > _SHOWN else "")


def _places(entities: Sequence[Entity]) -> set[tuple[str, int, int]]:
    return {(entity.label, entity.start, entity.end) for entity in entities}


COMPARISONS: Final[dict[Task, Comparison]] = {
    "text-classification": _OfTexts(),
    "token-classification": _OfTokens(),
}
"""By the name of the task."""
