"""Scores beside right answers: what is counted, the temperature that is found, and what it leaves alone."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from onnxpress.answers.calibration import fit_temperature, log_loss, reliability_of
from onnxpress.answers.fidelity import Decision
from onnxpress.artifacts.calibration_record import Calibration, Reliability, describe_reliability
from onnxpress.artifacts.manifest import Activation


def drawn(
    activation: Activation, texts: int, labels: int, seed: int = 1
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Logits, and labels drawn from just the scores that they make: a model that is as sure as it is right."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (texts, labels)).astype(np.float32)
    scores = Decision(activation).scores(logits).astype(np.float64)
    if activation == "sigmoid":
        return logits, generator.random(scores.shape) < scores
    right = (scores.cumsum(axis=1) < generator.random((texts, 1))).sum(axis=1).clip(0, labels - 1)
    return logits, np.arange(labels) == right[:, None]


def test_the_error_is_that_of_its_definition() -> None:
    confidence = np.array([0.55, 0.58, 0.95, 0.97, 0.99])
    logits = np.log(np.stack([confidence, 1 - confidence], axis=1)).astype(np.float32)
    right = np.array([True, False, True, True, False])
    found = reliability_of(logits, np.stack([right, ~right], axis=1), "softmax")
    assert found.error == pytest.approx((abs(0.55 + 0.58 - 1) + abs(0.95 + 0.97 + 0.99 - 2)) / 5, abs=1e-6)
    assert (found.texts, found.decisions, found.right, found.surely_wrong) == (5, 5, 3, 1)
    assert found.confidence_wrong == pytest.approx((0.58 + 0.99) / 2, abs=1e-6)
    assert [part.decisions for part in found.bins if part.decisions] == [2, 3]
    assert found.log_loss == pytest.approx(-np.log([0.55, 0.42, 0.95, 0.97, 0.01]).mean(), rel=1e-4)


def test_each_label_is_a_decision_where_a_text_has_many() -> None:
    logits = np.array([[3.0, -3.0, 0.5], [-2.0, 2.0, -0.1]], dtype=np.float32)
    found = reliability_of(logits, np.array([[1, 0, 0], [0, 1, 0]], dtype=np.bool_), "sigmoid")
    assert (found.texts, found.decisions, found.right) == (2, 6, 5)
    assert found.confidence_wrong == pytest.approx(1 / (1 + np.exp(-0.5)), abs=1e-6)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(activation: Activation, temperature: float) -> None:
    logits, wanted = drawn(activation, 6_000, 4)
    moved = (logits * np.float32(temperature)).astype(np.float32)
    found = fit_temperature(moved, wanted, activation)
    assert found == pytest.approx(temperature, rel=0.08)
    best = log_loss(moved / np.float32(found), wanted, activation)
    for other in (0.8 * found, 1.25 * found):
        assert log_loss(moved / np.float32(other), wanted, activation) > best
    before = reliability_of(moved, wanted, activation).error
    after = reliability_of(moved / np.float32(found), wanted, activation).error
    assert after < 0.02 and (temperature == 1 or after < before / 4)


def test_where_all_answers_are_right_the_temperature_ends_at_its_bound() -> None:
    logits = np.array([[4.0, 0.0], [0.0, 4.0]], dtype=np.float32)
    assert fit_temperature(logits, logits > 0, "softmax") == pytest.approx(0.05, rel=1e-6)
    assert fit_temperature(logits, logits == 0, "softmax") == pytest.approx(20, rel=1e-6)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("temperature", [0.3, 1.7, 19.0])
def test_labels_and_margins_stay_as_they_are(activation: Activation, temperature: float) -> None:
    logits, _ = drawn(activation, 2_000, 5)
    plain, scaled = Decision(activation), Decision(activation, temperature=temperature)
    assert np.array_equal(plain.scores(logits).argmax(axis=1), scaled.scores(logits).argmax(axis=1))
    assert np.array_equal(plain.margins(logits), scaled.margins(logits))
    assert np.array_equal(plain.accepted(logits), scaled.accepted(logits))
    assert plain.scores(logits).tobytes() != scaled.scores(logits).tobytes()
    np.testing.assert_allclose(scaled.scores(logits), plain.scores(logits / np.float32(temperature)), rtol=1e-6)


def test_labels_that_a_temperature_makes_equal_are_told_apart() -> None:
    logits = np.array([[1.0, 1.0000004, 0.0], [5.0, 5.0, 5.000001]], dtype=np.float32)
    plain = Decision("softmax").scores(logits)
    assert plain.argmax(axis=1).tolist() == [1, 2]
    scaled = Decision("softmax", temperature=19.0).scores(logits)
    assert scaled.argmax(axis=1).tolist() == [1, 2]
    np.testing.assert_allclose(scaled.sum(axis=1), 1, rtol=1e-6)


def test_a_temperature_of_1_changes_no_bit_and_a_regression_has_none() -> None:
    logits, _ = drawn("softmax", 10, 3)
    assert Decision("softmax").scores(logits).tobytes() == Decision("softmax", temperature=1.0).scores(logits).tobytes()
    assert Decision("identity", temperature=3.0).scores(logits) is logits


@pytest.mark.parametrize("temperature", ["0", "-1", "1e999", "null", '"1"'])
def test_a_temperature_that_is_none_is_refused(temperature: str) -> None:
    logits, wanted = drawn("softmax", 50, 2)
    found = msgspec.json.encode(reliability_of(logits, wanted, "softmax")).decode()
    content = f'{{"temperature": {temperature}, "fitted": 5, "reliability": {found}}}'
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(content, type=Calibration)


def test_it_is_told_in_a_line() -> None:
    logits, wanted = drawn("softmax", 500, 3)
    found = reliability_of(logits * np.float32(4), wanted, "softmax")
    told = describe_reliability(found, None)
    assert "expected calibration error" in told and "500 unseen texts" in told and "\n" not in told
    after = Calibration(temperature=4.0, fitted=90, reliability=reliability_of(logits, wanted, "softmax"))
    assert f"({found.error:.2%} without the temperature of 4)" in describe_reliability(found, after)
    perfect = msgspec.structs.replace(found, right=500, confidence_wrong=None, surely_wrong=0)
    assert "sure of them" not in describe_reliability(perfect, None)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Reliability) == found
