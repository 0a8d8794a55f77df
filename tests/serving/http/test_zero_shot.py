"""Labels that a request brings, as Hugging Face's own client sends and reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import InferenceClient

import onnxpress
from onnxpress.serving.http.limits import Limits
from tests.serving.http.conftest import Loopback, serving

LABELS = ["fun", "sad story", "plot"]
TEXT = "a film with heart"


@pytest.fixture(scope="module")
def nli_server(bert_nli: Path) -> Iterator[Loopback]:
    with serving({"nli": bert_nli}, Limits(max_texts=12), None, 20) as loopback:
        yield loopback


@pytest.fixture(scope="module")
def nli(bert_nli: Path) -> onnxpress.Classifier:
    return onnxpress.load(bert_nli, threads=1, spinning=False)


def test_hugging_faces_client(nli_server: Loopback, nli: onnxpress.Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # which also forbids loopback
    client = InferenceClient(model=nli_server.url, timeout=30)
    for options in ({}, {"multi_label": True, "hypothesis_template": "It is {}."}):
        found = client.zero_shot_classification(TEXT, LABELS, **options)  # type: ignore[arg-type]
        template = {"template": options["hypothesis_template"]} if options else {}
        wanted = nli.zero_shot(TEXT, LABELS, multi_label=bool(options), **template)  # type: ignore[arg-type]
        assert [one.label for one in found] == wanted.labels
        assert [one.score for one in found] == pytest.approx(wanted.scores, abs=1e-5)


def test_several_texts_and_a_path_of_its_own(nli_server: Loopback, nli: onnxpress.Classifier) -> None:
    body = {"inputs": [TEXT, "dull"], "parameters": {"candidate_labels": "fun, sad story, plot"}}
    wanted = nli.zero_shot([TEXT, "dull"], LABELS)
    for path in ("/", "/predict", "/models/nli", "/models/nli/predict"):
        found = nli_server.client.post(path, json=body).json()
        assert [[one["label"] for one in row] for row in found] == [one.labels for one in wanted]


@pytest.mark.parametrize(
    ("inputs", "parameters", "status", "words"),
    [
        ("", {"candidate_labels": LABELS}, 400, "inputs is empty"),
        (TEXT, {"candidate_labels": []}, 422, "labels is empty"),
        (TEXT, {"candidate_labels": ["a", "a"]}, 422, "given twice"),
        (TEXT, {"candidate_labels": [1]}, 422, "Expected `str`"),
        (TEXT, {"candidate_labels": LABELS, "hypothesis_template": "no"}, 422, "has no {}"),
        (TEXT, {"candidate_labels": LABELS, "top_k": 1}, 422, "unknown field"),
        (TEXT, {"candidate_labels": list("abcdefghijklm")}, 422, "batch size 13"),
        ([TEXT] * 5, {"candidate_labels": LABELS}, 422, "batch size 15"),
        ([["a", "b"]], {"candidate_labels": LABELS}, 422, "Expected `str`"),
        ("\ud800", {"candidate_labels": LABELS}, 422, "text 0 holds the lone surrogate"),
    ],
)
def test_what_cannot_be_asked(
    nli_server: Loopback, inputs: object, parameters: object, status: int, words: str
) -> None:
    body = json.dumps({"inputs": inputs, "parameters": parameters})  # with the surrogate as an escape
    found = nli_server.client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert found.status_code == status and words in found.json()["error"]


def test_another_model_is_no_judge(server: Loopback) -> None:
    found = server.predict(TEXT, parameters={"candidate_labels": LABELS})
    assert found.status_code == 422 and "begins with 'entail'" in found.json()["error"]


def test_it_is_documented(nli_server: Loopback) -> None:
    document = nli_server.client.get("/openapi.json").json()
    assert "candidate_labels" in document["components"]["schemas"]["ZeroShotParameters"]["properties"]
    body = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {one["$ref"].rsplit("/", 1)[-1] for one in body["anyOf"]} >= {"PredictRequest", "ZeroShotRequest"}
