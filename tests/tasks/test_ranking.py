"""Ranking: the order and the scores of sentence-transformers' CrossEncoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import BertForSequenceClassification, PreTrainedTokenizerFast

import onnxpress
from onnxpress import Ranked
from onnxpress.tasks.ranking import ranked
from onnxpress_export import export
from tests.conftest import WORDS, Exported, MakeCheckpoint

ATOL = 2e-5  # fp32 sums in another order
QUERY = "a film with heart"


@pytest.fixture(scope="module")
def documents() -> list[str]:
    generator = np.random.default_rng(11)
    made = [" ".join(generator.choice(WORDS, size)) for size in generator.integers(1, 200, 40)]  # the longest are cut
    return [*made, "", made[3]]


@pytest.fixture(scope="module", params=["stored", "none"])
def ranker(
    request: pytest.FixtureRequest,
    reranker: Exported,
    make_checkpoint: MakeCheckpoint,
    tmp_path_factory: pytest.TempPathFactory,
) -> Exported:
    """One with a stored activation, and one with none, whose scores are a sigmoid."""
    if request.param == "stored":
        return reranker
    checkpoint = make_checkpoint(labels=("LABEL_0",))
    path = tmp_path_factory.mktemp("ranker") / "artifact"
    export(checkpoint, path)
    return Exported(checkpoint, path)


@pytest.fixture(scope="module")
def classifier(ranker: Exported) -> onnxpress.Classifier:
    return onnxpress.load(ranker.artifact, spinning=False)


def cross_encoder_scores(ranker: Exported, documents: list[str]) -> NDArray[np.float32]:
    """CrossEncoder.predict: the tokenizer's own truncation, then the stored activation, a sigmoid where none is."""
    model = BertForSequenceClassification.from_pretrained(ranker.checkpoint).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(ranker.checkpoint)
    stored = getattr(model.config, "sentence_transformers", {}).get("activation_fn", "Sigmoid").rsplit(".", 1)[-1]
    rows = tokenizer([QUERY] * len(documents), documents, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        scores: NDArray[np.float32] = getattr(torch.nn, stored)()(model(**rows).logits)[:, 0].numpy()
    return scores


def test_order_and_scores_are_the_cross_encoders(
    ranker: Exported, classifier: onnxpress.Classifier, documents: list[str]
) -> None:
    found = classifier.rank(QUERY, documents)
    wanted = cross_encoder_scores(ranker, documents)
    assert np.ptp(wanted) > 100 * ATOL, "documents that cannot be told apart would prove nothing"
    assert sorted(one.index for one in found) == list(range(len(documents)))
    assert [one.text for one in found] == [documents[one.index] for one in found]
    np.testing.assert_allclose([one.score for one in found], wanted[[one.index for one in found]], rtol=0, atol=ATOL)
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)


def test_equal_documents_keep_their_order(classifier: onnxpress.Classifier, documents: list[str]) -> None:
    places = [one.index for one in classifier.rank(QUERY, documents)]
    assert places.index(41) == places.index(3) + 1


def test_raw_values_are_at_hand(classifier: onnxpress.Classifier, documents: list[str]) -> None:
    logits = classifier.logits([(QUERY, document) for document in documents])
    found = classifier.rank(QUERY, documents)
    np.testing.assert_allclose(
        [one.score for one in found], classifier.scores(logits)[[one.index for one in found], 0], rtol=0, atol=ATOL
    )


def test_top_k_and_nothing(classifier: onnxpress.Classifier, documents: list[str]) -> None:
    everything = classifier.rank(QUERY, documents)
    assert classifier.rank(QUERY, documents, top_k=3) == everything[:3]
    assert classifier.rank(QUERY, documents, top_k=1_000) == everything
    assert classifier.rank(QUERY, []) == []
    assert classifier.rank(QUERY, tuple(documents[:2]) and documents[:2]) == classifier.rank(QUERY, documents[:2])


def test_ties_of_rounded_scores_keep_the_documents_order() -> None:
    scores = np.array([[1], [0.5], [1], [0.5]], dtype=np.float32)
    assert ranked("abcd", scores, None) == [
        Ranked(0, 1.0, "a"),
        Ranked(2, 1.0, "c"),
        Ranked(1, 0.5, "b"),
        Ranked(3, 0.5, "d"),
    ]


def test_what_cannot_be_ranked_is_one_line(classifier: onnxpress.Classifier, artifact: Path) -> None:
    for top_k in (0, -1, 1.5, True):
        with pytest.raises(onnxpress.ConfigError, match="top_k"):
            classifier.rank(QUERY, ["a"], top_k=top_k)  # type: ignore[arg-type]
    with pytest.raises(onnxpress.ConfigError, match="query must be a str, got of type int"):
        classifier.rank(3, ["a"])  # type: ignore[arg-type]
    for documents, place in ((["a", None], 1), ("abc", 0), ([("a", "b")], 0), ({"a"}, 0)):
        with pytest.raises(onnxpress.TextTypeError) as caught:
            classifier.rank(QUERY, documents)  # type: ignore[arg-type]
        assert caught.value.index == place
    with (
        onnxpress.load(artifact, spinning=False) as other,
        pytest.raises(onnxpress.ConfigError, match=r"2 labels \(negative, positive\)"),
    ):
        other.rank(QUERY, ["a"])
