"""Lower precisions of token classifiers: chosen, measured and answered again by whole texts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import onnxpress
from onnxpress.artifacts.artifact import open_artifact
from onnxpress.artifacts.manifest import Manifest
from onnxpress.errors import ConfigError
from onnxpress.inputs.vectors import bounds_of
from onnxpress_export import export
from onnxpress_export.precision import search
from tests.cli.test_commands import refusal, run
from tests.conftest import WORDS

BUDGET = 0.02
TIMES = {"MatMul": 40, "Gemm": 40, "MatMulIntegerToFloat": 10}


@pytest.fixture(scope="module")
def short_texts() -> list[str]:
    """Of 1 to 6 words: each token more is one more that int8 may label otherwise, and these weights are random."""
    generator = np.random.default_rng(11)
    return [" ".join(generator.choice(WORDS, size)) for size in generator.integers(1, 7, 500)]


@pytest.fixture(scope="module")
def sample(short_texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts with labels of their own, which are not of tokens and are passed over."""
    path = tmp_path_factory.mktemp("sample") / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text, "label": "of a text"}) + "\n" for text in short_texts))
    return path


@pytest.fixture(scope="module")
def int8_tokens(token_checkpoint: Path, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("int8") / "artifact"
    with pytest.MonkeyPatch.context() as patch:
        # so small a model takes longer in int8: what a large one takes is not the question here
        patch.setattr(
            search, "node_times", lambda model, _: {node.name: TIMES.get(node.op_type, 0) for node in model.graph}
        )
        export(
            token_checkpoint,
            path,
            precisions=("fp32", "int8", "fp16"),
            sample=sample,
            max_disagreement=BUDGET,
            int8_for="vnni",
        )
    return path


@pytest.fixture(scope="module")
def manifest(int8_tokens: Path) -> Manifest:
    return open_artifact(int8_tokens).manifest


def test_the_manifest_says_what_became_of_texts_tokens_and_entities(manifest: Manifest, sample: Path) -> None:
    assert {variant.precision for variant in manifest.variants} == {"fp32", "int8", "fp16"}
    for variant in manifest.variants[1:]:
        found = variant.fidelity
        assert found is not None and found.tokens is not None
        assert found.sample == sample.name and found.changed <= BUDGET * found.texts
        assert found.accuracy is None  # the file's labels are none of tokens
        tokens = found.tokens
        assert found.texts < tokens.tokens < 8 * found.texts
        assert found.changed <= tokens.changed <= 8 * found.changed and (found.changed == 0) == (tokens.changed == 0)
        assert tokens.entities - tokens.equal <= 2 * tokens.changed and tokens.equal <= tokens.found
        assert 0 < tokens.equal <= tokens.entities
        assert found.torch_texts == found.texts  # of those that torch is asked, by texts
        assert len(found.examples) == min(found.changed, 20)


def test_a_changed_text_is_shown_by_its_tokens(manifest: Manifest) -> None:
    shown = [example for variant in manifest.variants if variant.fidelity for example in variant.fidelity.examples]
    for example in shown:
        word, _, label = example.reference.split(", ")[0].partition(": ")
        assert word in example.text and label in manifest.labels and example.reference != example.found


def test_what_fp32_answers_again_is_what_was_recorded(
    int8_tokens: Path, manifest: Manifest, short_texts: list[str]
) -> None:
    cascade = manifest.cascade
    assert cascade is not None and cascade.thresholds["int8"] > 0 and 0 < cascade.answered["fp32"] < 1
    certified = cascade.changed
    assert certified.changed <= min(BUDGET * certified.texts, certified.alone)
    with (
        onnxpress.load(int8_tokens, task="token-classification", precision="fp32") as fp32,
        onnxpress.load(int8_tokens, task="token-classification", precision="int8") as both,
        onnxpress.load(int8_tokens, task="token-classification", precision="int8", recheck=False) as int8,
    ):
        rows = fp32.encode(short_texts)
        wanted, found, alone = (model.answer(rows) for model in (fp32, both, int8))
    bounds, again = bounds_of(rows.lengths), found.stages == 1
    assert again.mean() == pytest.approx(cascade.answered["fp32"], abs=0.1)
    for text in range(len(short_texts)):
        mine = slice(bounds[text], bounds[text + 1])
        own = ~rows.places(text).added
        gaps = np.sort(alone.logits[mine][own], axis=1)
        margin = (gaps[:, -1] - gaps[:, -2]).min()
        assert again[text] == (margin < cascade.thresholds["int8"]) or margin == pytest.approx(
            cascade.thresholds["int8"],
            abs=0.05,  # an integer step, in other company
        )
        if again[text]:
            np.testing.assert_allclose(found.logits[mine], wanted.logits[mine], rtol=0, atol=1e-4)


def test_it_is_inspected_verified_and_reported(int8_tokens: Path, sample: Path, tmp_path: Path) -> None:
    shown = " ".join(run("inspect", int8_tokens).stdout.decode().split())
    assert "task token classification" in shown and "entities equal" in shown and "tokens changed" in shown
    page = (int8_tokens / "report.html").read_text(encoding="utf-8")
    assert "same labels of tokens" in page and "same entities" in page
    verified = run("verify", int8_tokens, "--sample", sample, "--max-disagreement", "0.3")
    (line,) = verified.stdout.decode().splitlines()  # fp16 is for CUDA
    told = json.loads(line)
    assert told["precision"] == "int8" and told["texts"] > 400 and told["tokens"]["equal"] > 0
    assert told["changed"] <= told["tokens"]["changed"]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"text": "a", "text_pair": "b"}\n')
    assert "1 rows are sentence pairs" in refusal("verify", int8_tokens, "--sample", pairs)
    says = refusal("verify", int8_tokens, "--sample", sample, "--endpoint", "http://127.0.0.1:9")
    assert "verify --endpoint is for labels of whole texts" in says


def test_a_sample_of_pairs_is_refused(token_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"text": f"a {n}", "text_pair": "b"}) + "\n" for n in range(120)))
    with pytest.raises(ConfigError, match="120 rows are sentence pairs; tokens are labelled in single texts alone"):
        export(token_checkpoint, tmp_path / "artifact", precisions=("fp32", "int8"), sample=path)
    assert not (tmp_path / "artifact").exists()
