"""Checkpoints with a class of their own, as such are written: no attention interface, rotated positions, gates."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import onnxpress
from onnxpress_export import export
from tests.conftest import MAX_LENGTH, make_tokenizer

CODE = """
import torch
import torch.nn.functional as F
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class OwnConfig(PretrainedConfig):
    model_type = "own_encoder"

    def __init__(self, vocab_size=100, width=32, heads=4, layers=2, max_position_embeddings=140, style="", **others):
        super().__init__(**others)
        self.vocab_size, self.width, self.heads, self.layers = vocab_size, width, heads, layers
        self.max_position_embeddings, self.style = max_position_embeddings, style


def turned(x, sequence):
    half = x.shape[-1] // 2
    speeds = 1000.0 ** (-torch.arange(half, dtype=torch.float32) / half)
    angles = torch.arange(sequence, dtype=torch.float32)[:, None] * speeds
    cos, sin = angles.cos(), angles.sin()
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, self.style = config.heads, config.style
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, hidden, mask):
        batch, sequence, width = hidden.shape
        qkv = self.qkv(hidden).view(batch, sequence, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        query, key = turned(query, sequence), turned(key, sequence)
        if self.style == "written":
            hidden_keys = (1.0 - mask[:, None, None, :].to(hidden.dtype)) * torch.finfo(hidden.dtype).min
            scores = torch.matmul(query, key.transpose(-1, -2)) / (width // self.heads) ** 0.5
            attended = torch.matmul(torch.softmax(scores + hidden_keys, dim=-1), value)
        else:
            seen = mask[:, None, None, :].bool()
            if self.style == "sdpa, a row for each query":
                seen = seen.repeat(1, self.heads, sequence, 1)
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        return self.out(attended.transpose(1, 2).reshape(batch, sequence, width))


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.before = nn.RMSNorm(config.width, eps=1e-5)
        self.attention = Attention(config)
        self.middle = nn.RMSNorm(config.width, eps=1e-5)
        self.gate_and_up = nn.Linear(config.width, 4 * config.width)
        self.down = nn.Linear(2 * config.width, config.width)

    def forward(self, hidden, mask):
        hidden = hidden + self.attention(self.before(hidden), mask)
        gate, up = self.gate_and_up(self.middle(hidden)).chunk(2, dim=-1)
        return hidden + self.down(F.silu(gate) * up)


class OwnForSequenceClassification(PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.head = nn.Linear(config.width, config.num_labels)
        self.post_init()

    def get_input_embeddings(self):
        return self.embeddings

    def forward(self, input_ids, attention_mask=None):
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        hidden = self.embeddings(input_ids)
        for layer in self.layers:
            hidden = layer(hidden, attention_mask)
        shown = attention_mask[..., None].to(hidden.dtype)
        return SequenceClassifierOutput(logits=self.head((hidden * shown).sum(1) / shown.sum(1)))
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where transformers copies such code to, in the test's own folder."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("sys.path", [*sys.path, str(tmp_path / "modules")])


def save(directory: Path, style: str) -> None:
    """A checkpoint as `save_pretrained` leaves it, with its code beside it."""
    directory.mkdir()
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(directory)
    (directory / "own.py").write_text(CODE)
    config = {
        "architectures": ["OwnForSequenceClassification"],
        "auto_map": {
            "AutoConfig": "own.OwnConfig",
            "AutoModelForSequenceClassification": "own.OwnForSequenceClassification",
        },
        "model_type": "own_encoder",
        "vocab_size": len(tokenizer),
        "max_position_embeddings": MAX_LENGTH,
        "style": style,
        "id2label": {0: "bad", 1: "good", 2: "so-so"},
    }
    (directory / "config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(5)
    sizes = {"embeddings.weight": (len(tokenizer), 32), "head.weight": (3, 32), "head.bias": (3,)}
    for layer in ("layers.0.", "layers.1."):
        sizes |= {
            f"{layer}before.weight": (32,), f"{layer}middle.weight": (32,), f"{layer}attention.qkv.weight": (96, 32),
            f"{layer}attention.out.weight": (32, 32), f"{layer}attention.out.bias": (32,),
            f"{layer}gate_and_up.weight": (128, 32), f"{layer}gate_and_up.bias": (128,),
            f"{layer}down.weight": (32, 64), f"{layer}down.bias": (32,),
        }  # fmt: skip
    weights = {name: 0.3 * torch.randn(size, generator=generator) for name, size in sizes.items()}
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("style", ["written", "sdpa", "sdpa, a row for each query"])
@pytest.mark.usefixtures("modules")
def test_a_class_of_its_own_is_fused_and_exact(style: str, tmp_path: Path) -> None:
    save(tmp_path / "checkpoint", style)
    with pytest.raises(onnxpress.CheckpointError, match=r"code of its own\. Read it, and pass --trust-remote-code"):
        export(tmp_path / "checkpoint", tmp_path / "artifact")
    report = export(tmp_path / "checkpoint", tmp_path / "artifact", trust_remote_code=True)
    (variant,) = report.manifest.variants
    operators = variant.cpu.operators
    assert operators.get("Attention", 0) + operators.get("MultiHeadAttention", 0) == 2
    assert report.manifest.provenance.unfused_attentions == 0 and variant.packed is not None
    assert variant.parity is not None and variant.parity.equal_labels == variant.parity.rows
    assert not list((tmp_path / "artifact").glob("*.py"))
    with onnxpress.load(tmp_path / "artifact", threads=1) as classifier:
        assert classifier("good film").label in ("bad", "good", "so-so")
