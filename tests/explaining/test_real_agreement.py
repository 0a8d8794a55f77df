"""Explanations of int8 say of real text what those of fp32 say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import onnxpress
from onnxpress.explaining.explanation import Method
from onnxpress_bench.demo.corpus import LABELS, Corpus, read_corpus
from onnxpress_bench.demo.finetune import finetune, unpack_base_model
from onnxpress_bench.demo.sources import BASE_MODEL, REVIEWS, fetch
from onnxpress_export import export

pytestmark = [pytest.mark.slow, pytest.mark.network]

TEXTS, LEAST_WORDS = 40, 8


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    found = read_corpus(fetch(REVIEWS, tmp_path_factory.mktemp("reviews")))
    return Corpus(training=found.training[:3_000], held_out=found.held_out)


@pytest.fixture(scope="module")
def reviewer(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of film reviews in fp32 and int8."""
    folder = tmp_path_factory.mktemp("reviewer")
    base = unpack_base_model(fetch(BASE_MODEL, folder), folder / "base")
    finetune(base, corpus, folder / "checkpoint", epochs=1)
    rows = ({"text": example.text, "label": LABELS[example.label]} for example in corpus.held_out)
    (folder / "sample.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    export(
        folder / "checkpoint",
        folder / "artifact",
        precisions=("fp32", "int8"),
        sample=folder / "sample.jsonl",
        max_disagreement=0.02,
    )
    return folder / "artifact"


@pytest.mark.parametrize("method", ["shap", "occlusion"])
def test_shares_of_int8_rank_words_as_those_of_fp32(reviewer: Path, corpus: Corpus, method: Method) -> None:
    spearmanr = pytest.importorskip("scipy.stats").spearmanr
    pytest.importorskip("shap")
    texts = [example.text for example in corpus.held_out if len(example.text.split()) >= LEAST_WORDS][:TEXTS]
    with (
        onnxpress.load(reviewer, precision="fp32", optimize_for="throughput") as exact,
        onnxpress.load(reviewer, precision="int8", recheck=False, optimize_for="throughput") as rounded,
    ):
        found = []
        for text in texts:
            label = exact(text).label
            shares = [
                [word.share for word in classifier.explain(text, label=label, method=method, evaluations=300)]
                for classifier in (exact, rounded)
            ]
            found.append(float(spearmanr(*shares).statistic))
    assert np.median(found) > 0.95 and np.quantile(found, 0.05) > 0.8, sorted(found)
