"""Do the stages of a cascade answer the shares of the texts that the export certified?

How many answers a cascade changes was counted on texts of the export's sample. Where a stage answers another share of
today's texts, these are others, and that count says nothing of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from onnxpress.answers.budget import clopper_pearson
from onnxpress.artifacts.cascade_record import Cascade

__all__ = ["CONFIDENCE", "WINDOW", "StageWatch", "unusual_shares"]

CONFIDENCE: Final = 0.999
"""Of each interval: a warning is about texts, not about chance."""

WINDOW: Final = 1_000
"""Texts that a `StageWatch` looks at together."""


def unusual_shares(certified: Cascade | None, answered: Mapping[str, int]) -> tuple[str, ...]:
    """A sentence for each stage whose share of the texts has left the range that was certified.

    The range is the exact interval of the share of the certified texts; the share now has an interval too, and is
    outside where both have nothing in common.

    Args:
        certified: The artifact's cascade; None where it has none.
        answered: Texts that each stage has answered, by its name. Where other stages run than those of the cascade, as
            without the first one, nothing was certified.
    """
    texts = sum(answered.values())
    if certified is None or not texts or not _are_those(certified, list(answered)):
        return ()
    found = []
    for stage, count in answered.items():
        total = certified.changed.texts
        low, high = clopper_pearson(round(certified.answered[stage] * total), total, CONFIDENCE)
        least, most = clopper_pearson(count, texts, CONFIDENCE)
        if least > high or most < low:
            found.append(
                f"the stage {stage} answered {count / texts:.2%} of {texts:,} texts, where {low:.2%} to {high:.2%} "
                f"were certified on {total:,}: these are other texts than those of the export, and what it proved does "
                "not hold for them. Compare them with `onnxpress drift`, or export again with a sample of them."
            )
    return tuple(found)


@dataclass(slots=True)
class StageWatch:
    """Looks at the stages of a service's answers, WINDOW texts at a time; one thread at a time.

    Attributes:
        certified: The artifact's cascade; None where there is none.
        stages: Names of the stages that run.
        outside: What `unusual_shares` told of the last whole window.
    """

    certified: Cascade | None
    stages: Sequence[str]
    outside: tuple[str, ...] = ()
    _counts: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self._counts = [0] * len(self.stages)

    def add(self, counts: Sequence[int]) -> tuple[str, ...]:
        """Count texts by the stage that answered them; what is to be warned of now that was not a window before."""
        self._counts = [one + other for one, other in zip(self._counts, counts, strict=True)]
        if sum(self._counts) < WINDOW:
            return ()
        before, self.outside = (
            self.outside,
            unusual_shares(self.certified, dict(zip(self.stages, self._counts, strict=True))),
        )
        self._counts = [0] * len(self.stages)
        return () if before else self.outside


def _are_those(certified: Cascade, stages: Sequence[str]) -> bool:
    """Whether `stages` are the cascade's, but for those behind that answered nothing."""
    rest = certified.stages[len(stages) :]
    return certified.stages[: len(stages)] == tuple(stages) and not any(certified.answered[name] for name in rest)
