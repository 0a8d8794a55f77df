"""`onnxpress verify --endpoint`: right servers pass, and each kind of wrong one is found."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import onnxpress
from onnxpress.artifacts.manifest import MANIFEST_NAME
from onnxpress.cli.main import app
from onnxpress.serving.http.limits import Limits
from tests.conftest import edit_json
from tests.serving.http.conftest import serving

Answer = Callable[[Any], tuple[int, Any]]


@contextmanager
def faking(routes: dict[str, Answer]) -> Iterator[str]:
    """A server with these routes, each of which gives a status and JSON for JSON; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"null"
            status, content = routes.get(self.path, lambda _: (404, None))(json.loads(body))
            told = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(told)))
            self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(told)

        do_GET = do_POST = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(20)


def as_texts(inputs: list[list[str]]) -> list[Any]:
    return [one[0] if len(one) == 1 else tuple(one) for one in inputs]


def tei(classifier: onnxpress.Classifier, change: Callable[[list[dict[str, Any]]], Any] = lambda row: row) -> Answer:
    """text-embeddings-inference's /predict, each text's answer changed."""

    def answer(asked: Any) -> tuple[int, Any]:
        if "inputs" not in asked:
            return 422, {"error": "missing field `inputs`", "error_type": "Validation"}
        ranked = classifier(as_texts(asked["inputs"]), top_k=2)
        return 200, [change([{"score": one.score, "label": one.label} for one in row]) for row in ranked]

    return answer


def vllm(classifier: onnxpress.Classifier) -> Answer:
    """Its /classify, the answers in no order."""

    def answer(asked: Any) -> tuple[int, Any]:
        if asked.get("model") != "reviews":
            return 400, {"error": {"message": "no such model"}}
        rows = classifier.probabilities(asked["input"]).tolist()
        data = [
            {"index": index, "label": None, "probs": row, "num_classes": len(row)} for index, row in enumerate(rows)
        ]
        return 200, {"object": "list", "model": "reviews", "data": data[::-1]}

    return answer


