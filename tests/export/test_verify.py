"""The verification fails what it must: a wrong graph never becomes an artifact."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from onnxpress_export import export, exporter
from onnxpress_export.graph_census import attention_count
from onnxpress_export.verify import ParityError, UnfusedAttentionError, check_fusion
from tests.export.sabotage import drop_masks, sabotage


def change_the_head(model: ir.Model, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> None:
    head = model.graph.outputs[0].producer()
    assert head is not None and head.op_type == "Gemm"
    bias = head.inputs[2]
    assert bias is not None and bias.const_value is not None
    changed = ir.tensor(change(bias.const_value.numpy()), name="changed_bias")
    model.graph.register_initializer(value := ir.Value(name="changed_bias", const_value=changed))
    head.replace_input_with(2, value)


def nudge_the_head(model: ir.Model) -> None:
    change_the_head(model, lambda bias: bias + np.float32(2e-3))


def poison_the_head(model: ir.Model) -> None:
    change_the_head(model, lambda bias: np.full_like(bias, np.nan))


def unfuse_one(model: ir.Model) -> None:
    node = next(node for node in model.graph if node.op_type == "MultiHeadAttention")
    node.op_type, node.domain = "Identity", ""


@pytest.mark.usefixtures("traced_once")
@pytest.mark.parametrize("change", [drop_masks, nudge_the_head, poison_the_head])
def test_a_wrong_graph_is_refused_and_leaves_nothing(
    change: Callable[[ir.Model], None], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch, change)
    with pytest.raises(ParityError, match="differs from torch by") as caught:
        export(checkpoint, tmp_path / "artifact")
    assert list(tmp_path.iterdir()) == []
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.usefixtures("traced_once")
def test_unfused_attention_is_refused_and_leaves_nothing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch, unfuse_one)
    with pytest.raises(UnfusedAttentionError, match="1 of 2 attentions of BertForSequenceClassification are fused"):
        export(checkpoint, tmp_path / "artifact")
    assert list(tmp_path.iterdir()) == []


def test_eager_attention_needs_the_flag_and_is_exact(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxpress_export.capture.captured_attention", lambda _: nullcontext())
    monkeypatch.setattr(exporter, "apply_passes", lambda _model, _passes: {})
    with pytest.raises(UnfusedAttentionError, match=r"0 of 2 .* --allow-unfused"):
        export(checkpoint, tmp_path / "artifact")
    report = export(checkpoint, tmp_path / "artifact", allow_unfused=True)
    assert attention_count(report.session_operators) == 0
    assert report.manifest.provenance.unfused_attentions == 2
    assert "2 of 2 attentions of BertForSequenceClassification are not fused" in report.manifest.provenance.notes[0]
    assert report.manifest.variants[0].parity.max_difference <= 1e-4


def test_fusion_is_counted_where_it_is_said() -> None:
    check_fusion({"MultiHeadAttention": 2, "Attention": 4}, promised=6, architecture="Bert", where="the file")
    with pytest.raises(UnfusedAttentionError, match="5 of 6 attentions of Bert are fused in the file"):
        check_fusion({"MultiHeadAttention": 5}, promised=6, architecture="Bert", where="the file")


@pytest.mark.usefixtures("traced_once")
def test_a_tighter_tolerance_is_honoured(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="the tolerance is 0"):
        export(checkpoint, tmp_path / "artifact", tolerance=0.0)
