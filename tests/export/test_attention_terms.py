"""Every term of an attention is in the graph, or ends the export by its name; dropping one is seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AttentionInterface

import onnxpress
from onnxpress_export import export
from onnxpress_export.attention import interface
from onnxpress_export.verify import ParityError
from tests.export.zoo import tiny_classifier, tiny_tokenizer

Drop = Callable[[pytest.MonkeyPatch], None]


def save(model_type: str, directory: Path) -> Path:
    tokenizer = tiny_tokenizer(model_type)
    tiny_classifier(model_type, len(tokenizer)).save_pretrained(directory / "checkpoint")
    tokenizer.save_pretrained(directory / "checkpoint")
    return directory / "checkpoint"


def without(name: str, function: str, **instead: object) -> Drop:
    """Let the attention's `function` be called without its term `name`."""

    def drop(monkeypatch: pytest.MonkeyPatch) -> None:
        plain = interface.multi_head_attention

        def attention(*tensors: torch.Tensor, **terms: Any) -> torch.Tensor:
            terms.pop(name)
            return plain(*tensors, **terms | instead)

        monkeypatch.setattr(interface, function, attention)

    return drop


def without_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        interface, "_mask", lambda *_, attention_mask=None, **__: interface._Mask(attention_mask, causal=True)
    )


TERMS: dict[str, tuple[str, Drop]] = {
    "soft cap": ("gemma2", without("cap", "capped_attention")),
    "sinks": ("gpt_oss", without("sinks", "attention_with_sinks")),
    "scale": ("bert", without("scale", "multi_head_attention", scale=1.0)),
    "bias": ("t5", without("bias", "multi_head_attention")),
    "window": ("mistral", without_window),
    "padding": ("bert", without("padding", "multi_head_attention")),
    "causality": ("llama", without("causal", "multi_head_attention")),
}


@pytest.mark.parametrize("term", TERMS)
def test_a_term_that_is_dropped_fails_the_export(term: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model_type, drop = TERMS[term]
    drop(monkeypatch)
    with pytest.raises(ParityError, match="differs from torch by"):
        export(save(model_type, tmp_path), tmp_path / "artifact")
    assert not (tmp_path / "artifact").exists()


@pytest.mark.parametrize(("model_type", "fused"), [("gemma2", 0), ("gpt_oss", 2), ("mistral", 2), ("t5", 6)])
def test_caps_sinks_windows_and_biases_are_exact(model_type: str, fused: int, tmp_path: Path) -> None:
    report = export(save(model_type, tmp_path), tmp_path / "artifact")
    (variant,) = report.manifest.variants
    operators = variant.cpu.operators
    assert operators.get("Attention", 0) + operators.get("MultiHeadAttention", 0) == fused
    assert report.manifest.provenance.unfused_attentions == (0 if fused else 2)
    assert bool(report.manifest.provenance.notes) == (fused == 0)
    assert variant.parity is not None and variant.parity.text_rows > 0
    assert variant.parity.equal_labels == variant.parity.rows


def attend(**arguments: object) -> tuple[torch.Tensor, None]:
    tensors = [torch.zeros(1, 2, 3, 4) for _ in range(3)]
    return interface._attention(torch.nn.Identity(), *tensors, None, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["temperature", "indices", "block_indices", "alibi", "head_mask", "sinks"])
def test_an_argument_that_is_not_expressed_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(interface.AttentionArgumentError, match=f"^{name}$"):
        attend(**{name: torch.ones(1)})
    attend(**{name: None})


def test_an_export_ends_with_the_name_of_such_an_argument(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured = AttentionInterface.register

    def register(name: str, function: Callable[..., Any]) -> None:
        captured(name, lambda *tensors, **arguments: function(*tensors, temperature=2.0, **arguments))

    monkeypatch.setattr(AttentionInterface, "register", register)
    with pytest.raises(onnxpress.CheckpointError, match=r"\(bert\) takes temperature, .* --allow-unfused"):
        export(checkpoint, tmp_path / "artifact")
    assert not (tmp_path / "artifact").exists()
    report = export(checkpoint, tmp_path / "artifact", allow_unfused=True)
    assert report.manifest.variants[0].cpu.rewrites["fuse_written_attention"] == 2
