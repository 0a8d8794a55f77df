"""What a service's answers were: by label and by stage, how sure, and of which texts the model read a part alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from onnxpress.answers.answered import Answered
from onnxpress.artifacts.cascade_record import Cascade
from onnxpress.serving.histogram import Buckets, Histogram
from onnxpress.tasks.task import Task
from onnxpress.watching.stage_shares import StageWatch

__all__ = ["MOST_LABELS", "OTHER_LABELS", "AnswerMetrics", "AnswerRecorder"]

MOST_LABELS: Final = 200
"""Labels that are counted by name; a series for each of thousands is more than what stores metrics wants."""

OTHER_LABELS: Final = "__other__"

_SCORES: Final = (*(step / 20 for step in range(1, 20)), 0.99, 0.999, 1.0)
_SIZES: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
_VALUES: Final = (*(-size for size in reversed(_SIZES)), 0.0, *_SIZES)
_MARGINS: Final = (0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0)
_MOST_MARGIN: Final = 100.0
_AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerMetrics:
    """What the answers were, until one moment.

    Attributes:
        labels: Answers by their best label, or their tokens by theirs; those of the labels behind the first 200
            together, as "__other__". Empty for a regression.
        stages: Answers by the stage that gave them: where int8 leaves to fp32 what it is not sure of, fp32's were run
            again.
        scores: The best label's score, of a text's tokens the smallest; of a regression, the largest of its values.
        margins: How far an answer is from another one, in logits; 100 for what is farther. Empty for a regression.
        cut: Texts of which the model read a part alone, since they have more tokens than it takes.
        in_windows: Texts that it read in several windows.
        stages_outside: Stages that answered another share of the latest thousand texts than the export certified.
    """

    labels: dict[str, int]
    stages: dict[str, int]
    scores: Histogram
    margins: Histogram
    cut: int
    in_windows: int
    stages_outside: int


@dataclass(slots=True)
class AnswerRecorder:
    """Counts answers; one thread at a time.

    A batch of a service has few rows, for which arrays are slow: answers are kept until some hundred are there, or
    somebody asks.
    """

    labels: Sequence[str]
    stages: Sequence[str]
    task: Task
    certified: Cascade | None = None
    _watch: StageWatch = field(init=False)
    _waiting: list[Answered] = field(default_factory=list, init=False)
    _rows: int = field(default=0, init=False)
    _best: NDArray[np.int64] = field(init=False)
    _by_stage: list[int] = field(init=False)
    _scores: Buckets = field(init=False)
    _margins: Buckets = field(init=False)
    _cut: int = field(default=0, init=False)
    _in_windows: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._best = np.zeros(len(self.labels), dtype=np.int64)
        self._by_stage = [0] * len(self.stages)
        self._watch = StageWatch(self.certified, self.stages)
        self._scores = Buckets(_VALUES if self.task.decision.activation == "identity" else _SCORES)
        self._margins = Buckets(_MARGINS)

    def add(self, answered: Answered) -> tuple[str, ...]:
        """Count the answers of a run; what is to be warned of now."""
        counts = [0] * len(self.stages)
        for stage in answered.stages.tolist():
            counts[stage] += 1
        self._by_stage = [before + count for before, count in zip(self._by_stage, counts, strict=True)]
        self._cut += int(answered.cut().sum())
        self._in_windows += int(answered.in_windows().sum())
        if len(answered):
            self._waiting.append(answered)
        self._rows += len(answered)
        if self._rows >= _AT_ONCE:
            self._look()
        return self._watch.add(counts)

    def metrics(self) -> AnswerMetrics:
        """All of it."""
        self._look()
        counts: Counter[str] = Counter()
        if self.task.decision.activation != "identity":
            for place, (label, count) in enumerate(zip(self.labels, self._best.tolist(), strict=True)):
                counts[label if place < MOST_LABELS else OTHER_LABELS] += count
        return AnswerMetrics(
            labels=dict(counts),
            stages=dict(zip(self.stages, self._by_stage, strict=True)),
            scores=self._scores.histogram(),
            margins=self._margins.histogram(),
            cut=self._cut,
            in_windows=self._in_windows,
            stages_outside=len(self._watch.outside),
        )

    def _look(self) -> None:
        if not self._rows:
            return
        seen = self.task.seen(self._waiting)
        self._waiting, self._rows = [], 0
        self._scores.add_all(seen.scores.max(axis=0))
        if seen.best is not None:
            self._best += np.bincount(seen.best, minlength=len(self._best))
        if seen.margins is not None:
            self._margins.add_all(np.minimum(seen.margins, _MOST_MARGIN))
