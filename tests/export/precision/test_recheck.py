"""Thresholds: the least that keeps the budget, from the margins and the noise that were seen."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from onnxpress.answers.fidelity import Answers, Decision
from onnxpress_export.precision.int8 import fastest_with_recheck
from onnxpress_export.precision.recheck import after_recheck, keeps_budget, least_threshold, threshold_points
from tests.export.precision.test_search import Known


def noisy(
    decision: Decision, *, labels: int = 3, texts: int = 2_000, strength: float = 0.15
) -> tuple[Answers, np.ndarray]:
    generator = np.random.default_rng(8)
    logits = generator.normal(0, 2, (texts, labels)).astype(np.float32)
    noise = generator.standard_t(5, logits.shape) * strength
    return Answers(logits, decision), (logits + noise).astype(np.float32)


@pytest.mark.parametrize(
    "decision",
    [
        Decision("softmax"),
        Decision("sigmoid"),
        Decision("sigmoid", (0.9, 0.2, 0.5)),
        Decision("softmax", (0.6, 0.6, 0.6)),
    ],
)
@pytest.mark.parametrize("budget", [0.0, 0.002, 0.01])
def test_the_least_threshold_keeps_the_budget(decision: Decision, budget: float) -> None:
    answers, logits = noisy(decision)
    assert answers.changed(logits).mean() > 0.03
    found = least_threshold(answers, logits, budget=budget, unseen=5_000)
    again, changed, expected = after_recheck(answers, logits, found)
    assert keeps_budget(changed, expected, budget=budget, unseen=5_000) and 0 < again < 0.9
    less = after_recheck(answers, logits, found * 0.98)
    assert not keeps_budget(*less[1:], budget=budget, unseen=5_000) and less[0] <= again


def test_what_is_expected_beyond_a_threshold_is_what_new_noise_changes() -> None:
    answers, logits = noisy(Decision("softmax"))
    generator = np.random.default_rng(9)
    for threshold in (0.2, 0.5):
        shares = []
        for _ in range(30):
            fresh = (answers.logits + generator.standard_t(5, logits.shape) * 0.15).astype(np.float32)
            shares.append(after_recheck(answers, fresh, threshold)[1])
        assert after_recheck(answers, logits, threshold)[2] == pytest.approx(np.mean(shares), rel=0.35)


def test_where_the_budget_is_kept_anyway_nothing_is_answered_again() -> None:
    answers, logits = noisy(Decision("softmax"), strength=0.001)
    assert least_threshold(answers, logits, budget=0.05, unseen=1_000) == 0.0
    assert least_threshold(answers, logits, budget=0.05, unseen=1_000, at_least=0.3) == 0.3
    assert after_recheck(answers, logits, 0.0)[0] == 0


def test_points_show_what_other_thresholds_would_do() -> None:
    answers, logits = noisy(Decision("softmax"))
    points = threshold_points(answers, logits, 0.4, lambda unsure: 0.4 + float(unsure.mean()))
    assert [point.threshold for point in points] == sorted(point.threshold for point in points)
    assert points[0].threshold == 0 and 0.4 in [point.threshold for point in points]
    for one, other in pairwise(points):
        assert one.again <= other.again and one.changed >= other.changed and one.expected >= other.expected
        assert one.speed >= other.speed
    assert points[0].speed == 2.5


class Rechecked(Known):
    """A search of which the noise and the time of each mix are known, and how dear small batches are."""

    def __init__(self, strengths: tuple[float, ...], times: tuple[float, ...], *, dearer: float = 1.0) -> None:
        super().__init__({}, budget=0.01)
        self.dearer = dearer
        self.strengths, self.times, self.ran = strengths, times, list[int]()

    def _run(self, plan: object, trial: object) -> tuple[np.ndarray, float]:
        raised = sum(level == "fp32" for level in plan.mix.values())  # type: ignore[attr-defined]
        self.ran.append(raised)
        return noisy(Decision("softmax"), strength=self.strengths[raised])[1], self.times[raised]

    def _time_again(self, trial: object) -> Callable[[np.ndarray], float]:
        return lambda unsure: self.dearer * float(unsure.mean())


def test_mix_and_threshold_are_searched_together() -> None:
    answers = noisy(Decision("softmax"))[0]
    search = Rechecked((0.3, 0.05, 0.04, 0.03, 0.0), (0.35, 0.38, 0.5, 0.8, 1.0))
    found = search.with_recheck(search._trial, answers, unseen=2_000)
    assert found.index == 1 and found.within and search.ran == [0, 1]  # of which few are answered again
    chosen, other = found.candidates[0], found.candidates[1]
    assert (
        chosen.chosen
        and not other.chosen
        and chosen.time == pytest.approx(0.38 + chosen.again)
        and chosen.time < other.time
    )
    assert found.points and found.threshold > 0


def test_what_small_batches_cost_has_a_say() -> None:
    answers = noisy(Decision("softmax"))[0]
    found = [
        search.with_recheck(search._trial, answers, unseen=2_000)
        for search in (
            Rechecked((0.1, 0.05, 0.04, 0.03, 0.0), (0.35, 0.5, 0.6, 0.8, 1.0), dearer=dearer) for dearer in (1, 4)
        )
    ]
    assert [one.index for one in found] == [0, 1]
    assert found[1].candidates[0].time == pytest.approx(0.5 + 4 * found[1].candidates[0].again)


def test_mixes_that_take_longer_alone_than_the_best_end_the_search() -> None:
    answers = noisy(Decision("softmax"))[0]
    search = Rechecked((0.3, 0.2, 0.15, 0.1, 0.0), (0.35, 0.4, 0.95, 0.97, 1.0))
    found = search.with_recheck(search._trial, answers, unseen=2_000)
    assert search.ran == [0, 1, 2] and found.index < 2 and found.candidates[-1].time > 0.95


def test_where_few_are_answered_again_no_other_mix_is_measured() -> None:
    answers = noisy(Decision("softmax"))[0]
    search = Rechecked((0.02, 0, 0, 0, 0), (0.35, 0.4, 0.5, 0.8, 1.0))
    found = search.with_recheck(search._trial, answers, unseen=2_000)
    assert (found.index, search.ran) == (0, [0]) and found.candidates[0].again < 0.03


def test_after_a_failure_more_is_answered_again() -> None:
    answers = noisy(Decision("softmax"))[0]
    sure = Rechecked((0.001, 0, 0, 0, 0), (0.35, 0.4, 0.5, 0.8, 1.0))
    failed = fastest_with_recheck(sure, sure._trial, answers, 2_000, None)
    assert failed.threshold == 0
    again = fastest_with_recheck(sure, sure._trial, answers, 2_000, failed)
    assert again.threshold > 0 and again.candidates[0].again == pytest.approx(0.01, abs=0.005)
    third = fastest_with_recheck(sure, sure._trial, answers, 2_000, again)
    assert third.threshold > 1.2 * again.threshold


def test_what_overflows_has_no_threshold() -> None:
    answers, logits = noisy(Decision("softmax"))
    logits[3] = np.nan
    assert least_threshold(answers, logits, budget=0.01, unseen=1_000) == 0.0
    assert not keeps_budget(*after_recheck(answers, logits, 0.0)[1:], budget=0.01, unseen=1_000)


def test_slower_than_fp32_is_no_mix() -> None:
    answers = noisy(Decision("softmax"))[0]
    search = Rechecked((3.0, 3.0, 3.0, 3.0, 0.0), (0.9, 0.95, 0.96, 0.97, 1.0))
    assert not search.with_recheck(search._trial, answers, unseen=2_000).within
    slow = Rechecked((0.001, 0, 0, 0, 0), (1.2, 1.2, 1.2, 1.2, 1.0))  # but it is smaller, and asks nobody
    found = slow.with_recheck(slow._trial, answers, unseen=2_000)
    assert found.within and found.threshold == 0


def test_where_answering_again_takes_too_long_int8_keeps_the_budget_alone() -> None:
    answers = noisy(Decision("softmax"))[0]
    slow = Rechecked((0.5, 0.5, 0.5, 0.0, 0.0), (0.9, 0.95, 0.96, 0.97, 1.0))
    slow.changed = {0: 0.1, 1: 0.1, 2: 0.1, 3: 0.0, 4: 0.0}
    found = fastest_with_recheck(slow, slow._trial, answers, 2_000, None)
    assert (found.within, found.index, found.threshold) == (True, 3, 0)
