"""What each route answers, over loopback."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

import onnxpress
from tests.serving.http.conftest import Loopback, Serve


def test_predict_takes_a_text_a_pair_and_a_batch(server: Loopback, classifier: onnxpress.Classifier) -> None:
    for inputs, text in (("good film", "good film"), (["good film"], "good film"), (["good", "bad"], ("good", "bad"))):
        found = server.predict(inputs).json()
        wanted = classifier(text, top_k=2)
        assert [one["label"] for one in found] == [one.label for one in wanted]
        assert [one["score"] for one in found] == pytest.approx([one.score for one in wanted], abs=1e-5)
    batch = server.predict([["good film"], ["good", "bad"], ["dull"]]).json()
    assert [rows[0]["label"] for rows in batch] == [
        best.label for best in classifier(["good film", ("good", "bad"), "dull"])
    ]


def test_raw_scores_are_the_logits(server: Loopback, classifier: onnxpress.Classifier) -> None:
    found = server.predict("good film", raw_scores=True).json()
    logits = sorted(classifier.logits(["good film"])[0].tolist(), reverse=True)
    assert [one["score"] for one in found] == pytest.approx(logits, abs=1e-4)


@pytest.mark.parametrize("side", ["left", "Left"])
def test_a_text_that_would_be_cut_is_refused_where_that_was_asked(server: Loopback, side: str) -> None:
    batch = [["fine"], ["good " * 500]]
    assert server.predict(batch).status_code == 200
    assert server.predict(batch, truncate=True, truncation_direction="Right").status_code == 200
    for fields in ({"truncate": False}, {"truncation_direction": side}):
        refused = server.predict(batch, **fields)
        assert refused.status_code == 422 and "text 1 has more than the 140 tokens" in refused.json()["error"]
    assert server.predict([["fine"]], truncate=False, truncation_direction=side).status_code == 200


def test_rerank_orders_the_texts(serve: Serve, ranker: Path) -> None:
    texts = ["bad", "good film", "the heart of a star", "dull"]
    server = serve({"ranker": ranker})
    found = server.client.post("/rerank", json={"query": "film", "texts": texts, "return_text": True}).json()
    raw = server.client.post("/rerank", json={"query": "film", "texts": texts, "raw_scores": True}).json()
    with onnxpress.load(ranker, threads=1) as classifier:
        logits = classifier.logits([("film", text) for text in texts])[:, 0]
    order = np.argsort(-logits).tolist()
    assert [rank["index"] for rank in found] == [rank["index"] for rank in raw] == order
    assert [rank["text"] for rank in found] == [texts[index] for index in order] and "text" not in raw[0]
    assert [rank["score"] for rank in raw] == pytest.approx(logits[order].tolist(), abs=1e-4)
    assert [rank["score"] for rank in found] == pytest.approx((1 / (1 + np.exp(-logits[order]))).tolist(), abs=1e-5)
    assert server.client.post("/", json={"query": "film", "texts": texts}).json()[0].keys() == {"index", "score"}
    assert server.client.get("/info").json()["model_type"]["reranker"]["id2label"] == {"0": "relevance"}


def test_a_classifier_is_no_reranker(server: Loopback) -> None:
    refused = server.client.post("/rerank", json={"query": "film", "texts": ["good"]})
    assert refused.status_code == 424 and refused.json()["error_type"] == "Backend"


def test_info_names_the_model_and_the_limits(serve: Serve) -> None:
    info = serve(max_texts=7).client.get("/info").json()
    assert info["served_model_name"] == "reviews" and info["max_client_batch_size"] == 7
    assert info["max_input_length"] == 140 and info["model_dtype"] == "float32"
    assert info["model_type"] == {
        "classifier": {
            "id2label": {"0": "negative", "1": "positive"},
            "label2id": {"negative": 0, "positive": 1},
        }
    }


def test_health_and_readiness(server: Loopback) -> None:
    assert [server.client.get(path).status_code for path in ("/health", "/ready", "/")] == [200, 200, 200]


def test_models_are_asked_by_name(serve: Serve, artifact: Path, ranker: Path) -> None:
    server = serve({"reviews": artifact, "ranker": ranker})
    assert server.client.get("/models").json() == ["reviews", "ranker"]
    ask = {"inputs": "good film"}
    first = server.client.post("/predict", json=ask).json()
    assert server.client.post("/models/reviews/predict", json=ask).json() == first
    assert server.client.post("/models/reviews", json=ask).json() == first
    assert [one["label"] for one in server.client.post("/models/ranker/predict", json=ask).json()] == ["relevance"]
    assert server.client.get("/models/ranker/info").json()["served_model_name"] == "ranker"
    unknown = server.client.post("/models/other/predict", json=ask)
    assert unknown.status_code == 404 and "'other'" in unknown.json()["error"]


def test_metrics_are_those_of_every_model(serve: Serve, artifact: Path, ranker: Path) -> None:
    server = serve({"reviews": artifact, "ranker": ranker})
    server.predict([["good"], ["bad"]])
    server.client.post("/models/ranker", json={"inputs": "good"})
    page = server.client.get("/metrics").text
    answered = {
        sample.labels["model"]: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "onnxpress_requests_total" and sample.labels["outcome"] == "answered"
    }
    assert answered == {"reviews": 2, "ranker": 1}
    assert page.count("# TYPE onnxpress_requests_total counter") == 1


def test_metrics_without_prometheus_client_name_the_extra(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    refused = server.client.get("/metrics")
    assert refused.status_code == 501 and "onnxpress[metrics]" in refused.json()["error"]


def test_the_document_lists_every_route_and_the_page_asks_no_one_else(server: Loopback) -> None:
    document = server.client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method in methods.keys() & {"get", "post"}:
            asked = server.client.request(method, path.replace("{model}", "reviews"), content=b"{}")
            assert asked.status_code == (200 if method == "get" else 422), (method, path)
    assert server.client.get("/predict").status_code == 405 and server.client.get("/embed").status_code == 404
    schema = document["components"]["schemas"]["PredictRequest"]
    assert set(schema["properties"]) >= {"inputs", "truncate", "truncation_direction", "raw_scores"}
    page = server.client.get("/docs").text
    assert "/rerank" in page and "http" not in page.replace("https", "http").split("<h2>Messages")[0].lower()
