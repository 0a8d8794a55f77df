"""Any text at all: scores that sum to one, the same alone, in company and in a service; or an error of ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import onnxpress

ATOL = 1e-5  # the same kernels, other blockings of the same sums

characters = st.characters(exclude_categories=[])  # lone surrogates too
anything = st.one_of(
    st.text(characters, max_size=60),
    st.text(st.sampled_from("ab \n\0\u200d\u0301\ufeff👩🏽\u202e"), max_size=300),
    st.integers(1, 3_000).map(lambda size: "x" * size),
    st.integers(1, 3_000).map(lambda size: "good " * size),
    st.tuples(st.text(characters, max_size=30), st.text(characters, max_size=30)),
)


@pytest.fixture(scope="module")
def classifier(artifact: Path) -> Iterator[onnxpress.Classifier]:
    with onnxpress.load(artifact, threads=1, spinning=False, max_characters=10_000) as opened:
        yield opened


@pytest.mark.slow
@settings(max_examples=3_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(anything, min_size=1, max_size=6))
def test_any_texts(classifier: onnxpress.Classifier, texts: list[onnxpress.Text]) -> None:
    rejected = {problem.index for problem in classifier.rejected(texts)}
    if rejected:
        with pytest.raises(onnxpress.TextError) as caught:
            classifier.probabilities(texts)
        assert caught.value.index == min(rejected)
    kept = [text for index, text in enumerate(texts) if index not in rejected]
    if not kept:
        return
    together = classifier.probabilities(kept)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)
    alone = np.concatenate([classifier.probabilities([text]) for text in kept])
    np.testing.assert_allclose(together, alone, rtol=0, atol=ATOL)
    mixed = classifier.mixed()
    np.testing.assert_allclose(classifier.scores(mixed.run(mixed.encode(kept))), alone, rtol=0, atol=ATOL)
