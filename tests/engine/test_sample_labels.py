"""Labels as files give them: names, positions, several of a text, numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from onnxpress.answers.fidelity import Answers, Decision, compare_answers
from onnxpress.answers.sample_labels import with_right_labels
from onnxpress.errors import ConfigError
from onnxpress.examples import Example, read_examples

TWO = ("negative", "positive")
MOODS = ("joy", "anger", "mild, lasting fear")
STARS = ("1 star", "2 stars", "3 stars")


def resolved(tmp_path: Path, values: list[object], labels: tuple[str, ...], activation: str) -> list[object]:
    """What becomes of `values` as the labels of a JSONL file."""
    path = tmp_path / "sample.jsonl"
    path.write_text("".join(json.dumps({"text": f"text {n}", "label": v}) + "\n" for n, v in enumerate(values)))
    examples = with_right_labels(read_examples(path), labels, activation, path)  # type: ignore[arg-type]
    assert [example.text for example in examples] == [f"text {number}" for number in range(len(values))]
    return [example.label for example in examples]


@pytest.mark.parametrize(
    ("values", "labels", "names"),
    [
        (["positive", None, "negative", ""], TWO, ["positive", None, "negative", None]),
        ([0, 1, 1, None], TWO, ["negative", "positive", "positive", None]),
        ([0.0, 1.0, None], TWO, ["negative", "positive", None]),
        (["0", "1.0"], TWO, ["negative", "positive"]),
        ([True, False], TWO, ["positive", "negative"]),
        ([True, False], ("False", "True"), ["True", "False"]),
        ([["positive"], ["negative"]], TWO, ["positive", "negative"]),
        ([2, 1, 3.0], ("1", "2", "3"), ["2", "1", "3"]),  # names first
        (["1", "0"], ("0", "1"), ["1", "0"]),
        ([None, None], TWO, [None, None]),
        (["a, b", "a"], ("a", "a, b"), ["a, b", "a"]),
    ],
)
def test_one_label_a_text(tmp_path: Path, values: list[object], labels: tuple[str, ...], names: list[object]) -> None:
    assert resolved(tmp_path, values, labels, "softmax") == names


@pytest.mark.parametrize(
    ("values", "labels", "says"),
    [
        (
            ["joyful"],
            TWO,
            "the label 'joyful' is none of the model's (negative, positive). Use the names, or positions",
        ),
        ([0, 1, 2], TWO, "'0' is none of the model's"),
        ([1, 2, 1], STARS, "'1' is none of the model's"),  # no 0: these are stars, one off as positions
        ([0, 1, "positive"], TWO, "'0' is none of the model's"),
        ([0, 1.5], TWO, "'0' is none of the model's"),
        ([-1, 0, 1], TWO, "'-1' is none of the model's"),
        ([["positive", "negative"]], TWO, "2 labels of one text"),
    ],
)
def test_what_is_no_label_is_told(tmp_path: Path, values: list[object], labels: tuple[str, ...], says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        resolved(tmp_path, values, labels, "softmax")


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([["joy", "anger"], [], None], [("joy", "anger"), (), None]),
        (["joy;anger", "joy | mild, lasting fear", "anger"], [("joy", "anger"), ("joy", MOODS[2]), ("anger",)]),
        (["joy, anger", "mild, lasting fear"], [("joy", "anger"), (MOODS[2],)]),
        (["['joy', 'anger']", '["joy"]', "[]"], [("joy", "anger"), ("joy",), ()]),
        ([[1, 0, 1], [0, 0, 0], [0.0, 1.0, 0.0]], [("joy", MOODS[2]), (), ("anger",)]),
        (["1;0;1", "[0, 1, 0]"], [("joy", MOODS[2]), ("anger",)]),
        ([[0, 2], [1]], [("joy", MOODS[2]), ("anger",)]),
        ([[0, 1, 2], [1]], [MOODS, ("anger",)]),  # not a 0 or 1 for each label
    ],
)
def test_many_labels_a_text(tmp_path: Path, values: list[object], names: list[object]) -> None:
    assert resolved(tmp_path, values, MOODS, "sigmoid") == names


def test_an_unknown_one_of_many_labels_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'hate' is none of the model's"):
        resolved(tmp_path, [["joy", "hate"]], MOODS, "sigmoid")


@pytest.mark.parametrize(
    ("values", "outputs", "numbers"),
    [
        ([3, 1.5, "2.25", None, [4]], 1, [(3.0,), (1.5,), (2.25,), None, (4.0,)]),
        ([[1, 2.5], "3;4", "[5, 6]"], 2, [(1.0, 2.5), (3.0, 4.0), (5.0, 6.0)]),
    ],
)
def test_numbers_of_a_regression(tmp_path: Path, values: list[object], outputs: int, numbers: list[object]) -> None:
    assert resolved(tmp_path, values, TWO[:outputs], "identity") == numbers


@pytest.mark.parametrize(("value", "outputs"), [("good", 1), ("nan", 1), ("1;2", 1), (1, 2), ([1, 2, 3], 2)])
def test_what_is_no_number_is_told(tmp_path: Path, value: object, outputs: int) -> None:
    with pytest.raises(ConfigError, match=r"is not (a number|2 numbers), which this regression gives"):
        resolved(tmp_path, [value], TWO[:outputs], "identity")


def test_empty_cells_and_lists_of_tables(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("text,label\na,1.0\nb,\nc,0.0\n")
    assert [e.label for e in with_right_labels(read_examples(table), TWO, "softmax", table)] == [
        "positive",
        None,
        "negative",
    ]
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "t.parquet"
    parquet.write_table(arrow.table({"text": ["a", "b", "c"], "label": [1.0, float("nan"), 0.0]}), path)
    assert [e.label for e in with_right_labels(read_examples(path), TWO, "softmax", path)] == [
        "positive",
        None,
        "negative",
    ]
    parquet.write_table(arrow.table({"text": ["a", "b"], "label": [["joy"], None]}), path)
    assert [e.label for e in with_right_labels(read_examples(path), MOODS, "sigmoid", path)] == [("joy",), None]


def test_what_labels_are_good_for() -> None:
    """All of many labels must be right; a regression's figure is its mean error."""
    logits = np.array([[2, -2, -2], [2, 2, -2], [-2, -2, -2]], dtype=np.float32)
    examples = [Example("a", ("joy",)), Example("b", ("joy",)), Example("c")]
    found = compare_answers(
        Answers(logits, Decision("sigmoid")), logits, examples, MOODS, sample="", budget=0.1, speed=None
    )
    assert found.accuracy == found.reference_accuracy == 0.5 and found.f1 == pytest.approx((1 + 0) / 2)
    values = np.array([[1.0, 10.0], [3.0, 20.0], [2.0, 0.0]], dtype=np.float32)
    examples = [Example("a", (1.5, 10.0)), Example("b", (3.0, 20.0)), Example("c")]
    moved = compare_answers(
        Answers(values, Decision("identity")), values + 1, examples, TWO, sample="", budget=1.0, speed=None
    )
    assert (moved.reference_error, moved.accuracy, moved.f1) == (0.125, None, None)
    assert moved.error == pytest.approx((0.5 + 1 + 1 + 1) / 4)
