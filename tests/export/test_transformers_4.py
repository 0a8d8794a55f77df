"""With transformers 4.57, the last that optimum's ONNX package accepts, in an environment of its own.

There every architecture is exported again, and an artifact is loaded by optimum.
"""

from __future__ import annotations

import json
import subprocess
import venv
from pathlib import Path

import numpy as np
import pytest

import onnxpress

ROOT = Path(__file__).parents[2]
PINNED = ("torch", "numpy", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "pytest", "msgspec", "typer", "hypothesis")

pytestmark = [pytest.mark.slow, pytest.mark.network]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with transformers 4.57, optimum and this package."""
    directory = tmp_path_factory.mktemp("transformers-4")
    venv.create(directory / "env", with_pip=True)
    python = directory / "env/bin/python"
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    (directory / "pins.txt").write_text("\n".join(line for line in lines if line.split("==")[0] in PINNED))
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    packages = ["transformers>=4.57,<4.58", "optimum-onnx", f"{ROOT}[cpu,export,dev]"]
    subprocess.run([*pip, "-c", directory / "pins.txt", *packages], check=True, timeout=900)
    return python


def test_every_architecture_is_fused_and_exact(python: Path) -> None:
    tests = ["tests/export/test_architectures.py", "tests/export/test_passes.py", "tests/export/test_verify.py"]
    done = subprocess.run([python, "-m", "pytest", "-q", *tests], cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-4_000:]
    assert " passed" in done.stdout


OPTIMUM = """
import json, sys
from optimum.onnxruntime import ORTModelForSequenceClassification
from transformers import AutoTokenizer, pipeline
artifact, texts = sys.argv[1], json.load(sys.stdin)
model, tokenizer = ORTModelForSequenceClassification.from_pretrained(artifact), AutoTokenizer.from_pretrained(artifact)
classify = pipeline("text-classification", model=model, tokenizer=tokenizer)
print(json.dumps(classify(texts, truncation=True, batch_size=8)))
"""


def test_optimum_loads_the_artifact_and_gives_the_same_labels(python: Path, artifact: Path, texts: list[str]) -> None:
    done = subprocess.run(
        [python, "-c", OPTIMUM, artifact], input=json.dumps(texts), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    found = json.loads(done.stdout.splitlines()[-1])
    with onnxpress.load(artifact) as classifier:
        wanted = classifier(texts)
    assert [answer["label"] for answer in found] == [answer.label for answer in wanted]
    scores = [answer["score"] for answer in found], [answer.score for answer in wanted]
    np.testing.assert_allclose(*scores, rtol=0, atol=1e-5)  # fp32 sums in another order, behind a softmax


def test_it_is_transformers_4(python: Path) -> None:
    code = "import transformers; print(transformers.__version__)"
    found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.startswith("4.57.")
