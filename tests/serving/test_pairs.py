"""Zero-shot classification and ranking by services: the classifier's own answers, through the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxpress
from onnxpress import Ranked
from tests.conftest import Exported

TEXTS = ["a film with heart", "the worst plot " * 40, "good " * 300]  # the last is cut
LABELS = ["fun", "sad story", "plot"]
ATOL = 2e-5  # other blockings of the same sums

Ask = Callable[[onnxpress.Classifier, Callable[[Any], Any]], Any]


def with_asyncio(classifier: onnxpress.Classifier, ask: Callable[[Any], Any]) -> Any:
    async def main() -> Any:
        async with onnxpress.AsyncClassifier(classifier) as service:
            return await ask(service)

    return asyncio.run(main())


def with_threads(classifier: onnxpress.Classifier, ask: Callable[[Any], Any]) -> Any:
    with onnxpress.ThreadedClassifier(classifier) as service:
        return ask(service)


both = pytest.mark.parametrize("served", [with_asyncio, with_threads])


@pytest.fixture(scope="module")
def nli(bert_nli: Path) -> onnxpress.Classifier:
    return onnxpress.load(bert_nli, threads=1, spinning=False)


@pytest.fixture(scope="module")
def ranker(reranker: Exported) -> onnxpress.Classifier:
    return onnxpress.load(reranker.artifact, threads=1, spinning=False)


@both
@pytest.mark.parametrize("multi_label", [False, True])
def test_zero_shot(nli: onnxpress.Classifier, served: Ask, multi_label: bool) -> None:
    found = served(nli, lambda service: service.zero_shot(TEXTS, LABELS, template="It is {}.", multi_label=multi_label))
    wanted = nli.zero_shot(TEXTS, LABELS, template="It is {}.", multi_label=multi_label)
    for one, other in zip(found, wanted, strict=True):
        assert (one.text, one.labels) == (other.text, other.labels)
        np.testing.assert_allclose(one.scores, other.scores, rtol=0, atol=ATOL)
    alone = served(nli, lambda service: service.zero_shot(TEXTS[0], LABELS))
    assert alone.text == TEXTS[0] and served(nli, lambda service: service.zero_shot([], LABELS)) == []


@both
def test_rank(ranker: onnxpress.Classifier, served: Ask) -> None:
    found: list[Ranked] = served(ranker, lambda service: service.rank("a film", TEXTS, top_k=2))
    wanted = ranker.rank("a film", TEXTS, top_k=2)
    assert [(one.index, one.text) for one in found] == [(one.index, one.text) for one in wanted]
    np.testing.assert_allclose([one.score for one in found], [one.score for one in wanted], rtol=0, atol=ATOL)
    assert served(ranker, lambda service: service.rank("a film", [])) == []


@both
def test_what_cannot_be_asked(
    nli: onnxpress.Classifier, ranker: onnxpress.Classifier, artifact: Path, served: Ask
) -> None:
    with pytest.raises(onnxpress.TextEncodingError) as caught:
        served(nli, lambda service: service.zero_shot(["good", "\ud800"], LABELS))
    assert caught.value.index == 1
    with pytest.raises(onnxpress.ConfigError, match="labels is empty"):
        served(nli, lambda service: service.zero_shot("good", []))
    with pytest.raises(onnxpress.ConfigError, match="3 labels"):
        served(nli, lambda service: service.rank("good", ["a"]))
    with pytest.raises(onnxpress.ConfigError, match="top_k"):
        served(ranker, lambda service: service.rank("good", ["a"], top_k=0))
    with pytest.raises(onnxpress.DeadlineExceededError):
        served(ranker, lambda service: service.rank("good", ["a " * 100] * 50, timeout=1e-9))


def test_many_threads_at_once(nli: onnxpress.Classifier) -> None:
    wanted = [one.labels for one in nli.zero_shot(TEXTS[:2], LABELS)]
    with onnxpress.ThreadedClassifier(nli) as service, ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda number: service.zero_shot(TEXTS[number % 2], LABELS).labels, range(40))
        assert list(found) == wanted * 20
