from __future__ import annotations

from pathlib import Path

import onnxpress
from onnxpress_bench.flops import encoder_flops
from onnxpress_bench.sweeps import make_sweeps


def test_texts_have_the_length_asked_for(artifact: Path, texts: list[str]) -> None:
    with onnxpress.load(artifact) as classifier:
        found = make_sweeps(classifier, texts, (3, 16, 100, 141), (1, 4), 140)
        assert list(found) == [(3, 1), (3, 4), (16, 1), (16, 4), (100, 1), (100, 4)]
        for (tokens, batch), rows in found.items():
            assert len(set(rows)) == batch or tokens == 3
            assert set(classifier.count_tokens(rows)) == {tokens}  # every word of theirs is one token


def test_flops_are_those_of_the_products() -> None:
    config = {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1_536, "hidden_act": "gelu"}
    # Weights of a layer: 4 * 384 * 384 + 2 * 384 * 1536; attention of 10 tokens: 10 * 10 * 384 products twice.
    assert encoder_flops(config, [10]) == 6 * (2 * 10 * (589_824 + 1_179_648) + 4 * 100 * 384)
    assert encoder_flops(config, [10, 20]) == (encoder_flops(config, [10]) or 0) + (encoder_flops(config, [20]) or 0)
    assert encoder_flops({**config, "hidden_act": "silu"}, [10]) is None
    assert encoder_flops({}, [10]) is None
