"""Which graph answers a text: the cheapest one that is sure enough of it.

A lower precision changes the answers of texts on which the model itself wavers: where the margin between the answer
and the next one is as small as the precision's noise. Keeping products in a higher precision for their sake makes
every text slower; running these few texts again in fp32 costs their own time alone. So each text begins at the first
stage, and leaves at the first one whose margin reaches the stage's threshold. The last stage keeps all that come to it.

What a text is answered by is decided by its own logits, never by its company, so that an answer stays the same, bit
for bit, alone and in any batch. Texts that go on are planned anew, all of a call together: there they share batches of
their length.

The thresholds come from the export, which measured on real text how far the noise reaches (`docs/precision.md`). A
normal distribution would not do: the largest flips lie beyond four standard deviations.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from onnxpress.answers.answered import Answered
from onnxpress.errors import RunError
from onnxpress.inputs.encoder import TokenRows
from onnxpress.inputs.vectors import Bounds, places_of
from onnxpress.running.first_stage import FirstStage
from onnxpress.running.planner import Bucket
from onnxpress.running.runner import Runner
from onnxpress.running.workers import Workers
from onnxpress.tasks.task import Task

__all__ = ["Cascade", "Running", "Stage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One way to answer.

    Attributes:
        name: "first", "int8", "fp16" or "fp32".
        runner: What computes its logits.
        leaves_at: A text whose margin is at least this is answered here; every text where it is minus infinity.
    """

    name: str
    runner: Runner | FirstStage
    leaves_at: float = -math.inf


class Cascade:
    """Stages, cheapest first. Safe to share between threads.

    Attributes:
        stages: At least one; the last answers every text that comes to it.
        task: What their answers are.
    """

    def __init__(self, stages: Sequence[Stage], task: Task) -> None:
        """Join `stages`: `task` says what a margin is, and what becomes of a text's windows."""
        self.stages = (*stages[:-1], replace(stages[-1], leaves_at=-math.inf))
        self.task = task
        self._answered = dict.fromkeys((stage.name for stage in stages), 0)
        self._lock = threading.Lock()

    @property
    def answered(self) -> dict[str, int]:
        """Texts that each stage has answered, by its name."""
        with self._lock:
            return dict(self._answered)

    def begin(self, rows: TokenRows, workers: Workers | None, batches_at_once: int) -> Running:
        """Begin to run tokenized texts: on `workers`, or here and now without them."""
        return Running(self, rows, workers, batches_at_once if workers else 1)

    def alone(self, number: int) -> Cascade:
        """The stage `number` by itself, which then answers every text, and counts them for itself."""
        return Cascade([self.stages[number]], self.task)

    def without_first(self) -> Cascade:
        """The stages that run the model itself, which count what they answer for themselves; this one where all do."""
        own = [stage for stage in self.stages if not isinstance(stage.runner, FirstStage)]
        if len(own) == len(self.stages):
            return self
        return Cascade(own, self.task)

    @property
    def main(self) -> Runner:
        """Runs the first stage that has a session: by its shapes services form batches, and its device is named."""
        return next(stage.runner for stage in self.stages if not isinstance(stage.runner, FirstStage))

    def close(self) -> None:
        """Free what the stages hold, which nothing may use any more."""
        for stage in self.stages:
            stage.runner.close()

    def unsure(
        self, stage: Stage, logits: NDArray[np.float32], rows: TokenRows, texts: NDArray[np.intp]
    ) -> NDArray[np.intp]:
        """Which of `texts` go on from `stage`, by their logits there, float32 [vectors, labels]; others are counted."""
        if stage.leaves_at == -math.inf:
            going = texts[:0]
        else:
            going = texts[~(self.task.margins(logits, rows, texts) >= stage.leaves_at)]  # a NaN goes on
        with self._lock:
            self._answered[stage.name] += len(texts) - len(going)
        return going


class Running:
    """Texts that run, stage after stage.

    Attributes:
        rows: The texts.
    """

    def __init__(self, cascade: Cascade, rows: TokenRows, workers: Workers | None, batches_at_once: int) -> None:
        """Begin with the first stage."""
        self._cascade = cascade
        self.rows = rows
        self._workers = workers
        self._batches_at_once = batches_at_once
        self._texts = np.arange(len(rows.lengths) if rows.starts is None else len(rows.starts))
        self._begin(0)

    def result(self) -> NDArray[np.float32]:
        """Logits of the texts, float32 [vectors, labels], once every stage has run. Raises as `answered` does."""
        return self.answered().logits

    def answered(self) -> Answered:
        """The texts with their logits, once every stage has run.

        Raises:
            RunError: A run failed, or the last stage's logits are not finite. Its index is that of a text.
        """
        task = self._cascade.task
        bounds = task.text_bounds(self.rows)
        total = len(self._texts) if bounds is None else int(bounds[-1])
        answers = np.empty((total, task.outputs), dtype=np.float32)
        answered_by = np.zeros(len(self._texts), dtype=np.uint8)
        for number, stage in enumerate(self._cascade.stages):
            if number:
                self._begin(number)
            self._wait()
            logits = task.joined(self._logits, self._starts)
            answers[places_of(self._texts, bounds)] = logits
            answered_by[self._texts] = number
            self._texts = self._cascade.unsure(stage, logits, self.rows, self._texts)
            if not len(self._texts):
                break
        _require_finite(answers, bounds)
        return Answered(answers, answered_by, self.rows, bounds=bounds)

    def cancel(self) -> None:
        """Do not run what has not begun."""
        for future in self._futures:
            future.cancel()

    def _begin(self, number: int) -> None:
        """Run the texts that are left on the stage `number`."""
        rows, task, runner = self.rows, self._cascade.task, self._cascade.stages[number].runner
        which, self._starts = rows.rows_of(self._texts)
        bounds = task.row_bounds(rows.lengths[which])
        total = len(which) if bounds is None else int(bounds[-1])
        logits = self._logits = np.empty((total, task.outputs), dtype=np.float32)

        def run(bucket: Bucket) -> None:
            place = replace(bucket, rows=which[bucket.rows])
            try:
                logits[places_of(bucket.rows, bounds)] = runner.run(rows, place)
            except RunError as error:
                raise error.placed(rows.text_of(int(place.rows[0]))) from error.__cause__

        buckets = runner.plan(rows.lengths[which], self._batches_at_once)
        self._futures: list[Future[None]] = []
        if self._workers is not None and len(buckets) > 1:
            self._futures = [self._workers.submit(partial(run, bucket), urgency=number) for bucket in buckets]
        else:
            for bucket in buckets:
                run(bucket)

    def _wait(self) -> None:
        try:
            for future in self._futures:
                future.result()
        except BaseException:
            self.cancel()
            raise


def _require_finite(logits: NDArray[np.float32], bounds: Bounds | None) -> None:
    finite = np.isfinite(logits).all(axis=1)
    if not finite.all():
        place = int(np.argmin(finite))
        text = place if bounds is None else int(np.searchsorted(bounds, place, side="right")) - 1
        found = ", ".join(f"{value:g}" for value in logits[place, :4])
        raise RunError(text, f"its logits are not finite ({found}). Load another precision, or export again.")
