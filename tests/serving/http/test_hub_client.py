"""Hugging Face's own client, unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

import onnxpress
from tests.serving.http.conftest import Loopback, Serve


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its switch for working offline also forbids loopback."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


def test_text_classification(server: Loopback, classifier: onnxpress.Classifier) -> None:
    client = InferenceClient(model=server.url, timeout=30)
    found = client.text_classification("good film")
    wanted = classifier("good film", top_k=2)
    assert [one.label for one in found] == [one.label for one in wanted]
    assert [one.score for one in found] == pytest.approx([one.score for one in wanted], abs=1e-5)


def test_its_parameters(server: Loopback, classifier: onnxpress.Classifier) -> None:
    client = InferenceClient(model=server.url, timeout=30)
    (best,) = client.text_classification("good film", top_k=1)
    assert best.label == classifier("good film").label
    raw = client.text_classification("good film", function_to_apply="none")
    logits = sorted(classifier.logits(["good film"])[0].tolist(), reverse=True)
    assert [one.score for one in raw] == pytest.approx(logits, abs=1e-4)
    each = client.text_classification("good film", function_to_apply="sigmoid")
    assert sum(one.score for one in each) != pytest.approx(1, abs=1e-6)


def test_a_model_by_name_and_a_token(serve: Serve, artifact: Path, ranker: Path) -> None:
    server = serve({"reviews": artifact, "ranker": ranker}, token="letmein")
    client = InferenceClient(model=f"{server.url}/models/ranker", token="letmein", timeout=30)
    (only,) = client.text_classification("good film")
    assert only.label == "relevance"
    with pytest.raises(HfHubHTTPError, match="401"):
        InferenceClient(model=server.url, token="other", timeout=30).text_classification("good film")
