"""How far a model's scores are the shares of right answers, as it is recorded."""

from __future__ import annotations

import math

import msgspec

__all__ = ["Calibration", "Reliability", "ReliabilityBin", "describe_reliability"]


class ReliabilityBin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Decisions of about the same confidence.

    Attributes:
        decisions: How many.
        confidence: Their mean confidence; 0 without any.
        right: The share of them that are right; 0 without any.
    """

    decisions: int
    confidence: float
    right: float


class Reliability(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often a model is right, beside how sure it says it is, on labelled texts that no choice saw.

    A text is one decision, of the best label, whose score is the confidence. With many labels each label of each text
    is one: that it is there, from a score of one half on, or that it is not; its confidence is the score of that.

    Attributes:
        texts: How many there were.
        decisions: How many were made on them.
        error: The expected calibration error: how far confidence and the share of right decisions lie apart, the mean
            over bins weighted by their decisions.
        log_loss: The mean negative logarithm of what the right labels were given.
        right: Decisions that are right.
        confidence_right, confidence_wrong: Mean confidence of right and of wrong decisions; None without any.
        surely_wrong: Wrong decisions with a confidence of at least 0.9.
        bins: Of equal width, from confidence 0 to 1.
    """

    texts: int
    decisions: int
    error: float
    log_loss: float
    right: int
    confidence_right: float | None
    confidence_wrong: float | None
    surely_wrong: int
    bins: tuple[ReliabilityBin, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.right <= self.decisions or not 0 <= self.error <= 1 or not math.isfinite(self.log_loss):
            raise ValueError(
                f"{self.right} of {self.decisions} decisions right, an error of {self.error}: no such share"
            )


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One number by which all logits are divided before scores are made of them.

    Attributes:
        temperature: That number.
        fitted: Labelled texts that it was found on.
        reliability: What it makes of the scores, on the texts of the manifest's `reliability`.
    """

    temperature: float
    fitted: int
    reliability: Reliability

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:  # NaN is in no order
            raise ValueError(f"a temperature must be a finite number above 0, got {self.temperature}")


def describe_reliability(found: Reliability, calibration: Calibration | None) -> str:
    """The main line of it."""
    now, before, unsure = found, "", ""
    if calibration is not None:
        now, before = (
            calibration.reliability,
            f" ({found.error:.2%} without the temperature of {calibration.temperature:.3g})",
        )
    if now.confidence_wrong is not None:
        unsure = f", sure of them by {now.confidence_wrong:.1%} on average"
    return (
        f"expected calibration error {now.error:.2%}{before} on {found.texts:,} unseen texts; "
        f"{now.decisions - now.right:,} of {now.decisions:,} decisions wrong{unsure}, {now.surely_wrong:,} "
        "from a score of 0.9 on"
    )
