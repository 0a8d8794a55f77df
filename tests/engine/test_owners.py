"""Answers of several vectors: what each text is, by those of its own that decide."""

from __future__ import annotations

import numpy as np
import pytest

from onnxpress.answers.fidelity import Answers, Decision
from onnxpress.answers.owners import Owners

OWNERS = Owners(4, np.array([0, 0, 0, 1, 1, 3]), np.array([False, True, True, True, False, True]))
"""A text of two tokens behind one that the tokenizer added; one of one; one of none at all; one of one."""


def array(rows: list[list[float]]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


LOGITS = array([[9, 0], [3, 0], [0, 2], [1, 0], [0.1, 0], [5, 0]])


def test_a_text_has_changed_where_a_token_that_decides_has() -> None:
    answers = Answers(LOGITS, Decision("softmax"), OWNERS)
    assert answers.changed(LOGITS).tolist() == [False, False, False, False]
    moved = LOGITS.copy()
    moved[[0, 4]] = moved[[0, 4]][:, ::-1]  # what the tokenizer added decides nothing
    assert not answers.changed(moved).any()
    moved[2] = moved[2][::-1]
    assert answers.changed(moved).tolist() == [True, False, False, False]
    assert answers.changed_vectors(moved).tolist() == [True, False, True, False, True, False]


def test_a_text_is_as_near_to_another_answer_as_its_nearest_token() -> None:
    answers = Answers(LOGITS, Decision("softmax"), OWNERS)
    assert answers.margins(LOGITS).tolist() == [2, 1, np.inf, 5]


def test_what_is_not_finite_is_sure_of_nothing_and_has_changed_wherever_it_stands() -> None:
    answers, broken = Answers(LOGITS, Decision("softmax"), OWNERS), LOGITS.copy()
    broken[4, 1] = np.nan
    assert answers.margins(broken).tolist() == [2, 0, np.inf, 5]
    assert answers.changed(broken).tolist() == [False, True, False, False]


def test_the_reference_answers_all_tokens_of_a_text_again() -> None:
    answers = Answers(LOGITS, Decision("softmax"), OWNERS)
    given = answers.again(-LOGITS, np.array([True, False, True, True]))
    assert np.array_equal(given, np.where((OWNERS.of == 1)[:, None], LOGITS, -LOGITS))


def test_more_tokens_give_noise_more_chances() -> None:
    """Each of two tokens loses its label in one of four cases of the noise seen: their text in 1 - 0.75 ** 2."""
    logits = array([[1, 0], [1, 0], [1, 0], [1, 0]])
    noisy = array([[1, 0], [1, 0], [1, 0], [1, 2.5]])
    alone = Answers(logits, Decision("softmax"))
    assert alone.expected(noisy) == pytest.approx(0.25)
    pairs = Answers(logits, Decision("softmax"), Owners(2, np.array([0, 0, 1, 1]), np.ones(4, dtype=np.bool_)))
    assert pairs.expected(noisy) == pytest.approx(1 - 0.75**2)
    assert pairs.expected(noisy, threshold=2.0) == 0  # noise carries none that far beyond its limit


def test_the_first_texts_are_those_with_their_own_vectors() -> None:
    first = OWNERS.first(2)
    assert first.texts == 2 and first.of.tolist() == [0, 0, 0, 1, 1] and first.decides.tolist() == [0, 1, 1, 1, 0]
    assert OWNERS.first(3).of.tolist() == first.of.tolist() and OWNERS.first(3).texts == 3