@pytest.fixture(autouse=True)
def talkative(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command runs in this process, whose logging is not its own."""
    monkeypatch.setattr("onnxpress.cli.main.silence_libraries", lambda: None)


@pytest.fixture(scope="module")
def sample(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sample") / "sample.txt"
    path.write_text("\n".join(texts[:80]))
    return path


@pytest.fixture(scope="module")
def opened(artifact: Path) -> Iterator[onnxpress.Classifier]:
    with onnxpress.load(artifact, threads=1, spinning=False, device="cpu") as classifier:
        yield classifier


def verify(artifact: Path, sample: Path, url: str, *more: str, status: int = 0) -> tuple[dict[str, Any], str]:
    """The line on standard output, and the words on standard error."""
    done = CliRunner().invoke(app, ["verify", str(artifact), "--sample", str(sample), "--endpoint", url, *more])
    assert done.exit_code == status, done.output
    assert done.stderr.count("\n") == (status != 0) and "Traceback" not in done.stderr
    return json.loads(done.stdout or "{}"), done.stderr


def test_our_server_passes(artifact: Path, sample: Path) -> None:
    with serving({"reviews": artifact}, Limits(), "letmein", 20) as server:
        found, _ = verify(artifact, sample, server.url + "/", "--token", "letmein", "--tolerance", "1e-4")
        by_name, _ = verify(artifact, sample, f"{server.url}/models/reviews", "--token", "letmein")
        refused = verify(artifact, sample, server.url, "--token", "other", status=2)
    assert found["protocol"] == "tei" and found["texts"] == 81 and found["cut"] == 1
    assert found["differing"] == by_name["differing"] == 0 and found["largest_difference"] < 1e-4
    assert "401" in refused[1]


def test_pairs_are_compared(artifact: Path, tmp_path: Path, opened: onnxpress.Classifier) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"text": "good film", "text_pair": "bad plot"}\n{"text": "dull"}\n')
    with faking({"/predict": tei(opened)}) as url:
        assert verify(artifact, pairs, url)[0]["differing"] == 0
    with faking({"/classify": vllm(opened)}) as url:
        assert "pairs" in verify(artifact, pairs, url, status=2)[1]


def test_vllm_passes(artifact: Path, sample: Path, opened: onnxpress.Classifier) -> None:
    models = {"object": "list", "data": [{"id": "reviews"}]}
    with faking({"/classify": vllm(opened), "/v1/models": lambda _: (200, models)}) as url:
        found, _ = verify(artifact, sample, url)
    assert found["protocol"] == "vllm" and found["differing"] == 0


def swapped(row: list[dict[str, Any]]) -> Any:
    return [one | {"label": other["label"]} for one, other in zip(row, row[::-1], strict=True)]


def moved(row: list[dict[str, Any]]) -> Any:
    return [one | {"score": one["score"] * 0.9} for one in row]


@pytest.mark.parametrize(("change", "what"), [(swapped, "label"), (moved, "score"), (lambda row: row[::-1], "order")])
def test_other_answers_are_found(
    artifact: Path, sample: Path, opened: onnxpress.Classifier, change: Callable[[Any], Any], what: str
) -> None:
    with faking({"/predict": tei(opened, change)}) as url:
        found, words = verify(artifact, sample, url, status=1)
    assert found["differing"] > 70 and what in {one["what"] for one in found["examples"]}
    first = found["examples"][0]
    assert f"first by its {first['what']}" in words and first["text"][:60] in words and len(found["examples"]) == 10


def test_other_weights_are_found(artifact: Path, sample: Path, other_artifact: Path, tmp_path: Path) -> None:
    served = Path(shutil.copytree(other_artifact, tmp_path / "served"))
    edit_json(served / MANIFEST_NAME, lambda manifest: manifest.update(labels=["negative", "positive"]))
    with onnxpress.load(served, threads=1, device="cpu") as other, faking({"/predict": tei(other)}) as url:
        assert verify(artifact, sample, url, status=1)[0]["differing"] > 0


def test_another_cut_is_found(artifact: Path, sample: Path, opened: onnxpress.Classifier) -> None:
    """A server that keeps fewer tokens answers all but the long text alike."""
    right = tei(opened)

    def shorter(asked: Any) -> tuple[int, Any]:
        inputs = [[" ".join(text.split()[:70]) for text in one] for one in asked.get("inputs", [])]
        return right({"inputs": inputs} if inputs else asked)

    with faking({"/predict": shorter}) as url:
        found, _ = verify(artifact, sample, url, "--tolerance", "1e-4", status=1)
    assert [one["index"] for one in found["examples"]] == [80] and found["cut"] == 1


def test_a_busy_server_is_asked_again(artifact: Path, sample: Path, opened: onnxpress.Classifier) -> None:
    right, refusals = tei(opened), iter([False, True, True, False, True])

    def busy(asked: Any) -> tuple[int, Any]:
        return (429, {"error": "overloaded"}) if next(refusals, False) else right(asked)

    with faking({"/predict": busy}) as url:
        assert verify(artifact, sample, url)[0]["differing"] == 0


def test_other_labels_are_another_model(artifact: Path, sample: Path, opened: onnxpress.Classifier) -> None:
    with faking({"/predict": tei(opened, lambda row: [one | {"label": one["label"].upper()} for one in row])}) as url:
        assert "another model" in verify(artifact, sample, url, status=2)[1]


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"<html>"),
        (200, b""),
        (200, {"detail": "ok"}),
        (200, []),
        (200, [[{"label": "negative"}]] * 32),
        (500, b"oops\n\nonce more"),
        (413, {"error": "batch"}),
    ],
)
def test_what_is_no_answer(artifact: Path, sample: Path, answer: tuple[int, Any]) -> None:
    with faking({"/predict": lambda _: answer}) as url:
        assert url in verify(artifact, sample, url, status=2)[1]


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://x", "http://", "http://a b/", "http://[", "http://x:y/"])
def test_what_is_no_url(artifact: Path, sample: Path, url: str) -> None:
    assert "http://HOST:PORT" in verify(artifact, sample, url, status=2)[1]


def test_no_server(artifact: Path, sample: Path) -> None:
    with faking({}) as url:
        assert "neither /predict" in verify(artifact, sample, url, status=2)[1]
    assert "Is the server up?" in verify(artifact, sample, url, status=2)[1]


@pytest.mark.parametrize("more", [("--tolerance", "-1"), ("--tolerance", "nan"), ("--max-disagreement", "0.1")])
def test_settings_that_mean_nothing(artifact: Path, sample: Path, more: tuple[str, ...]) -> None:
    verify(artifact, sample, "http://127.0.0.1:9", *more, status=2)


def test_settings_of_an_endpoint_without_one(artifact: Path, sample: Path) -> None:
    done = CliRunner().invoke(app, ["verify", str(artifact), "--sample", str(sample), "--tolerance", "0.1"])
    assert done.exit_code == 2 and "--endpoint" in done.stderr
