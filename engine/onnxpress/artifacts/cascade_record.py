"""Texts that a fast precision is not sure of are answered again by fp32: what is recorded of it."""

from __future__ import annotations

import math
from typing import Final, Literal

import msgspec

__all__ = ["FIRST_STAGE_NAME", "Cascade", "CascadeChanged", "CascadePoint", "Stage", "describe"]

FIRST_STAGE_NAME: Final = "first_stage.npy"
"""The file that holds the first stage."""

Stage = Literal["first", "int8", "fp32"]

_ORDER = ("first", "int8", "fp32")
_SUM_TOLERANCE = 1e-6


class CascadeChanged(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many answers the cascade changed from fp32's, on texts that its making never saw.

    Attributes:
        texts: How many there were.
        changed: Texts with another answer.
        upper_95: The share that is not exceeded with 95 % confidence (Clopper and Pearson, one-sided).
        alone: Texts with another answer where int8 answers all of them, or the first stage where there is no int8.
    """

    texts: int
    changed: int
    upper_95: float
    alone: int


class CascadePoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one threshold would do, on the texts of the search.

    Attributes:
        threshold: The margin from which an answer is kept.
        again: Share of texts answered again.
        changed: Share of texts with another answer after that.
        expected: The share that the noise that was seen would change on average.
        speed: How many times as fast as fp32, by the operators' time.
    """

    threshold: float
    again: float
    changed: float
    expected: float
    speed: float


class Cascade(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Stages that a text goes through until one of them is sure of it.

    Attributes:
        stages: In order; the last one answers whatever reaches it.
        thresholds: Of each stage but the last: the margin (`Decision.margins`) from which its answer is kept.
        answered: Share of the unseen texts that each stage answers.
        changed: What that does to the answers.
        taught: Texts that the first stage was taught on; 0 without one.
        seen_again: Share of the texts of the search that were answered again.
        score_difference: Largest difference of a score from fp32's, of the unseen texts that are not answered again.
        score_difference_999: The same of 99.9 % of these scores.
        points: What other thresholds would do, ascending.
    """

    stages: tuple[Stage, ...]
    thresholds: dict[str, float]
    answered: dict[str, float]
    changed: CascadeChanged
    taught: int = 0
    seen_again: float = 0.0
    score_difference: float = 0.0
    score_difference_999: float = 0.0
    points: tuple[CascadePoint, ...] = ()

    def __post_init__(self) -> None:
        if len(self.stages) < 2 or self.stages[-1] != "fp32" or list(self.stages) != _ordered(self.stages):
            raise ValueError(f"stages of a cascade must be some of {', '.join(_ORDER)} in this order, fp32 the last")
        if set(self.thresholds) != set(self.stages[:-1]):
            wanted = ", ".join(self.stages[:-1])
            raise ValueError(
                f"a cascade must have a threshold for {wanted}, got {', '.join(self.thresholds) or 'none'}"
            )
        for stage, threshold in self.thresholds.items():
            if not 0 <= threshold < math.inf:  # NaN is in no order
                raise ValueError(f"the threshold of {stage} must be a finite number of at least 0, got {threshold}")
        shares = self.answered.values()
        if set(self.answered) != set(self.stages) or not all(0 <= share <= 1 for share in shares):
            raise ValueError("a cascade must say which share of the texts each stage answers, from 0 to 1")
        if abs(sum(shares) - 1) > _SUM_TOLERANCE:
            raise ValueError(f"the shares that a cascade's stages answer must sum to 1, got {sum(shares)}")
        found = self.changed
        if not 0 <= found.changed <= found.texts or found.texts < 1 or not 0 <= found.upper_95 <= 1:
            raise ValueError(f"{found.changed} of {found.texts} texts changed, at most {found.upper_95}: no such share")


def describe(cascade: Cascade) -> str:
    """The main line of it."""
    found = cascade.changed
    easy, again = "", "fp32 answers again what comes from int8 below a margin of"
    if "first" in cascade.stages:
        easy = (
            f"the first stage, taught on {cascade.taught:,} texts, answers {cascade.answered['first']:.1%}, from a "
            f"margin of {cascade.thresholds['first']:.3g} on; "
        )
    limit = cascade.thresholds.get("int8")
    rest = "fp32 answers the others" if limit is None else f"{again} {limit:.3g}"
    seen = "" if limit is None else f" (seen: {cascade.seen_again:.2%})"
    return (
        f"{easy}{rest}: {cascade.answered['fp32']:.2%} of {found.texts:,} unseen texts{seen}; {found.changed} changed "
        f"instead of {found.alone}, at most {found.upper_95:.2%} with 95 % confidence; other scores move by up to "
        f"{cascade.score_difference:.2g} (99.9 % of them by {cascade.score_difference_999:.2g})"
    )


def _ordered(stages: tuple[Stage, ...]) -> list[str]:
    return [stage for stage in _ORDER if stage in stages]
