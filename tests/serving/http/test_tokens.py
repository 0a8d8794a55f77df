"""A server of a token classifier, as Hugging Face's client and others ask it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import InferenceClient

import onnxpress
from onnxpress.serving.http.limits import Limits
from tests.serving.http.conftest import Loopback, serving

TEXT = "great film by a star who was never in love 👩‍👩‍👧 in Oslo"


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its switch for working offline also forbids loopback."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.fixture(scope="module")
def server(token_artifact: Path, artifact: Path) -> Iterator[Loopback]:
    artifacts = {"tagger": token_artifact, "reviews": Path(artifact)}
    with serving(artifacts, Limits(max_texts=4), None, 20) as loopback:
        yield loopback


@pytest.fixture(scope="module")
def tagger(token_artifact: Path) -> Iterator[onnxpress.TokenClassifier]:
    with onnxpress.load(token_artifact, task="token-classification", threads=1) as opened:
        yield opened


def shown(entities: list[onnxpress.Entity]) -> list[tuple[object, ...]]:
    return [(entity.label, entity.text, entity.start, entity.end) for entity in entities]


@pytest.mark.parametrize("strategy", [None, "none", "simple", "first", "average", "max"])
def test_hugging_faces_client(server: Loopback, tagger: onnxpress.TokenClassifier, strategy: str | None) -> None:
    client = InferenceClient(model=server.url, timeout=30)
    found = client.token_classification(TEXT, aggregation_strategy=strategy)  # type: ignore[arg-type]
    wanted = tagger(TEXT, aggregation=strategy or "simple")  # type: ignore[call-overload]
    assert [(one.entity_group or one.entity, one.word, one.start, one.end) for one in found] == shown(wanted)
    assert [one.score for one in found] == pytest.approx([one.score for one in wanted], abs=1e-5)
    assert all((one.entity is None) != (strategy == "none") for one in found)
    kept = client.token_classification(TEXT, ignore_labels=["PER"])
    assert shown(tagger(TEXT, ignore_labels=["PER"])) == [(e.entity_group, e.word, e.start, e.end) for e in kept]


def test_one_text_and_several(server: Loopback, tagger: onnxpress.TokenClassifier) -> None:
    alone, several = server.predict(TEXT).json(), server.predict([TEXT, "", TEXT]).json()
    assert several == [alone, [], alone] and len(alone) == len(tagger(TEXT))
    named = server.client.post("/models/tagger/predict", json={"inputs": TEXT}).json()
    assert named == alone
    info = server.client.get("/info").json()
    assert info["model_type"]["token_classifier"]["id2label"]["1"] == "B-PER"
    assert "onnxpress" in server.client.get("/metrics").text
    labels = server.client.post("/models/reviews/predict", json={"inputs": "good film"}).json()
    assert {one["label"] for one in labels} == {"negative", "positive"}


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"inputs": []}, 400, "inputs is empty"),
        ({"inputs": [["a", "b"]]}, 422, "Expected `str`"),
        ({"inputs": ["a"] * 5}, 422, "batch size 5"),
        ({"inputs": "a", "parameters": {"stride": 3}}, 422, "stride"),
        ({"inputs": "a", "parameters": {"top_k": 3}}, 422, "top_k"),
        ({"inputs": "a", "parameters": {"aggregation_strategy": "all"}}, 422, "Invalid enum value 'all'"),
        ({"inputs": "a " * 200, "truncate": False}, 422, "has more than the 140 tokens"),
        ({"inputs": "a\ud800"}, 422, "lone surrogate"),
        ({"query": "a", "texts": ["b"]}, 424, "labels the tokens of a text"),
    ],
)
def test_what_cannot_be_answered_is_told(server: Loopback, body: object, status: int, told: str) -> None:
    import json

    answer = server.client.post("/", content=json.dumps(body), headers={"content-type": "application/json"})
    assert answer.status_code == status and told in answer.json()["error"]


def test_the_document_names_both(server: Loopback) -> None:
    document = server.client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    assert {"TagRequest", "TagParameters", "Entities", "PredictRequest"} <= schemas.keys()
    asked = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "TagRequest" in str(asked)
