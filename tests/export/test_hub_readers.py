"""Other runtimes open the Hub's folder as it is, and answer as the engine does. Each has an environment of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import venv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import onnxpress
from onnxpress_export import export

pytestmark = [pytest.mark.slow, pytest.mark.network]

EXACT = 1e-5  # fp32 sums in another order, behind a softmax
PADDED_TOGETHER = 0.05  # int8 beside padding, on another kernel


@pytest.fixture(scope="module")
def hub(checkpoint: Path, texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with int8 too."""
    directory = tmp_path_factory.mktemp("hub")
    sample = directory / "sample.txt"
    sample.write_text("\n".join(dict.fromkeys(texts)))
    export(
        checkpoint,
        directory / "reviews",
        layout="hub",
        precisions=("fp32", "int8"),
        sample=sample,
        max_disagreement=0.2,
        recheck=False,
    )
    return directory / "reviews-hub"


@pytest.fixture(scope="module")
def some(texts: list[str]) -> list[str]:
    return [*texts[:40], "good " * 300]  # the last is cut


def scores_of(hub: Path, texts: Sequence[str]) -> np.ndarray:
    with onnxpress.load(hub.with_name("reviews"), precision="fp32") as classifier:
        return classifier.probabilities(texts)


def answers(command: Sequence[str | Path], texts: Sequence[str], cwd: Path | None = None) -> list[dict[str, float]]:
    """The labels' scores of each text, as a reader prints them."""
    done = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, timeout=300, cwd=cwd)
    assert done.returncode == 0, done.stderr[-4_000:]
    return [{one["label"]: one["score"] for one in row} for row in json.loads(done.stdout.splitlines()[-1])]


def stacked(found: list[dict[str, float]]) -> np.ndarray:
    return np.array([[row["negative"], row["positive"]] for row in found])


TRANSFORMERS_JS = """
import { pipeline, env } from "@huggingface/transformers";
env.allowRemoteModels = false;
env.localModelPath = process.argv[2];
let input = ""; for await (const part of process.stdin) input += part;
const classify = await pipeline("text-classification", process.argv[3], { dtype: process.argv[4] });
const found = [];
for (const text of JSON.parse(input)) found.push(await classify(text, { top_k: null }));
console.log(JSON.stringify(found));
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A script in a folder with transformers.js 4, on onnxruntime-node."""
    if shutil.which("npm") is None:
        pytest.skip("needs npm")
    folder = tmp_path_factory.mktemp("node")
    npm = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "@huggingface/transformers@4"]
    subprocess.run(npm, cwd=folder, check=True, timeout=600)
    (folder / "reader.mjs").write_text(TRANSFORMERS_JS)
    return folder / "reader.mjs"


def test_transformers_js(hub: Path, node: Path, some: list[str]) -> None:
    some = some[:-1]  # it cuts the last special token too, with whatever model
    command = ["node", node, hub.parent, hub.name]
    exact = answers([*command, "fp32"], some, node.parent)
    np.testing.assert_allclose(stacked(exact), scores_of(hub, some), rtol=0, atol=EXACT)
    quantized = stacked(answers([*command, "q8"], some, node.parent))
    assert np.abs(quantized - scores_of(hub, some)).mean() < PADDED_TOGETHER
    assert np.any(quantized != stacked(exact))  # it is another graph


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with sentence-transformers and optimum."""
    directory = tmp_path_factory.mktemp("readers")
    venv.create(directory, with_pip=True)
    pip = [directory / "bin/python", "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    subprocess.run([*pip, "sentence-transformers[onnx]"], check=True, timeout=1_200, env=os.environ)
    return directory / "bin/python"


OPTIMUM = """
import json, sys
from optimum.onnxruntime import ORTModelForSequenceClassification
from transformers import AutoTokenizer, pipeline
hub, file = sys.argv[1:]
model = ORTModelForSequenceClassification.from_pretrained(hub, subfolder="onnx", file_name=file)
classify = pipeline("text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(hub))
print(json.dumps(classify(json.load(sys.stdin), truncation=True, batch_size=8, top_k=None)))
"""


def test_optimum(hub: Path, python: Path, some: list[str]) -> None:
    found = answers([python, "-c", OPTIMUM, hub, "model.onnx"], some)
    np.testing.assert_allclose(stacked(found), scores_of(hub, some), rtol=0, atol=EXACT)
    quantized = stacked(answers([python, "-c", OPTIMUM, hub, "model_quantized.onnx"], some))
    assert np.abs(quantized - scores_of(hub, some)).mean() < PADDED_TOGETHER


CROSS_ENCODER = """
import json, sys
from sentence_transformers import CrossEncoder
model = CrossEncoder(sys.argv[1], backend="onnx", model_kwargs={"file_name": "onnx/model.onnx"}, device="cpu")
rows = model.predict(json.load(sys.stdin), apply_softmax=True, show_progress_bar=False).tolist()
names = model.config.id2label
print(json.dumps([[{"label": names[i], "score": score} for i, score in enumerate(row)] for row in rows]))
"""


def test_sentence_transformers(hub: Path, python: Path) -> None:
    pairs = [("good film", "a real star"), ("dull plot", "never long")]
    found = answers([python, "-c", CROSS_ENCODER, hub], pairs)  # type: ignore[arg-type]
    np.testing.assert_allclose(stacked(found), scores_of(hub, pairs), rtol=0, atol=EXACT)  # type: ignore[arg-type]
