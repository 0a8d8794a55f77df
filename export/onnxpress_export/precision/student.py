"""A first stage, taught by the model's own answers.

A text's tokens and pairs of tokens are looked up in tables, which are learned together with the matrix behind them:
fastText's classifier, with soft targets in place of labels. What no taught text holds stays 0 in the tables: an unknown
word adds nothing and is counted all the same, so that a text of many unknown words is sure of nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from onnxpress.running.first_stage import Tables, features_of, most_rows

__all__ = ["Lesson", "teach"]

_TOKEN_ROWS: Final = 2**16
_BATCH: Final = 256
_RATE: Final = 0.02
_SPREAD: Final = 0.1
_SEED: Final = 20_240_229


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """How a first stage is taught.

    Attributes:
        width: Columns of the tables, at most 256.
        pair_rows: Rows of the table of pairs, at least 1.
        epochs: How often each text is shown.
        hidden: Share of a text's tokens and pairs that are hidden at each step, for new texts hold some that none
            taught.
    """

    width: int = 64
    pair_rows: int = 2**17
    epochs: int = 12
    hidden: float = 0.3


def teach(
    texts: Sequence[NDArray[np.int32]],
    logits: NDArray[np.float32],
    *,
    vocabulary: int,
    activation: Literal["softmax", "sigmoid"],
    lesson: Lesson = Lesson(),
) -> Tables:
    """Tables that answer `texts` nearly as the model does. The same for the same input, on the same machine.

    Args:
        texts: Token ids of each text.
        logits: The model's, float32 [texts, labels].
        vocabulary: Token ids that there are.
        activation: What makes scores of logits.
        lesson: How.
    """
    generator = torch.Generator().manual_seed(_SEED)
    tokens = min(vocabulary, _TOKEN_ROWS)
    room = most_rows(width=lesson.width, labels=logits.shape[1]) - tokens
    bags = _Bags(texts, tokens=tokens, pairs=max(1, min(lesson.pair_rows, room)))
    wanted = torch.from_numpy(logits)
    targets = wanted.softmax(1) if activation == "softmax" else wanted.sigmoid()
    loss_of = cross_entropy if activation == "softmax" else binary_cross_entropy_with_logits
    table = nn.Parameter(torch.randn(len(bags.rows), lesson.width, generator=generator) * _SPREAD)
    weights = nn.Parameter(torch.randn(lesson.width, logits.shape[1], generator=generator) / lesson.width**0.5)
    bias = nn.Parameter(torch.zeros(logits.shape[1]))
    optimizer = torch.optim.Adam([table, weights, bias], lr=_RATE)
    steps = lesson.epochs * -(-len(texts) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
    for _ in range(lesson.epochs):
        for batch in torch.split(torch.randperm(len(texts), generator=generator), _BATCH):
            features, starts, counts = bags.some(batch.numpy())
            shown = (torch.rand(len(features), generator=generator) >= lesson.hidden) / (1 - lesson.hidden)
            sums = nn.functional.embedding_bag(features, table, starts, mode="sum", per_sample_weights=shown)
            loss = loss_of((sums / counts[:, None]) @ weights + bias, targets[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return _whole(bags, *(part.detach().numpy().astype(np.float64) for part in (table, weights, bias)))


class _Bags:
    """The rows of the tables that each text looks up, numbered among those that any looks up."""

    def __init__(self, texts: Sequence[NDArray[np.int32]], *, tokens: int, pairs: int) -> None:
        self.tokens, self.pairs = tokens, pairs
        lengths = np.array([len(ids) for ids in texts], dtype=np.int64)
        of_tokens, of_pairs = features_of(np.concatenate(texts), lengths, tokens=tokens, pairs=pairs)
        both = np.stack([of_tokens, of_pairs + tokens], axis=1).ravel()
        self.rows, self._features = np.unique(both, return_inverse=True)
        self._counts = 2 * lengths
        self._starts = np.cumsum(self._counts) - self._counts

    def some(self, texts: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of `texts`: rows one text after the other, where each text's begin, and how many it has."""
        counts = self._counts[texts]
        starts = np.cumsum(counts) - counts
        places = np.repeat(self._starts[texts] - starts, counts) + np.arange(int(counts.sum()))
        found = (self._features[places], starts, counts)
        return torch.from_numpy(found[0]), torch.from_numpy(found[1]), torch.from_numpy(found[2])


def _whole(bags: _Bags, table: NDArray[np.float64], weights: NDArray[np.float64], bias: NDArray[np.float64]) -> Tables:
    """What was learned, in whole numbers: each column of the table in its own steps, which the weights make good."""
    steps = np.maximum(np.abs(table).max(axis=0), np.finfo(np.float32).tiny) / 127
    both = np.zeros((bags.tokens + bags.pairs, len(steps)), dtype=np.int8)
    both[bags.rows] = np.rint(table / steps)
    scaled = weights * steps[:, None]
    scales = np.maximum(np.abs(scaled).max(axis=0), np.finfo(np.float32).tiny) / 32_767
    return Tables(
        tokens=both[: bags.tokens],
        pairs=both[bags.tokens :],
        weights=np.rint(scaled / scales).astype(np.int16),
        scales=scales.astype(np.float32),
        bias=bias.astype(np.float32),
    )
