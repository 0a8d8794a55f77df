"""Zero-shot classification: transformers' pipeline's own answers, and one line for what cannot be asked."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxpress
from onnxpress.tasks.zero_shot import ZeroShot, read_hypotheses
from tests.tasks.conftest import LABELS, PREMISES

NLI = ("contradiction", "neutral", "entailment")
ATOL = 2e-5  # fp32 sums in another order; scores are at most 1


@pytest.fixture(scope="module")
def classifier(bert_nli: Path) -> onnxpress.Classifier:
    return onnxpress.load(bert_nli, spinning=False)


def assert_same(found: ZeroShot, wanted: dict[str, Any]) -> None:
    assert found.text == wanted["sequence"]
    expected = dict(zip(wanted["labels"], wanted["scores"], strict=True))
    np.testing.assert_allclose(found.scores, [expected[label] for label in found.labels], rtol=0, atol=ATOL)
    assert sorted(found.labels) == sorted(expected)
    assert found.scores == sorted(found.scores, reverse=True)
    gaps = -np.diff(wanted["scores"])
    if len(gaps) == 0 or gaps.min() > 4 * ATOL:
        assert found.labels == wanted["labels"]


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("labels", [LABELS, LABELS[:1], LABELS[1:3]])
def test_answers_are_the_pipelines(
    zero_shot_classifier: onnxpress.Classifier, pipeline: Any, labels: list[str], multi_label: bool
) -> None:
    found = zero_shot_classifier.zero_shot(PREMISES, labels, multi_label=multi_label)
    for one, text in zip(found, PREMISES, strict=True):
        # an empty sequence is none to the pipeline; a space is one, and no token to any of these tokenizers' words
        if text:
            assert_same(one, pipeline(text, labels, multi_label=multi_label))


def test_answers_tell_labels_apart(zero_shot_classifier: onnxpress.Classifier) -> None:
    found = zero_shot_classifier.zero_shot(PREMISES, LABELS)
    assert len({tuple(one.labels) for one in found}) > 1 and np.ptp(found[0].scores) > 100 * ATOL


def test_templates_are_the_pipelines(zero_shot_classifier: onnxpress.Classifier, pipeline: Any) -> None:
    for template in ("This text is about {}.", "{}", "{0}, or not {0}", "{{braces}} {}"):
        for text in PREMISES[:2]:
            wanted = pipeline(text, LABELS, hypothesis_template=template)
            assert_same(zero_shot_classifier.zero_shot(text, LABELS, template=template), wanted)


def test_a_long_text_is_cut_and_its_label_never(zero_shot_classifier: onnxpress.Classifier, pipeline: Any) -> None:
    labels = ["a label of many words, " + "and one more " * size for size in (1, 4, 7)]
    for text in PREMISES[-2:]:
        assert_same(zero_shot_classifier.zero_shot(text, labels), pipeline(text, labels))


def test_labels_may_be_one_str(classifier: onnxpress.Classifier) -> None:
    assert classifier.zero_shot("a film", " fun, sad story ,,") == classifier.zero_shot("a film", ["fun", "sad story"])


def test_one_text_gives_one_answer_and_none_gives_none(classifier: onnxpress.Classifier) -> None:
    alone = classifier.zero_shot("a film", LABELS)
    assert isinstance(alone, ZeroShot) and classifier.zero_shot({"text": "a film"}, LABELS) == alone
    assert classifier.zero_shot(["a film"], LABELS) == [alone] and classifier.zero_shot([], LABELS) == []
    assert pickle.loads(pickle.dumps(alone)) == alone


def test_slices_change_nothing(bert_nli: Path, classifier: onnxpress.Classifier) -> None:
    texts = [*PREMISES, *PREMISES]
    wanted = classifier.zero_shot(texts, LABELS)
    for most in (1, 12):
        with onnxpress.load(bert_nli, optimize_for="throughput", threads=2, max_texts=most, spinning=False) as other:
            for one, two in zip(other.zero_shot(texts, LABELS), wanted, strict=True):
                assert one.labels == two.labels
                np.testing.assert_allclose(one.scores, two.scores, rtol=0, atol=ATOL)


def test_equal_scores_keep_the_pipelines_order() -> None:
    hypotheses = read_hypotheses(NLI, ["a", "b", "c"], "{}", multi_label=True)
    logits = np.array([[0, 0, 90], [0, 0, 1], [0, 0, 90]], dtype=np.float32)
    from onnxpress.tasks.zero_shot import answers

    assert answers(["text"], logits, hypotheses)[0].labels == ["c", "a", "b"]  # as reversed(argsort) gives them
    assert answers(["text"], logits * 1e30, hypotheses)[0].scores == [1, 1, 1]


@pytest.mark.parametrize(
    ("names", "entailment", "contradiction"),
    [
        (NLI, 2, 0),
        (("entailment", "neutral", "contradiction"), 0, 2),
        (("contradiction", "ENTAILMENT", "neutral"), 1, 0),
        (("Entailed", "not_entailment"), 0, 1),
    ],
)
def test_labels_of_the_model_are_found(names: tuple[str, ...], entailment: int, contradiction: int) -> None:
    found = read_hypotheses(names, ["x", "y"], "{}", multi_label=True)
    assert (found.entailment, found.contradiction) == (entailment, contradiction)


BAD = {
    "no labels": (dict(labels=[]), "labels is empty"),
    "no labels in a str": (dict(labels=" , "), "labels is empty"),
    "an empty label": (dict(labels=["a", " "]), "label 1 is empty"),
    "a label twice": (dict(labels=["a", "b", "a"]), "'a' is given twice"),
    "a label that is no str": (dict(labels=["a", 3]), "label 1 is of type int"),
    "a set of labels": (dict(labels={"a", "b"}), "of type set"),
    "a number for labels": (dict(labels=3), "of type int"),
    "a surrogate": (dict(labels=["a", "b\ud800"]), "label 1 holds the lone surrogate U\\+D800"),
    "no field": (dict(template="This is it."), "has no {}"),
    "an escaped field": (dict(template="This is {{}}."), "has no {}"),
    "another field": (dict(template="This is {label}."), "has the field {label}"),
    "an attribute": (dict(template="{0.__class__}"), "has the field {0.__class__}"),
    "a width": (dict(template="{:>1000000000}"), "has the field {:>1000000000}"),
    "two fields": (dict(template="{} or {}"), "has 2 fields"),
    "an open brace": (dict(template="{} {"), "cannot be read"),
    "no template": (dict(template=None), "template must be a str"),
    "a label too long": (dict(labels=["a", "good " * 200]), "leave a text no token of the 140"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_what_cannot_be_asked_is_one_line(classifier: onnxpress.Classifier, case: str) -> None:
    settings, words = BAD[case]
    with pytest.raises(onnxpress.ConfigError, match=words) as caught:
        classifier.zero_shot("a film", **{"labels": LABELS, **settings})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_another_model_is_refused_by_its_labels(artifact: Path) -> None:
    with (
        onnxpress.load(artifact, spinning=False) as other,
        pytest.raises(onnxpress.ConfigError, match=r"negative, positive.*entail"),
    ):
        other.zero_shot("a film", LABELS)


def test_bad_texts_are_told_by_their_own_place(classifier: onnxpress.Classifier, bert_nli: Path) -> None:
    for bad, kind in (("x\ud800", onnxpress.TextEncodingError), (None, onnxpress.TextTypeError)):
        with pytest.raises(kind) as caught:
            classifier.zero_shot(["good", "film", bad], LABELS)  # type: ignore[list-item]
        assert caught.value.index == 2
    with pytest.raises(onnxpress.ConfigError, match="text 0 is a pair"):
        classifier.zero_shot([("a", "b")], LABELS)  # type: ignore[list-item]
    with onnxpress.load(bert_nli, long_text="error", max_texts=4, spinning=False) as strict:
        with pytest.raises(onnxpress.TooManyTokensError) as told:
            strict.zero_shot(["good", "film", "good " * 200], LABELS)
        assert told.value.index == 2
