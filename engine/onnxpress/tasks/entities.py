"""Labels of tokens to entities: where they are made.

Each step is that of transformers' `TokenClassificationPipeline`, whose entities these are, one for one: tokens become
words where words are asked for, neighbours of one label become an entity, and of entities of two windows that overlap
the longer one stays. What differs: a label is parted at a hyphen only where one letter stands before it, as in B-PER;
others are taken as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from onnxpress.answers.answered import Answered
from onnxpress.answers.predictions import activate
from onnxpress.inputs.encoder import TokenRows
from onnxpress.inputs.texts import whole_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Aggregation", "Entity", "EntityMaker", "answering_tokens"]

Aggregation = Literal["none", "simple", "first", "average", "max"]
"""What becomes an entity: each token ("none"); neighbours of one label ("simple"); or neighbouring words of one label,
a word having that of its first token, of its tokens' scores on average, or of its surest token."""

_SPACE: Final = ord(" ")


@dataclass(frozen=True, slots=True)
class Entity:
    """A part of a text that has a label.

    Attributes:
        label: What it is, without the B- or I- of the model's label; with it where each token is an entity.
        score: A probability: of its tokens or words on average.
        start: The character of the text that it begins with.
        end: The character behind its last.
        text: Those characters.
    """

    label: str
    score: float
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class _Units:
    """Tokens, words or entities of several rows, in order.

    Attributes:
        labels: Number of each one's label, intp [units].
        scores: float32 [units].
        spans: The characters that each begins and ends with, int32 [units, 2].
        rows: The row of each, intp [units].
    """

    labels: NDArray[np.intp]
    scores: NDArray[np.float32]
    spans: NDArray[np.int32]
    rows: NDArray[np.intp]

    def only(self, kept: NDArray[np.bool_]) -> _Units:
        return _Units(self.labels[kept], self.scores[kept], self.spans[kept], self.rows[kept])


@dataclass(frozen=True, slots=True)
class _Tokens:
    """The texts' own tokens, row after row.

    Attributes:
        ids: int32 [tokens].
        scores: Of each label, float32 [tokens, labels].
        spans: The characters that each begins and ends with, int32 [tokens, 2].
        rows: The row of each, intp [tokens].
    """

    ids: NDArray[np.int32]
    scores: NDArray[np.float32]
    spans: NDArray[np.int32]
    rows: NDArray[np.intp]

    def units(self) -> _Units:
        """Each with its best label."""
        best = self.scores.argmax(axis=-1)
        return _Units(best, self.scores[np.arange(len(best)), best], self.spans, self.rows)

    def words(self, begins: NDArray[np.intp], aggregation: Aggregation) -> _Units:
        """Words, which begin with the tokens at `begins`, each with the label that `aggregation` gives it."""
        ends = np.append(begins[1:], len(self.ids)) - 1
        if aggregation == "first":
            scores = self.scores[begins]
        elif aggregation == "average":
            sums = np.add.reduceat(self.scores, begins)
            scores = (sums / (ends - begins + 1)[:, None]).astype(np.float32)
        else:
            surest = self.scores.max(axis=-1)
            highest = np.repeat(np.maximum.reduceat(surest, begins), ends - begins + 1)
            places = np.where(surest == highest, np.arange(len(surest)), len(surest))
            scores = self.scores[np.minimum.reduceat(places, begins)]
        best = scores.argmax(axis=-1)
        spans = np.stack([self.spans[begins, 0], self.spans[ends, 1]], axis=1)
        return _Units(best, scores[np.arange(len(best)), best], spans, self.rows[begins])


