"""transformers' zero-shot pipeline as a peer: the logits of pairs, in their order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxpress_bench.peers import peer_systems
from onnxpress_bench.systems.build import build
from onnxpress_bench.systems.zero_shot import grouped
from tests.conftest import MakeCheckpoint

PAIRS = [("good", "x"), ("good", "y"), ("bad", "x"), ("bad", "y"), ("bad", "x"), ("plot", "y")]


def test_pairs_of_one_text_are_asked_together() -> None:
    assert grouped(PAIRS) == {("x", "y"): [("good", 0), ("bad", 2)], ("x",): [("bad", 4)], ("y",): [("plot", 5)]}
    assert grouped([]) == {}
    with pytest.raises(TypeError, match="single texts"):
        grouped(["good"])


def test_its_logits_are_those_of_the_model(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    checkpoint = str(make_checkpoint(labels=("contradiction", "neutral", "entailment")))
    pairs = [(f"good {word} film", f"this is {label}") for word in ("sad", "fun") for label in ("plot", "star", "fun")]
    zero_shot, eager = (
        build(system) for name in ("zero-shot", "eager") for system in peer_systems([name], checkpoint, str(tmp_path))
    )
    assert zero_shot.labels == eager.labels
    np.testing.assert_allclose(zero_shot.logits(pairs), eager.logits(pairs), rtol=0, atol=1e-5)
