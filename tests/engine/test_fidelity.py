"""Counting the answers that change, and expecting how many will."""

from __future__ import annotations

import re

import msgspec
import numpy as np
import pytest
from msgspec import structs

from onnxpress.answers.fidelity import (
    Answers,
    Decision,
    FidelityError,
    NotFiniteError,
    certainty,
    compare_answers,
    require_budget,
)
from onnxpress.artifacts.manifest import Candidate, Drift, Fidelity, Parity
from onnxpress.examples import Example


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
    assert limitless.expected(logits + array([[0, 0.1, 0], [0, 0, 0.1]])) == 0  # no margin is as small as that noise
    assert limitless.expected(logits + array([[0, 2, 0], [0, 2, 0]])) > 0


@pytest.mark.parametrize(("activation", "labels"), [("softmax", 2), ("softmax", 7), ("sigmoid", 3), ("identity", 1)])
def test_what_is_expected_is_what_noise_changes(activation: str, labels: int) -> None:
    generator = np.random.default_rng(1)
    answers = Answers(generator.normal(0, 2, (4_000, labels)).astype(np.float32), Decision(activation))  # type: ignore[arg-type]
    noisy = [answers.logits + generator.normal(0, 0.1, answers.logits.shape).astype(np.float32) for _ in range(20)]
    found = np.mean([answers.changed(logits).mean() for logits in noisy])
    assert answers.expected(noisy[0]) == pytest.approx(found, rel=0.12)


def test_no_noise_changes_nothing() -> None:
    answers = Answers(array([[1, 0], [0, 1]]), Decision("softmax"))
    assert answers.expected(answers.logits) == answers.noise(answers.logits) == 0


@pytest.mark.parametrize("lost", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "decision", [Decision("softmax"), Decision("softmax", (0.4, 0.4)), Decision("sigmoid"), Decision("identity")]
)
def test_what_is_not_finite_is_never_unchanged(decision: Decision, lost: float) -> None:
    logits = array([[1, 0], [0, 1], [3, 1]])
    broken = logits.copy()
    broken[1, 0] = lost
    for answers, found in ((Answers(logits, decision), broken), (Answers(broken, decision), logits)):
        assert answers.changed(found).tolist() == [False, True, False]
    answers = Answers(logits, decision)
    assert answers.changed(np.full_like(logits, lost)).all() and answers.expected(np.full_like(logits, lost)) == 1
    assert np.isfinite(answers.noise(broken)) and answers.noise(broken) > 1e30
    with pytest.raises(NotFiniteError, match="int8 gives logits that are NaN or infinite for 1 of 3 texts"):
        examples = [Example(text) for text in "abc"]
        compare_answers(answers, broken, examples, ("no", "yes"), sample="", budget=0.5, speed=None, name="int8")


def test_a_record_with_a_number_that_json_lacks_is_never_made_nor_read() -> None:
    answers = Answers(array([[1, 0]]), Decision("softmax"))
    found = compare_answers(answers, array([[1, 0]]), [Example("a")], ("no", "yes"), sample="", budget=0, speed=None)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Fidelity) == found
    candidate = Candidate(products={}, time=1.0, changed=0.0, expected=0.0, chosen=True)
    drift = Drift(values=1, drifted=0, clipped=0.0, overshoot=0.0, worst="")
    parity = Parity(cases=((1, 1),), rows=1, max_difference=0.0, tolerance=0.0, equal_labels=1)
    for record, name in (
        (found, "speed"),
        (found, "mean_difference"),
        (candidate, "expected"),
        (drift, "overshoot"),
        (parity, "max_difference"),
    ):
        for value in (np.nan, np.inf):
            with pytest.raises(ValueError, match=f"{name} of .* must be a finite number"):
                structs.replace(record, **{name: value})
        huge = msgspec.json.encode({**msgspec.to_builtins(record), name: "?"}).replace(b'"?"', b"1e999")
        with pytest.raises(msgspec.DecodeError):
            msgspec.json.decode(huge, type=type(record))


def test_each_output_of_a_regression_has_its_own_spread() -> None:
    logits = array([[0, 0], [2, 2_000]])  # standard deviations of 1 and 1,000
    answers = Answers(logits, Decision("identity"))
    assert answers.changed(logits + array([[0.09, 90], [0.2, 0]])).tolist() == [False, True]
    assert answers.changed(logits + array([[0, 90], [0, 110]])).tolist() == [False, True]
    constant = Answers(array([[5, 0], [5, 2]]), Decision("identity"))
    assert constant.changed(array([[5.000001, 0], [5.1, 2]])).tolist() == [False, True]


@pytest.mark.parametrize("labels", [1, 2, 3, 150])
@pytest.mark.parametrize(
    ("activation", "limited"), [("softmax", False), ("softmax", True), ("sigmoid", False), ("sigmoid", True)]
)
def test_a_margin_is_the_texts_own_distance_to_another_answer(activation: str, limited: bool, labels: int) -> None:
    generator = np.random.default_rng(3)
    logits = generator.normal(0, 2, (200, labels)).astype(np.float32)
    thresholds = tuple(generator.uniform(0.1, 0.9, labels).tolist()) if limited else None
    decision = Decision(activation, thresholds)  # type: ignore[arg-type]
    margins = decision.margins(logits)
    alone = np.concatenate([decision.margins(row[None]) for row in logits])
    assert margins.shape == (200,) and (margins >= 0).all() and np.array_equal(margins, alone)
    answers = Answers(logits, decision)
    np.testing.assert_allclose(margins, answers.deciding(logits).min(axis=1), rtol=1e-12)
    if labels > 1 or activation == "sigmoid":
        nearest = np.argsort(margins)[:20]
        moved = logits + generator.choice([-1, 1], logits.shape).astype(np.float32) * np.float32(margins[nearest].max())
        assert answers.changed(moved)[nearest].any()
    if activation == "sigmoid" or not limited:  # a step below the margin changes nothing: two labels move apart at most
        step = (margins * 0.499)[:, None].astype(np.float32)
        still = np.minimum(step, 1e3) * generator.choice([-1, 1], logits.shape).astype(np.float32)
        assert not answers.changed(logits + still).any()


def test_margins_where_there_is_nothing_to_measure() -> None:
    assert np.isinf(Decision("identity").margins(array([[1], [2]]))).all()
    assert Decision("softmax").margins(array([[1, 0], [np.nan, 0], [np.inf, 0], [1, 1]])).tolist() == [1, 0, 0, 0]
    assert Decision("sigmoid", (0.5, 0.9)).margins(array([[0.5, 0], [-1, np.log(9)]])) == pytest.approx(
        [0.5, 0], abs=1e-6
    )


@pytest.mark.parametrize(("changed", "texts", "says"), [
    (0, 598, r"^at most 0.50% with 95 % confidence$"),
    (0, 50, r"at most 5.82% .* does not prove the budget: .* passes in 61% of all cases; 598 unseen texts would do"),
])  # fmt: skip
def test_too_few_texts_are_told_how_many_would_do(changed: int, texts: int, says: str) -> None:
    logits = np.tile(array([[1, 0]]), (texts, 1))
    found = compare_answers(
        Answers(logits, Decision("softmax")),
        logits,
        [Example("a")] * texts,
        ("no", "yes"),
        sample="",
        budget=0.005,
        speed=None,
    )
    assert re.search(says, certainty(structs.replace(found, changed=changed)))
    assert "texts would" not in certainty(structs.replace(found, budget=0.0))


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
