"""What some texts' answers were, as whole numbers: of parts of a job they add up exactly, in any order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import reduce
from operator import add

import msgspec

__all__ = ["Bins", "Counts", "summed"]

Bins = dict[int, int]
"""How many values lie in each bin, by its number; none that is empty."""


class Counts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often.

    Attributes:
        texts: Texts answered.
        labels: Texts by their best label's number; empty for a regression.
        scores: Texts by the best label's score; of a regression, by the value of each output.
        margins: Texts by how far they are from another answer; empty for a regression.
        lengths: Texts by their tokens.
        unknown_shares: Texts by the share of unknown tokens; empty where the tokenizer knows everything.
        tokens: Tokens of all texts.
        unknown_tokens: Those among them that are unknown.
        cut: Texts that lost tokens.
        in_windows: Texts that were read in windows.
        answered: Texts by the stage that answered them.
    """

    texts: int = 0
    labels: Bins = {}
    scores: tuple[Bins, ...] = ()
    margins: Bins = {}
    lengths: Bins = {}
    unknown_shares: Bins = {}
    tokens: int = 0
    unknown_tokens: int = 0
    cut: int = 0
    in_windows: int = 0
    answered: dict[str, int] = {}

    def __add__(self, other: Counts) -> Counts:
        outputs = max(len(self.scores), len(other.scores))
        both = [(*counts.scores, *({} for _ in range(outputs - len(counts.scores)))) for counts in (self, other)]
        return Counts(
            texts=self.texts + other.texts,
            labels=_both(self.labels, other.labels),
            scores=tuple(_both(one, two) for one, two in zip(*both, strict=True)),
            margins=_both(self.margins, other.margins),
            lengths=_both(self.lengths, other.lengths),
            unknown_shares=_both(self.unknown_shares, other.unknown_shares),
            tokens=self.tokens + other.tokens,
            unknown_tokens=self.unknown_tokens + other.unknown_tokens,
            cut=self.cut + other.cut,
            in_windows=self.in_windows + other.in_windows,
            answered={
                stage: self.answered.get(stage, 0) + other.answered.get(stage, 0)
                for stage in self.answered | other.answered
            },
        )


def summed(counts: Iterable[Counts]) -> Counts:
    """All of them together."""
    return reduce(add, counts, Counts())


def _both(one: Bins, two: Bins) -> Bins:
    total = Counter(one) + Counter(two)
    return {place: total[place] for place in sorted(total)}