class EntityMaker:
    """Makes entities of what a model of `labels` answers. Safe to share between threads."""

    def __init__(self, labels: Sequence[str], tokenizer: Tokenizer, unknown: int | None) -> None:
        """Make one for texts of `tokenizer`, which writes `unknown` for what it does not know; it is not changed."""
        self._labels = tuple(labels)
        self._names = tuple(map(_name_of, labels))
        kinds = [label[2:] if label[:2] in ("B-", "I-") else label for label in labels]
        self._kinds = np.array([kinds.index(kind) for kind in kinds], dtype=np.intp)
        self._begins = np.array([label.startswith("B-") for label in labels], dtype=np.bool_)
        self._tokenizer = tokenizer
        self._unknown = unknown

    def entities(self, answered: Answered, aggregation: Aggregation, ignored: Collection[str]) -> list[list[Entity]]:
        """The entities of each text, in order, without those whose label is one of `ignored`."""
        rows = answered.rows
        texts = np.arange(len(answered)) if answered.repeats is None else answered.repeats
        which, starts = rows.rows_of(texts)
        found: list[list[Entity]] = [[] for _ in texts]
        if not len(which):
            return found
        text_of = (
            np.arange(len(which))
            if starts is None
            else np.repeat(np.arange(len(texts)), np.diff(starts, append=len(which)))
        )
        sources = [whole_text(rows.texts[int(text)]) for text in texts]
        tokens = _tokens(rows, texts, which, answered.logits, chosen=aggregation == "none")
        if not len(tokens.ids):
            return found
        if aggregation in ("none", "simple"):
            units = tokens.units()
        else:
            units = tokens.words(self._word_begins(tokens, [sources[int(text)] for text in text_of]), aggregation)
        names = self._labels
        if aggregation != "none":
            units, names = self._grouped(units), self._names
        units = units.only(np.array([name not in ignored for name in names])[units.labels])
        for label, score, (start, end), row in zip(
            units.labels.tolist(), units.scores.tolist(), units.spans.tolist(), units.rows.tolist(), strict=True
        ):
            text = int(text_of[row])
            found[text].append(Entity(names[label], score, start, end, sources[text][start:end]))
        if starts is not None and aggregation != "none":
            for text in np.flatnonzero(np.diff(starts, append=len(which)) > 1).tolist():
                found[text] = _without_overlap(found[text])
        return found

    def _grouped(self, units: _Units) -> _Units:
        """Neighbours of one row and one kind of label, of which none but the first is a B-, with their mean score."""
        kinds = self._kinds[units.labels]
        new = np.ones(len(kinds), dtype=np.bool_)
        new[1:] = (kinds[1:] != kinds[:-1]) | self._begins[units.labels[1:]] | (units.rows[1:] != units.rows[:-1])
        begins = np.flatnonzero(new)
        ends = np.append(begins[1:], len(kinds)) - 1
        scores = np.add.reduceat(units.scores, begins) / (ends - begins + 1).astype(np.float32)
        spans = np.stack([units.spans[begins, 0], units.spans[ends, 1]], axis=1)
        return _Units(units.labels[begins], scores.astype(np.float32), spans, units.rows[begins])

    def _word_begins(self, tokens: _Tokens, sources: Sequence[str]) -> NDArray[np.intp]:
        """Places of the tokens that begin a word; `sources` are the texts by row.

        A tokenizer that marks what goes on with a word tells by the token's length, any other by spaces around it.
        """
        if self._marks_continuing:
            lengths = self._token_lengths[tokens.ids]
            goes_on = lengths != tokens.spans[:, 1] - tokens.spans[:, 0]
        else:
            goes_on = np.ones(len(tokens.ids), dtype=np.bool_)
            for row in np.unique(tokens.rows).tolist():
                mine = slice(*np.searchsorted(tokens.rows, [row, row + 1]).tolist())
                goes_on[mine] = ~_beside_space(sources[row], tokens.spans[mine, 0])
        if self._unknown is not None:
            goes_on &= tokens.ids != self._unknown
        goes_on[0] = False
        goes_on[1:] &= tokens.rows[1:] == tokens.rows[:-1]
        return np.flatnonzero(~goes_on)

    @cached_property
    def _marks_continuing(self) -> bool:
        return bool(getattr(self._tokenizer.model, "continuing_subword_prefix", None))

    @cached_property
    def _token_lengths(self) -> NDArray[np.int32]:
        """Characters of each token's own text, by its id."""
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        lengths = np.zeros(max(vocabulary.values(), default=0) + 1, dtype=np.int32)
        lengths[list(vocabulary.values())] = [len(token) for token in vocabulary]
        return lengths


def answering_tokens(rows: TokenRows, which: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which tokens of the rows `which` answer for their text where windows overlap, bool [vectors].

    Of a token that several windows hold, the one in which it is farthest from the edge; a text's own ends are none.
    What the tokenizer adds is kept before a text's first token and behind its last.
    """
    starts = set() if rows.starts is None else set(rows.starts.tolist())
    kept = []
    for row in which.tolist():
        added = rows.places(row).added
        is_first, is_last = not starts or row in starts, not starts or row + 1 in starts or row + 1 == len(rows.lengths)
        own = np.flatnonzero(~added)
        keeps = np.ones(len(added), dtype=np.bool_)
        if not (is_first and is_last) and len(own):
            before = 0 if is_first else rows.overlap  # own tokens that the window before holds too
            after = 0 if is_last else rows.overlap
            keeps[: own[0]], keeps[own[-1] + 1 :] = is_first, is_last
            # of n shared tokens, the first half, the middle one too, is nearer to the later window's edge
            keeps[own[: -(-before // 2)]] = False
            keeps[own[len(own) - after // 2 :]] = False
        kept.append(keeps)
    return np.concatenate([np.zeros(0, dtype=np.bool_), *kept])


def _tokens(
    rows: TokenRows, texts: NDArray[np.intp], which: NDArray[np.intp], logits: NDArray[np.float32], *, chosen: bool
) -> _Tokens:
    """The texts' own tokens; of those that several windows hold all, or the `chosen` one."""
    places = [rows.places(row) for row in which]
    own = ~np.concatenate([place.added for place in places])
    if chosen and rows.starts is not None:
        own &= answering_tokens(rows, which)
    return _Tokens(
        np.concatenate([rows.encodings[int(row)].ids for row in which])[own],
        activate(logits[own], "softmax"),
        np.concatenate([place.spans for place in places])[own],
        np.repeat(np.arange(len(which)), rows.lengths[which])[own],
    )


def _beside_space(text: str, starts: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether each of `starts` is the text's begin, or a space stands there or before it."""
    spaces = np.zeros(len(text) + 2, dtype=np.bool_)  # of the character before each place, and none behind the last
    spaces[1:-1] = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4") == _SPACE
    return np.asarray((starts == 0) | spaces[starts] | spaces[starts + 1])


def _without_overlap(entities: list[Entity]) -> list[Entity]:
    """Entities of several windows: of two that overlap the longer one, of equals the one with the higher score.

    The pipeline tells a first entity without width twice; here it stands once.
    """
    kept: list[Entity] = []
    for entity in sorted(entities, key=lambda found: found.start):
        if not kept or not kept[-1].start <= entity.start < kept[-1].end:
            kept.append(entity)
        elif (entity.end - entity.start, entity.score) > (kept[-1].end - kept[-1].start, kept[-1].score):
            kept[-1] = entity
    return kept


def _name_of(label: str) -> str:
    """The label without what tells its place in an entity, one letter and a hyphen."""
    return label[2:] if label[1:2] == "-" and label[0].isalpha() else label
