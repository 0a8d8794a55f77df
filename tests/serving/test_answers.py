"""What services count of their answers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import onnxpress
from onnxpress import ThreadedClassifier
from onnxpress.answers.answered import Answered
from onnxpress.answers.fidelity import Decision
from onnxpress.artifacts.cascade_record import Cascade, CascadeChanged
from onnxpress.inputs.encoder import TokenRows
from onnxpress.serving.answers import MOST_LABELS, OTHER_LABELS, AnswerRecorder
from onnxpress.serving.metrics import Recorder
from onnxpress.tasks.text_classification import TextClassification


def answered(logits: list[list[float]]) -> Answered:
    rows = TokenRows([], np.ones(len(logits), dtype=np.int64))
    return Answered(np.array(logits, dtype=np.float32), np.zeros(len(logits), dtype=np.uint8), rows)


def test_a_service_counts_what_it_answered(artifact: Path, texts: list[str]) -> None:
    with onnxpress.load(artifact, threads=1, spinning=False) as classifier, ThreadedClassifier(classifier) as service:
        found = service.classify(texts)
        long = service.classify("good film " * 200)
        counted = service.metrics().answers
        logits = classifier.mixed().logits([*texts, "good film " * 200])
    assert {label: count for label, count in counted.labels.items() if count} == Counter(
        answer.label for answer in [*found, long]
    )
    assert counted.scores.count == counted.margins.count == sum(counted.stages.values()) == len(texts) + 1
    assert counted.scores.total == pytest.approx(sum(answer.score for answer in [*found, long]), rel=1e-6)
    assert counted.margins.total == pytest.approx(
        np.abs(logits[:, 0] - logits[:, 1]).astype(np.float64).sum(), rel=1e-5
    )
    with onnxpress.load(artifact, threads=1) as classifier:
        cut = sum(classifier.count_tokens([*texts, "good film " * 200]) > 140)
    assert (counted.cut, counted.in_windows) == (cut, 0)


def test_texts_in_windows_are_counted(artifact: Path) -> None:
    with (
        onnxpress.load(artifact, threads=1, spinning=False, long_text="windows") as classifier,
        ThreadedClassifier(classifier) as service,
    ):
        service.classify(["good film " * 200, "good film", "dull " * 138, "dull " * 139])
        counted = service.metrics().answers
    assert (counted.cut, counted.in_windows) == (0, 2)


def test_two_services_of_one_classifier_count_their_own(artifact: Path) -> None:
    with (
        onnxpress.load(artifact, threads=1, spinning=False) as classifier,
        ThreadedClassifier(classifier) as one,
        ThreadedClassifier(classifier) as two,
    ):
        one.classify(["good film"] * 3)
        two.classify("good film")
        classifier("good film")
        assert [sum(service.metrics().answers.stages.values()) for service in (one, two)] == [3, 1]


@pytest.mark.parametrize("labels", [1, 2, MOST_LABELS, MOST_LABELS + 1, 5_000])
def test_labels_are_bounded_and_none_is_lost(labels: int) -> None:
    recorder = AnswerRecorder(
        [f"label {place}" for place in range(labels)], ("fp32",), TextClassification(Decision("softmax"), 2)
    )
    chosen = np.random.default_rng(3).integers(0, labels, 700)
    logits = np.zeros((700, labels), dtype=np.float32)
    logits[np.arange(700), chosen] = 5
    for row in logits:
        recorder.add(answered([row.tolist()]))
    counts = recorder.metrics().labels
    assert len(counts) == min(labels, MOST_LABELS + 1) and sum(counts.values()) == 700
    assert counts.get(OTHER_LABELS, 0) == (chosen >= MOST_LABELS).sum()


def test_labels_of_one_name_are_counted_together() -> None:
    recorder = AnswerRecorder(("a", "a", OTHER_LABELS), ("fp32",), TextClassification(Decision("softmax"), 2))
    recorder.add(answered([[1, 0, 0], [0, 1, 0], [0, 0, 1]]))
    assert recorder.metrics().labels == {"a": 2, OTHER_LABELS: 1}


def test_a_regression_has_values_and_no_labels() -> None:
    recorder = AnswerRecorder(("stars",), ("fp32",), TextClassification(Decision("identity"), 2))
    recorder.add(answered([[-3.0], [4.5], [1e30]]))
    found = recorder.metrics()
    assert found.labels == {} and found.margins.count == 0 and found.scores.count == 3
    assert dict(found.scores.cumulative())["5"] == 2


def test_a_margin_without_end_does_not_spoil_the_sum() -> None:
    recorder = AnswerRecorder(("a",), ("fp32",), TextClassification(Decision("sigmoid", (0.0,)), 2))
    recorder.add(answered([[1.0], [-1.0]]))
    assert recorder.metrics().margins.total == 200 and recorder.metrics().margins.count == 2


def test_a_stage_that_leaves_its_certified_share_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    certified = Cascade(
        stages=("int8", "fp32"),
        thresholds={"int8": 0.5},
        answered={"int8": 0.98, "fp32": 0.02},
        changed=CascadeChanged(texts=2_000, changed=0, upper_95=0.002, alone=3),
    )
    task = TextClassification(Decision("softmax"), 2)
    recorder = Recorder(AnswerRecorder(("bad", "good"), ("int8", "fp32"), task, certified))

    def ran(again: float) -> int:
        """1,000 texts, a share of which was run again; how many stages are outside after that."""
        for _ in range(10):
            many = replace(answered([[1.0, 0.0]] * 100), stages=(np.arange(100) < 100 * again).astype(np.uint8))
            recorder.ran([0.1] * 100, many)
        return recorder.metrics(waiting=0, waiting_tokens=0).answers.stages_outside

    assert ran(0.02) == 0 and not caplog.records
    assert ran(0.3) == 2 and len(caplog.records) == 2
    assert "the stage int8 answered 70.00% of 1,000 texts" in caplog.messages[0] and "\n" not in caplog.messages[0]
    assert ran(0.3) == 2 and len(caplog.records) == 2
    assert ran(0.02) == 0 and len(caplog.records) == 2
