"""The joined engine: torch's answers, in input order, whatever the batch, threads or call."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import onnxpress
from onnxpress import opening
from onnxpress.sessions.session import Session
from tests.conftest import MAX_LENGTH, WORDS

TorchLogits = Callable[[Sequence[object]], NDArray[np.float32]]

ATOL = 2e-5  # fp32 sums in another order over two layers, logits of order 1
BATCHED = 5e-6  # the same kernels, other blockings of the same sums


@pytest.fixture(scope="module", params=["latency", "throughput"])
def classifier(request: pytest.FixtureRequest, artifact: Path) -> onnxpress.Classifier:
    return onnxpress.load(artifact, optimize_for=request.param, threads=2, max_tokens=128, spinning=False)


def test_logits_are_torchs(classifier: onnxpress.Classifier, texts: list[str], torch_logits: TorchLogits) -> None:
    found, wanted = classifier.logits(texts), torch_logits(texts)
    assert found.shape == (len(texts), 2) and found.dtype == np.float32
    assert np.ptp(wanted[:, 0] - wanted[:, 1]) > 0.1, "texts that torch cannot tell apart would prove nothing"
    np.testing.assert_allclose(found, wanted, rtol=0, atol=ATOL)


def test_pairs_are_torchs(classifier: onnxpress.Classifier, texts: list[str], torch_logits: TorchLogits) -> None:
    pairs = list(zip(texts[:40], texts[40:80], strict=True))
    found = classifier.logits(pairs)
    np.testing.assert_allclose(found, torch_logits(pairs), rtol=0, atol=ATOL)
    joined = classifier.logits([f"{a} {b}" for a, b in pairs])
    assert np.abs(found - joined).max() > 100 * ATOL, "a pair is more than its two texts in a row"


def test_long_texts_are_truncated_as_torch_does(classifier: onnxpress.Classifier, torch_logits: TorchLogits) -> None:
    long = [" ".join(WORDS * 5), ("good film " * MAX_LENGTH, "bad plot " * MAX_LENGTH), ("good", "bad " * 500)]
    np.testing.assert_allclose(classifier.logits(long), torch_logits(long), rtol=0, atol=ATOL)


def test_empty_text_is_classified(classifier: onnxpress.Classifier, torch_logits: TorchLogits) -> None:
    np.testing.assert_allclose(classifier.logits([""]), torch_logits([""]), rtol=0, atol=ATOL)
    assert classifier("").label in classifier.labels


def test_empty_list_gives_nothing(classifier: onnxpress.Classifier) -> None:
    assert classifier([]) == []
    assert classifier([], top_k=2) == []
    assert classifier.logits([]).shape == (0, 2)
    assert classifier.probabilities([]).shape == (0, 2)
    assert list(classifier.stream(iter([]))) == []


def test_every_way_to_call_agrees(classifier: onnxpress.Classifier, texts: list[str]) -> None:
    together = classifier(texts)
    labels = [prediction.label for prediction in together]
    assert [classifier(text).label for text in texts] == labels
    assert [prediction.label for prediction in classifier.stream(iter(texts), chunk=7)] == labels
    assert [ranked[0].label for ranked in classifier(texts, top_k=2)] == labels
    scores = classifier.probabilities(texts)
    assert [classifier.labels[i] for i in scores.argmax(-1)] == labels


def test_scores_are_probabilities(classifier: onnxpress.Classifier, texts: list[str]) -> None:
    scores = classifier.probabilities(texts)
    np.testing.assert_allclose(scores.sum(-1), 1, rtol=0, atol=1e-6)  # one float32 rounding a label
    for prediction, row in zip(classifier(texts), scores, strict=True):
        assert prediction.score == pytest.approx(row.max(), abs=1e-6)


def test_top_k_is_sorted_and_capped(classifier: onnxpress.Classifier) -> None:
    ranked = classifier("good film", top_k=9)
    assert {p.label for p in ranked} == set(classifier.labels) and len(ranked) == 2
    assert ranked[0].score >= ranked[1].score
    assert classifier("good film", top_k=1) == ranked[:1]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_a_text_has_one_answer_in_any_company_and_order(artifact: Path, data: st.DataObject) -> None:
    texts = data.draw(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), min_size=1, max_size=12))
    order = data.draw(st.permutations(range(len(texts))))
    with onnxpress.load(artifact, optimize_for="throughput", threads=2, max_tokens=64) as classifier:
        alone = np.concatenate([classifier.logits([text]) for text in texts])
        shuffled = classifier.logits([texts[i] for i in order])
    np.testing.assert_allclose(shuffled, alone[list(order)], rtol=0, atol=BATCHED)


def test_threads_may_share_a_classifier(classifier: onnxpress.Classifier, texts: list[str]) -> None:
    wanted = [p.label for p in classifier(texts)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: [p.label for p in classifier(texts)], range(16)))
    assert answers == [wanted] * 16


def test_stream_reads_no_further_than_its_chunk(classifier: onnxpress.Classifier) -> None:
    taken = []

    def endless() -> object:
        while True:
            taken.append(1)
            yield "good film"

    answers = classifier.stream(endless(), chunk=5)  # type: ignore[arg-type]
    next(answers)
    ahead = classifier.settings.optimize_for == "throughput"  # the next is tokenized while the first runs
    assert len(taken) == 5 * (1 + ahead)


@pytest.mark.parametrize(
    ("bad", "kind", "says"),
    [
        (3, onnxpress.TextTypeError, "text 1 is of type int"),
        (None, onnxpress.TextTypeError, "text 1 is of type NoneType"),
        (b"bytes", onnxpress.TextTypeError, "text 1 is of type bytes"),
        (("a", "b", "c"), onnxpress.TextTypeError, "text 1 is a tuple of 3: (str, str, str)"),
        (("a", 1), onnxpress.TextTypeError, "text 1 is a tuple of 2: (str, int)"),
        ((), onnxpress.TextTypeError, "text 1 is a tuple of 0"),
        (["a", "b"], onnxpress.TextTypeError, "text 1 is of type list"),
        ("half \ud83d", onnxpress.TextEncodingError, "text 1 holds the lone surrogate U+D83D at character 5"),
        (("fine", "\udc80"), onnxpress.TextEncodingError, "text 1 holds the lone surrogate U+DC80 at character 0"),
        ("x" * 1_000_000, onnxpress.TextTooLongError, "text 1 has 1,000,000 characters; the limit is 100,000"),
        (("x" * 60_000, "y" * 60_000), onnxpress.TextTooLongError, "text 1 has 120,000 characters"),
    ],
)
def test_a_bad_text_is_refused_by_its_index(
    classifier: onnxpress.Classifier, bad: object, kind: type[onnxpress.TextError], says: str
) -> None:
    with pytest.raises(kind) as caught:
        classifier(["good film", bad])  # type: ignore[list-item]
    assert says in str(caught.value) and caught.value.index == 1
    assert "\n" not in str(caught.value)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is kind and str(copy) == str(caught.value)


def test_a_raised_limit_admits_a_megabyte(artifact: Path) -> None:
    with onnxpress.load(artifact, max_characters=1_000_000, threads=1) as classifier:
        assert classifier("good " * 200_000).label == classifier("good " * MAX_LENGTH).label


@pytest.mark.parametrize(
    "setting",
    [
        {"threads": 0},
        {"threads": -1},
        {"max_tokens": 0},
        {"max_characters": 0},
        {"optimize_for": "speed"},
        {"device": "tpu"},
        {"precision": "fp8"},
    ],
)
def test_a_setting_outside_its_range_is_refused(artifact: Path, setting: dict[str, object]) -> None:
    name, value = next(iter(setting.items()))
    with pytest.raises(onnxpress.ConfigError, match=name) as caught:
        onnxpress.load(artifact, **setting)  # type: ignore[arg-type]
    assert str(value) in str(caught.value)


def test_calls_with_bad_counts_are_refused(classifier: onnxpress.Classifier) -> None:
    with pytest.raises(onnxpress.ConfigError, match="top_k must be at least 1, got 0"):
        classifier("good", top_k=0)
    with pytest.raises(onnxpress.ConfigError, match="chunk must be at least 1, got 0"):
        list(classifier.stream(["good"], chunk=0))


def test_a_closed_classifier_says_so(artifact: Path) -> None:
    with onnxpress.load(artifact, optimize_for="throughput", threads=2) as classifier:
        assert classifier("good").label
    with pytest.raises(onnxpress.ClosedError, match="closed"):
        classifier("good")


def test_what_runs_is_told(classifier: onnxpress.Classifier) -> None:
    assert (classifier.labels, classifier.device, classifier.precision) == (("negative", "positive"), "cpu", "fp32")


def test_what_services_use_takes_one_session_more(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Session] = []

    def open_session(*arguments: Any, **settings: Any) -> Session:
        opened.append(Session(*arguments, **settings))
        return opened[-1]

    monkeypatch.setattr(opening, "Session", open_session)
    with onnxpress.load(artifact, workers=2, threads=2) as classifier:
        mixed = classifier.mixed()
        assert mixed is classifier.mixed() is mixed.mixed() is not classifier
        assert len(opened) == 2


def test_chunks_are_answered_in_order(classifier: onnxpress.Classifier, texts: list[str]) -> None:
    chunks = [texts[:7], [], texts[7:100], texts[100:]]
    found = list(classifier.stream_probabilities(iter(chunks)))
    assert [len(scores) for scores in found] == [7, 0, 93, 200]
    np.testing.assert_allclose(np.concatenate(found), classifier.probabilities(texts), rtol=0, atol=BATCHED)


def test_texts_can_be_checked_beforehand(classifier: onnxpress.Classifier) -> None:
    assert classifier.rejected(["good", ("a", "b")]) == []
    (problem,) = classifier.rejected(["good", "a\ud800"])
    assert problem.index == 1


def test_equal_texts_run_once(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with onnxpress.load(artifact) as classifier:
        ran = []
        run = classifier._cascade.main.session.run
        monkeypatch.setattr(
            classifier._cascade.main.session, "run", lambda inputs: ran.append(len(inputs["input_ids"])) or run(inputs)
        )
        found = classifier.logits(["good", ("good", "film"), "bad", "good", ("good", "film"), "good"])
    assert sum(ran) == 3
    assert np.array_equal(found[0], found[3]) and np.array_equal(found[0], found[5])
    assert np.array_equal(found[1], found[4]) and not np.array_equal(found[0], found[2])


def test_a_call_larger_than_the_window_is_answered_in_order(artifact: Path, texts: list[str]) -> None:
    for optimize_for in ("latency", "throughput"):
        with onnxpress.load(artifact, max_texts=7, optimize_for=optimize_for) as classifier:  # type: ignore[arg-type]
            in_parts = classifier.logits(texts)
            with pytest.raises(onnxpress.TextTypeError, match="text 13 "):
                classifier.logits([*texts[:13], None])  # type: ignore[list-item]
        with onnxpress.load(artifact) as classifier:
            np.testing.assert_allclose(in_parts, classifier.logits(texts), rtol=0, atol=BATCHED)


def test_a_bad_text_in_a_stream_keeps_what_came_before(classifier: onnxpress.Classifier) -> None:
    found = []
    with pytest.raises(onnxpress.TextTypeError, match="text 3 is of type int"):
        for answer in classifier.stream(["good", "bad", "fine", 7, "dull"], chunk=2):  # type: ignore[list-item]
            found.append(answer)  # noqa: PERF402 - `list` would keep nothing of an iterator that fails
    assert len(found) == 2


def test_what_fails_in_a_worker_reaches_the_caller(artifact: Path, texts: list[str]) -> None:
    with onnxpress.load(artifact, optimize_for="throughput", threads=2, max_tokens=64) as classifier:
        run = classifier._cascade.main.run

        def failing(rows: object, bucket: object) -> object:
            if len(bucket.rows) > 1:  # type: ignore[attr-defined]
                raise MemoryError("no room")
            return run(rows, bucket)  # type: ignore[arg-type]

        classifier._cascade.main.run = failing  # type: ignore[method-assign, assignment]
        with pytest.raises(MemoryError, match="no room"):
            classifier.logits(texts)
        classifier._cascade.main.run = run  # type: ignore[method-assign]
        assert len(classifier.logits(texts)) == len(texts)
