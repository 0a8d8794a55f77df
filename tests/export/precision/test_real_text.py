"""Lower precisions on a real encoder and real film reviews: the same answer alone, in any batch, in any order."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import onnxpress
from onnxpress_bench.demo.corpus import read_corpus
from onnxpress_bench.demo.finetune import unpack_base_model
from onnxpress_bench.demo.sources import BASE_MODEL, REVIEWS, fetch
from onnxpress_export import export

pytestmark = [pytest.mark.slow, pytest.mark.network]


def test_real_reviews_are_answered_the_same_in_any_company(tmp_path: Path) -> None:
    """The encoder is trained, its head is seeded: answers lie far closer together than a trained head's."""
    reviews = [example.text for example in read_corpus(fetch(REVIEWS, tmp_path)).held_out]
    base = unpack_base_model(fetch(BASE_MODEL, tmp_path), tmp_path / "base")
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    torch.nn.init.normal_(model.classifier.weight)
    model.save_pretrained(tmp_path / "checkpoint")
    AutoTokenizer.from_pretrained(base, model_max_length=512).save_pretrained(tmp_path / "checkpoint")
    sample = tmp_path / "reviews.jsonl"
    sample.write_text("".join(json.dumps({"text": text}) + "\n" for text in reviews))
    report = export(
        tmp_path / "checkpoint",
        tmp_path / "artifact",
        precisions=("fp32", "fp16", "int8"),
        sample=sample,
        max_disagreement=0.03,
    )
    fp32, fp16, int8 = report.manifest.variants
    bytes_of = {name: record.bytes for name, record in report.manifest.files.items()}
    assert bytes_of[int8.weights[0]] * 3.2 < bytes_of[fp32.weights[0]]
    assert bytes_of[fp16.weights[0]] * 1.99 < bytes_of[fp32.weights[0]]
    assert fp16.fidelity is not None and fp16.fidelity.changed <= 0.002 * fp16.fidelity.texts
    texts = reviews[:1_200]
    order = np.random.default_rng(1).permutation(len(texts))
    for precision in ("fp32", "int8"):
        with (
            onnxpress.load(tmp_path / "artifact", precision=precision) as latency,
            onnxpress.load(tmp_path / "artifact", precision=precision, optimize_for="throughput") as throughput,
        ):
            wanted = throughput.logits(texts).argmax(1)
            alone = [int(latency.logits([text]).argmax()) for text in texts]
            shuffled = np.empty_like(wanted)
            shuffled[order] = throughput.logits([texts[index] for index in order]).argmax(1)
        assert np.array_equal(alone, wanted) and np.array_equal(shuffled, wanted)
