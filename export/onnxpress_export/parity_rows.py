"""The rows on which a graph is compared with torch: what the tokenizer makes of text, beside random tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from onnxpress.generic import generic_examples
from onnxpress_export.checkpoint import Checkpoint
from onnxpress_export.model_inputs import ending_token, ordinary_tokens

__all__ = ["Case", "Inputs", "RowSource", "padded_by", "parity_cases", "parity_inputs"]

Inputs = dict[str, NDArray[np.int64]]

_LENGTHS: Final = (1, 7, 33, 130, 512)
_BATCHES: Final = (1, 5)
_MOST_TOKENS: Final = 2_560
_LONGEST: Final = 2_048
_MOST_SCORES: Final = 2**26
"""Scores of one attention in one run, 256 MB of float32: what an attention that is not fused needs several times."""

_OTHER_TEXTS: Final = (
    "İstanbul, naïve CAFÉ, Straße — 50 % off!", "東京で会いましょう。", "привет, как дела?", "👍🏽 so good 🎉🎉",
    "a  b   c", "https://example.org/a?b=c#d", "x = [i**2 for i in range(10)]", "3.14159 1,000,000 2024-02-29",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """Rows of one shape.

    Attributes:
        batch: Rows.
        sequence: Tokens of the longest.
        padded: Whether the others are shorter.
        rows: Random tokens, or texts and sentence pairs as the tokenizer encodes them.
    """

    batch: int
    sequence: int
    padded: bool
    rows: Literal["random", "text"]


def parity_cases(max_length: int, heads: int) -> tuple[Case, ...]:
    """Batch sizes and lengths up to `max_length`, or to what keeps memory and time within fixed bounds.

    An attention of `heads` needs heads · length² scores, so the longest row is chosen by them: an export never needs
    more for a model that takes 40,000 tokens than for one that takes 2,000.
    """
    longest = min(max_length, _LONGEST, max(1, math.isqrt(_MOST_SCORES // heads)))
    lengths = [length for length in _LENGTHS if length < longest] + [longest]
    return tuple(
        Case(batch, length, padded, rows)
        for padded in (True, False)
        for rows in ("random", "text")
        for length in lengths
        for batch in _BATCHES
        if batch == 1 or (batch * length <= _MOST_TOKENS and batch * heads * length**2 <= _MOST_SCORES)
    )  # fmt: skip


class RowSource:
    """What rows are made of.

    Attributes:
        checkpoint: Whose rows.
        tokens: Its `ordinary_tokens`: to find them takes longer than a row, for vocabularies of hundreds of thousands.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.tokens = ordinary_tokens(checkpoint.model, checkpoint.tokenizer)


def parity_inputs(source: RowSource, case: Case, generator: np.random.Generator) -> Inputs:
    """What the graphs and torch are given: int64 [rows, sequence] by input name, padded on the tokenizer's side.

    Where the tokenizer makes shorter rows than the case asks for, the arrays are that much smaller.
    """
    lengths = np.full(case.batch, case.sequence)
    if case.padded:
        lengths[1:] = generator.integers(1, case.sequence + 1, case.batch - 1)
    make = _random_row if case.rows == "random" else _text_row
    rows = [make(source, int(length), index % 2 == 1, generator) for index, length in enumerate(lengths)]
    if not case.padded:
        rows = [row for row in rows if len(row[0]) == len(rows[0][0])]
    return _as_arrays(source.checkpoint, rows)


def padded_by(checkpoint: Checkpoint, inputs: Inputs, count: int) -> Inputs:
    """`inputs` with `count` more tokens of padding on the tokenizer's side."""
    tokenizer = checkpoint.tokenizer
    widths = ((0, 0), (count, 0) if tokenizer.padding_side == "left" else (0, count))
    blanks = {"input_ids": int(tokenizer.pad_token_id or 0)}
    return {name: np.pad(values, widths, constant_values=blanks.get(name, 0)) for name, values in inputs.items()}


_Row = tuple[Sequence[int], Sequence[int]]
"""Token ids and token types."""


def _random_row(source: RowSource, length: int, _: bool, generator: np.random.Generator) -> _Row:
    tokens = generator.choice(source.tokens, length)
    if (end := ending_token(source.checkpoint.model)) is not None:
        tokens[-1] = end
    return tokens.tolist(), generator.integers(0, _token_types(source.checkpoint), length).tolist()


def _text_row(source: RowSource, length: int, is_pair: bool, generator: np.random.Generator) -> _Row:
    """A text of `length` tokens, special ones included; of fewer where it cannot have so few."""
    checkpoint = source.checkpoint
    tokenizer: Any = checkpoint.tokenizer
    least = tokenizer.num_special_tokens_to_add(pair=is_pair) + 2
    if length < least:
        is_pair, length = False, max(length, tokenizer.num_special_tokens_to_add(pair=False) + 1)
    start, count = int(generator.integers(0, len(_texts()))), max(2, length // 2)
    words = [_texts()[(start + index) % len(_texts())] for index in range(count)]
    texts = (" ".join(words[::2]), " ".join(words[1::2])) if is_pair else (" ".join(words),)
    encoded = tokenizer(*texts, truncation=True, max_length=length)
    ids: list[int] = encoded["input_ids"]
    kinds: list[int] = encoded.get("token_type_ids", [0] * len(ids))
    if is_pair and "token_type_ids" in checkpoint.input_names and max(kinds) >= _token_types(checkpoint):
        return _text_row(source, length, False, generator)  # torch itself takes no pair
    return ids, kinds


def _token_types(checkpoint: Checkpoint) -> int:
    return getattr(checkpoint.model.config, "type_vocab_size", 1) or 1


@cache
def _texts() -> tuple[str, ...]:
    plain = [example.text for example in generic_examples() if isinstance(example.text, str)]
    return tuple(text for index, one in enumerate(plain) for text in (one, _OTHER_TEXTS[index % len(_OTHER_TEXTS)]))


def _as_arrays(checkpoint: Checkpoint, rows: Sequence[_Row]) -> Inputs:
    tokenizer = checkpoint.tokenizer
    longest = max(len(ids) for ids, _ in rows)

    def filled(columns: Sequence[Sequence[int]], blank: int) -> NDArray[np.int64]:
        padded = np.full((len(rows), longest), blank, dtype=np.int64)
        for row, column in zip(padded, columns, strict=True):
            row[longest - len(column) if tokenizer.padding_side == "left" else 0 :][: len(column)] = column
        return padded

    return {
        "input_ids": filled([ids for ids, _ in rows], int(tokenizer.pad_token_id or 0)),
        "attention_mask": filled([[1] * len(ids) for ids, _ in rows], 0),
        "token_type_ids": filled([types for _, types in rows], 0),
    }
