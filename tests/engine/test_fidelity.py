"""Counting the answers that change, and expecting how many will."""

from __future__ import annotations

import numpy as np
import pytest

from onnxpress.examples import Example
from onnxpress.fidelity import (
    Answers,
    Decision,
    FidelityError,
    chance_within,
    compare_answers,
    require_budget,
    wilson_interval,
)


def array(rows: list[list[float]]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def test_one_label_changes_with_the_best() -> None:
    answers = Answers(array([[1, 0], [0, 1], [3, 1]]), Decision("softmax"))
    assert answers.changed(array([[0.1, 0], [1, 0], [2, 1.9]])).tolist() == [False, True, False]


def test_many_labels_change_with_any() -> None:
    answers = Answers(array([[1, -1], [-2, -1]]), Decision("sigmoid"))
    assert answers.changed(array([[2, -2], [-2, 0.1]])).tolist() == [False, True]


def test_a_value_changes_when_it_moves_by_a_tenth_of_the_spread() -> None:
    answers = Answers(array([[0], [2]]), Decision("identity"))  # its standard deviation is 1
    assert answers.changed(array([[0.09], [2.11]])).tolist() == [False, True]


def test_many_labels_change_by_their_thresholds() -> None:
    answers = Answers(array([[0, -3], [3, 0]]), Decision("sigmoid", (0.9, 0.1)))  # log-odds of 2.2 and -2.2
    assert answers.changed(array([[1, -2.5], [2, 0]])).tolist() == [False, True]
    assert answers.changed(array([[1, -2], [2.3, -3]])).tolist() == [True, True]


def test_thresholds_of_one_label_are_part_of_the_answer() -> None:
    logits = array([[2, 0, 0], [1, 0.9, -3]])
    answers = Answers(logits, Decision("softmax", (0.5, 0.4, 0.5)))
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(answers.decision.log_odds(logits), np.log(scores / (1 - scores)), rtol=1e-5)
    assert answers.decision.accepted(logits).tolist() == (scores >= (0.5, 0.4, 0.5)).tolist()
    assert answers.changed(array([[2, 0, 0], [1.5, 0.9, -3]])).tolist() == [False, True]  # the second falls below 0.4
    limitless = Answers(logits, Decision("softmax", (0.0, 1.0, 0.5)))
    assert 0 < limitless.expected(logits + array([[0, 0.1, 0], [0, 0, 0.1]])) < 0.2


@pytest.mark.parametrize(("activation", "labels"), [("softmax", 2), ("softmax", 7), ("sigmoid", 3), ("identity", 1)])
def test_what_is_expected_is_what_noise_changes(activation: str, labels: int) -> None:
    generator = np.random.default_rng(1)
    answers = Answers(generator.normal(0, 2, (4_000, labels)).astype(np.float32), Decision(activation))  # type: ignore[arg-type]
    noisy = [answers.logits + generator.normal(0, 0.1, answers.logits.shape).astype(np.float32) for _ in range(20)]
    found = np.mean([answers.changed(logits).mean() for logits in noisy])
    # the third best label is left out of what is expected: a few per cent of it where labels are many
    assert answers.expected(noisy[0]) == pytest.approx(found, rel=0.12)


def test_no_noise_changes_nothing() -> None:
    answers = Answers(array([[1, 0], [0, 1]]), Decision("softmax"))
    assert answers.expected(answers.logits) == answers.noise(answers.logits) == 0


@pytest.mark.parametrize(
    ("count", "total", "interval"),  # as in Brown, Cai and DasGupta (2001), and where it must touch the ends
    [(0, 10, (0.0, 0.2775)), (10, 10, (0.7225, 1.0)), (5, 10, (0.2366, 0.7634))],
)
def test_wilson(count: int, total: int, interval: tuple[float, float]) -> None:
    assert wilson_interval(count, total) == pytest.approx(interval, abs=1e-4)


def test_the_chance_to_keep_a_budget() -> None:
    assert chance_within(0.0, 0.0, 10) == 1.0
    assert chance_within(0.01, 0.0, 100) == pytest.approx(np.exp(-1))  # no change at all, one expected
    assert chance_within(0.004, 0.005, 1_000) == pytest.approx(0.785, abs=1e-3)  # Poisson tables: P(X <= 5), mean 4
    drawn = np.random.default_rng(1).poisson(0.004 * 20_000, 20_000)
    assert chance_within(0.004, 0.0045, 20_000) == pytest.approx((drawn <= 90).mean(), abs=0.01)


def test_a_comparison_counts_names_and_refuses() -> None:
    answers = Answers(array([[1, 0], [0, 1], [2, 0], [0, 2]]), Decision("softmax"))
    examples = [Example("a", "no"), Example("b" * 300, "no"), Example("c"), Example(("d", "e"), "yes")]
    logits = array([[1, 0.5], [1, 0], [2, 0], [0, 2]])
    found = compare_answers(answers, logits, examples, ("no", "yes"), sample="s.csv", budget=0.1, speed=2.0)
    assert (found.texts, found.changed, found.largest_difference) == (4, 1, 1.0)
    assert found.accuracy == 1.0 and found.reference_accuracy == pytest.approx(2 / 3)
    assert found.f1 == 1.0 and found.reference_f1 == pytest.approx(2 / 3)  # of "no" 2/3, of "yes" 2/3
    assert (found.torch_texts, found.torch_changed) == (0, 0)
    (example,) = found.examples
    assert (example.reference, example.found) == ("yes", "no") and len(example.text) == 200
    with pytest.raises(FidelityError, match=r"int8 changes 25.00% .* budget is 10.00%.*--max-disagreement"):
        require_budget(found, "int8")
    require_budget(
        compare_answers(answers, answers.logits, examples, ("no", "yes"), sample="", budget=0, speed=1), "int8"
    )
