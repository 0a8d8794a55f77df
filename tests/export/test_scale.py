"""Models whose weights exceed what one protobuf file can hold, and disks that cannot hold the artifact."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from transformers import BertConfig, BertForSequenceClassification

import onnxpress
from onnxpress_export import export
from tests.conftest import make_tokenizer

PROTOBUF_LIMIT = 2**31


@pytest.mark.slow
def test_weights_beyond_two_gigabytes(tmp_path: Path) -> None:
    rows = PROTOBUF_LIMIT // (4 * 512) + 1_000
    config = BertConfig(
        vocab_size=rows,
        hidden_size=512,
        num_hidden_layers=1,
        num_attention_heads=8,
        intermediate_size=512,
        max_position_embeddings=64,
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path / "checkpoint")
    make_tokenizer(max_length=64).save_pretrained(tmp_path / "checkpoint")
    report = export(tmp_path / "checkpoint", tmp_path / "artifact")
    assert (tmp_path / "artifact/model.onnx_data").stat().st_size > PROTOBUF_LIMIT
    assert (tmp_path / "artifact/model.onnx").stat().st_size < 2**20
    assert report.manifest.variants[0].parity.max_difference <= 1e-4
    with onnxpress.load(tmp_path / "artifact") as classifier:
        assert classifier("good film").label in report.manifest.labels


@pytest.mark.usefixtures("traced_once")
@pytest.mark.parametrize(
    "step", ["exporter.write_weights", "variants.write_graph", "exporter.write_tokenizer", "exporter.write_manifest"]
)
def test_a_full_disk_leaves_nothing_half_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"onnxpress_export.{step}", full)
    with pytest.raises(OSError, match="No space left on device"):
        export(checkpoint, tmp_path / "artifact")
    assert list(tmp_path.iterdir()) == []
