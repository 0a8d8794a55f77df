"""Whether two systems answer the same, for every kind of answer."""

from __future__ import annotations

import numpy as np
import pytest

from onnxpress.answers.fidelity import Decision
from onnxpress_bench.agreement import align, changed_answers, compared_by, fits

SOFTMAX, SIGMOID, VALUE = Decision("softmax"), Decision("sigmoid"), Decision("identity")


def logits(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


@pytest.mark.parametrize(
    ("decision", "reference", "other", "changed"),
    [
        (SOFTMAX, logits([2, 1], [1, 2]), logits([1.6, 1.5], [1, 2]), [False, False]),
        (SOFTMAX, logits([2, 1], [1, 2]), logits([1, 2], [1, 2]), [True, False]),
        # The best label is the same, and another one is accepted.
        (SIGMOID, logits([3, 1], [3, -1]), logits([3, -1], [3, -1]), [True, False]),
        (SIGMOID, logits([1], [-1]), logits([0.5], [0.5]), [False, True]),
        (Decision("softmax", (0.6, 0.6)), logits([1, 0], [1, 0]), logits([0.3, 0], [1, 0]), [True, False]),
        # One column has but one largest entry.
        (VALUE, logits([1], [5]), logits([1.001], [5.2]), [False, True]),
        (SOFTMAX, logits([1], [5]), logits([1.001], [5.2]), [False, True]),
        (VALUE, logits([1, 2], [5, 2]), logits([1, 2], [5, 2.4]), [False, True]),
        (SOFTMAX, logits([2, 1], [1, 2]), logits([np.nan, np.nan], [np.inf, 2]), [True, True]),
        (VALUE, logits([2], [1]), logits([np.nan], [1]), [True, False]),
    ],
)
def test_answers_are_compared_as_what_they_are(
    decision: Decision, reference: np.ndarray, other: np.ndarray, changed: list[bool]
) -> None:
    assert changed_answers(reference, other, decision, precision="fp32").tolist() == changed
    assert not changed_answers(reference, reference, decision, precision="fp32").any()


def test_values_of_int8_may_move_as_far_as_their_export_lets_them() -> None:
    reference = logits([0], [10])  # whose spread is 5
    near, far = logits([0.4], [10]), logits([0.6], [10])
    for decision in (VALUE, SOFTMAX):
        assert not changed_answers(reference, near, decision, precision="int8").any()
        assert changed_answers(reference, near, decision, precision="fp32").any()
        assert changed_answers(reference, far, decision, precision="int8").tolist() == [True, False]


def test_columns_are_put_in_order_by_name_else_by_place() -> None:
    scores = logits([1, 2, 3])
    assert align(scores, ["a", "b", "c"], ["c", "a", "b"]).tolist() == [[3, 1, 2]]
    assert align(scores, ["LABEL_0", "LABEL_1", "LABEL_2"], ["c", "a", "b"]).tolist() == [[1, 2, 3]]
    assert align(scores, ["a", "a", "b"], ["a", "b", "a"]).tolist() == [[1, 2, 3]]
    assert fits(["x", "y"], ["a", "b"]) and not fits(["x", "y"], ["a", "b", "c"])


def test_words_for_what_is_compared() -> None:
    assert [compared_by(SOFTMAX, 2), compared_by(SIGMOID, 1), compared_by(SOFTMAX, 1), compared_by(VALUE, 3)] == [
        "labels",
        "labels",
        "values",
        "values",
    ]
