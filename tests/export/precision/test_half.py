"""fp16: half the bytes, the same answers, fp32 where half precision would overflow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import onnxpress
from onnxpress.artifacts.artifact import open_artifact
from onnxpress.errors import ConfigError
from onnxpress_export import export
from onnxpress_export.passes._graph import constant
from onnxpress_export.precision.half import convert_to_half, nodes_kept_single
from onnxpress_export.precision.trial import Trial
from tests.cli.test_commands import refusal


@pytest.fixture(scope="module")
def half_artifact(checkpoint: Path, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("half") / "artifact"
    export(checkpoint, path, precisions=("fp32", "fp16"), sample=sample, max_disagreement=0.01)
    return path


@pytest.fixture(scope="module")
def trial(half_artifact: Path, texts: list[str]) -> Trial:
    with onnxpress.load(half_artifact, precision="fp32") as classifier:
        return Trial(classifier._encoder.encode(texts), half_artifact.resolve())


def test_it_is_half_the_size_and_answers_the_same(half_artifact: Path, trial: Trial) -> None:
    variant = open_artifact(half_artifact).variant("fp16", "cuda")
    assert variant.fidelity is not None and variant.fidelity.speed is None
    assert variant.fidelity.changed <= 0.01 * variant.fidelity.texts
    sizes = [(half_artifact / name).stat().st_size for name in ("model.onnx_data", "model_fp16.onnx_data")]
    assert sizes[1] < 0.55 * sizes[0]
    single, half = (trial.logits(ir.load(half_artifact / name)) for name in ("model.onnx", "model_fp16.onnx"))
    # 11 bits of mantissa, rounded at every node of two layers of random weights
    assert 0 < np.abs(half - single).max() < 0.01 * np.abs(single).max()


def test_its_inputs_and_outputs_are_unchanged(half_artifact: Path) -> None:
    graphs = [ir.load(half_artifact / name).graph for name in ("model.onnx", "model_fp16.onnx")]
    described = [[(v.name, v.dtype, str(v.shape)) for v in (*graph.inputs, *graph.outputs)] for graph in graphs]
    assert described[0] == described[1]
    assert sum(node.op_type == "MultiHeadAttention" for node in graphs[1]) == 2


def test_a_node_that_overflows_stays_in_fp32(half_artifact: Path, trial: Trial) -> None:
    """The first normalization's input is made so large that a half cannot hold it; the normalization undoes it."""
    model = ir.load(half_artifact / "model.onnx")
    tables = [
        node.inputs[0] for node in model.graph if node.op_type == "Gather" and node.inputs[0].name.endswith("weight")
    ]
    for table in tables:
        content = constant(table)
        assert content is not None
        table.const_value = ir.tensor(content * np.float32(30_000), name=table.name)
    wanted = trial.logits(model)
    kept = nodes_kept_single(model, trial.folder, trial.rows)
    assert 0 < len(kept) < 12
    careless, careful = model.clone(), model.clone()
    assert convert_to_half(careful, kept) < convert_to_half(careless, ())
    assert not np.isfinite(trial.logits(careless)).all()
    assert np.abs(trial.logits(careful) - wanted).max() < 0.01 * np.abs(wanted).max()


def test_it_does_not_load_on_a_cpu(half_artifact: Path) -> None:
    with pytest.raises(ConfigError, match="fp16 does not run on cpu"):
        onnxpress.load(half_artifact, precision="fp16", device="cpu")
    with onnxpress.load(half_artifact) as classifier:
        assert (classifier.precision, classifier.device) == ("fp32", "cpu")


def test_verify_says_that_it_needs_cuda(half_artifact: Path, sample: Path) -> None:
    assert "fp16 is for CUDA" in refusal("verify", half_artifact, "--sample", sample)
