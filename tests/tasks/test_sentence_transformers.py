"""The real CrossEncoder, in an environment of its own: its scores and its order; and what its newer versions save."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

import onnxpress
from onnxpress_bench.environments import environment_python
from onnxpress_bench.runner import cache_home
from onnxpress_export import export
from tests.conftest import WORDS, MakeCheckpoint

pytestmark = [pytest.mark.slow, pytest.mark.network]

QUERY = "a film with heart"
ATOL = 2e-5  # fp32 sums in another order

SCRIPT = """
import json, sys
from sentence_transformers import CrossEncoder
import torch

checkpoint, saved, activation, query, *documents = json.load(sys.stdin)
chosen = {} if activation is None else {"activation_fn": getattr(torch.nn, activation)()}
model = CrossEncoder(checkpoint, device="cpu", **chosen)
model.save_pretrained(saved)
scores = model.predict([(query, document) for document in documents])
order = [one["corpus_id"] for one in model.rank(query, documents)]
print(json.dumps({"scores": scores.tolist(), "order": order}))
"""


@pytest.mark.parametrize("activation", [None, "Identity", "Sigmoid"])
def test_the_real_cross_encoder(make_checkpoint: MakeCheckpoint, tmp_path: Path, activation: str | None) -> None:
    generator = np.random.default_rng(11)
    documents = [" ".join(generator.choice(WORDS, size)) for size in generator.integers(1, 200, 40)]
    python = environment_python("cross-encoder", cache_home() / "environments")
    asked = [str(make_checkpoint(labels=("LABEL_0",))), str(tmp_path / "saved"), activation, QUERY, *documents]
    done = subprocess.run(
        [python, "-c", SCRIPT], input=json.dumps(asked), capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    wanted = json.loads(done.stdout.splitlines()[-1])
    export(tmp_path / "saved", tmp_path / "artifact")  # as it saves a model itself, activation and all
    with onnxpress.load(tmp_path / "artifact", spinning=False) as classifier:
        found = classifier.rank(QUERY, documents)
    scores = np.array(wanted["scores"])
    np.testing.assert_allclose([one.score for one in found], scores[[one.index for one in found]], rtol=0, atol=ATOL)
    gaps = -np.diff(np.sort(scores)[::-1])
    if gaps.min() > 2 * ATOL:
        assert [one.index for one in found] == wanted["order"]
