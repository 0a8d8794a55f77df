from __future__ import annotations

import numpy as np
import pytest

from onnxpress.answers.predictions import Prediction, accepted_labels, activate, best_labels, top_labels

EXTREME = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]], dtype=np.float32)


def test_softmax_is_stable_and_sums_to_one() -> None:
    scores = activate(EXTREME, "softmax")
    np.testing.assert_allclose(scores, [[1, 0, 0], [1 / 3] * 3], rtol=0, atol=1e-6)  # float32 rounding
    assert scores.dtype == np.float32


def test_sigmoid_is_stable_and_takes_labels_one_by_one() -> None:
    with np.errstate(over="raise", invalid="raise"):
        scores = activate(EXTREME, "sigmoid")
        moderate = activate(np.array([[-2.0, 2.0]], dtype=np.float32), "sigmoid")
    np.testing.assert_allclose(scores, [[1, 0, 0.5], [0, 0, 0]], rtol=0, atol=1e-6)  # float32 rounding
    np.testing.assert_allclose(moderate, 1 / (1 + np.exp([[2.0, -2.0]])), rtol=1e-6)  # float32 rounding
    assert scores.dtype == np.float32


def test_regression_is_left_alone() -> None:
    assert activate(EXTREME, "identity") is EXTREME


def test_the_first_of_equal_labels_wins() -> None:
    scores = np.array([[0.5, 0.5], [0.25, 0.75]], dtype=np.float32)
    assert best_labels(scores, ("a", "b")) == [Prediction("a", 0.5), Prediction("b", 0.75)]
    assert top_labels(scores, ("a", "b"), 1) == [[Prediction("a", 0.5)], [Prediction("b", 0.75)]]


def test_top_labels_are_ranked() -> None:
    scores = np.array([[0.25, 0.5, 0.125]], dtype=np.float32)
    assert [p.label for p in top_labels(scores, ("a", "b", "c"), 2)[0]] == ["b", "a"]
    assert [p.label for p in top_labels(scores, ("a", "b", "c"), 5)[0]] == ["b", "a", "c"]


def test_a_prediction_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Prediction("a", 0.5).label = "b"  # type: ignore[misc]


def test_labels_are_accepted_from_their_threshold_on_best_first() -> None:
    scores = np.array([[0.3, 0.9, 0.5], [0.1, 0.2, 0.49]], dtype=np.float32)
    found = accepted_labels(scores, ["a", "b", "c"], scores >= np.array([0.3, 0.5, 0.5], np.float32))
    assert [[p.label for p in row] for row in found] == [["b", "c", "a"], []]
    assert [p.score for p in found[0]] == pytest.approx([0.9, 0.5, 0.3])
    assert (
        accepted_labels(scores[:1], ["a", "b", "c"], scores[:1] >= np.array([0, 1, 0], np.float32))[0][0].label == "c"
    )
