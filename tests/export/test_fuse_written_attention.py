"""Attention written out step by step becomes one operator, with the same answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray

from onnxpress_export.passes import apply_passes
from onnxpress_export.passes.fuse_written_attention import fuse_written_attention

HEADS, SIZE = 4, 8
Tensor = torch.Tensor


def scaled_after(q: Tensor, k: Tensor, mask: Tensor) -> Tensor:
    return q @ k.transpose(2, 3) / SIZE**0.5 + (1.0 - mask[:, None, None, :]) * -3e38


def scaled_before(q: Tensor, k: Tensor, mask: Tensor) -> Tensor:
    return (q * 0.5) @ (k * 0.25).transpose(2, 3) + (1.0 - mask[:, None, None, :]) * -20_000.0


def filled(q: Tensor, k: Tensor, mask: Tensor) -> Tensor:
    hidden = (mask == 0)[:, None, None, :].expand(-1, HEADS, q.shape[2], -1)
    return (q @ k.transpose(2, 3)).masked_fill(hidden, -3e38)


def shown(q: Tensor, k: Tensor, mask: Tensor) -> Tensor:
    seen = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool).tril()
    return torch.where(seen, q @ k.transpose(2, 3) * 0.3, torch.full([], -1e9)) + (mask[:, None, None, :] - 1) * 1e9


def with_slopes(q: Tensor, k: Tensor, mask: Tensor) -> Tensor:
    slopes = torch.arange(1, HEADS + 1)[:, None, None] * torch.arange(q.shape[2])[None, None, :] * 0.1
    return q @ k.transpose(2, 3) * 0.2 + slopes + (mask[:, None, None, :] - 1) * 1e9


def scaled_with_a_bias(q: Tensor, k: Tensor, mask: Tensor) -> Tensor:
    distances = torch.arange(q.shape[2])[None, :] - torch.arange(q.shape[2])[:, None]
    return (q @ k.transpose(2, 3) + distances[None, None] * 0.3) / 3.0 + (mask[:, None, None, :] - 1) * 1e9


def capped(q: Tensor, k: Tensor, mask: Tensor) -> Tensor:
    return torch.tanh(q @ k.transpose(2, 3)) * 2.0 + (mask[:, None, None, :] - 1) * 1e9


Scores = Callable[[Tensor, Tensor, Tensor], Tensor]


class Written(torch.nn.Module):
    """One self-attention around `scores`."""

    def __init__(self, scores: Scores, *, twice: bool = False) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.project = torch.nn.ModuleList(torch.nn.Linear(HEADS * SIZE, HEADS * SIZE) for _ in range(3))
        self.scores, self.twice = scores, twice

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        batch, sequence, _ = hidden.shape
        q, k, v = (part(hidden).view(batch, sequence, HEADS, SIZE).transpose(1, 2) for part in self.project)
        weights = torch.softmax(self.scores(q, k, mask.float()), dim=-1)
        attended = (weights @ v).transpose(1, 2).reshape(batch, sequence, HEADS * SIZE)
        return attended + weights.sum((1, 3))[..., None] if self.twice else attended


def graph_of(module: torch.nn.Module) -> ir.Model:
    inputs = torch.randn(2, 6, HEADS * SIZE), torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")}
    program = torch.onnx.export(
        module.eval(), inputs, dynamo=True, verbose=False, dynamic_shapes=(shape, shape), input_names=["hidden", "mask"]
    )
    assert program is not None
    return program.model


def run(model: ir.Model, path: Path, hidden: NDArray[np.float32], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    ir.save(model, path)
    answer: NDArray[np.float32] = ort.InferenceSession(path, options).run(None, {"hidden": hidden, "mask": mask})[0]
    return answer


@pytest.mark.parametrize("scores", [scaled_after, scaled_before, filled, shown, with_slopes, scaled_with_a_bias])
def test_a_written_attention_is_fused_and_the_same(scores: Scores, tmp_path: Path) -> None:
    model = graph_of(Written(scores))
    generator = np.random.default_rng(2)
    hidden = generator.normal(size=(3, 9, HEADS * SIZE)).astype(np.float32)
    mask = (np.arange(9) < np.array([[9], [5], [1]])).astype(np.int64)
    wanted = run(model, tmp_path / "before.onnx", hidden, mask)
    assert apply_passes(model, {"fuse_written_attention": fuse_written_attention}) == {"fuse_written_attention": 1}
    assert not any(node.op_type == "Softmax" for node in model.graph)
    found = run(model, tmp_path / "after.onnx", hidden, mask)
    seen = mask.astype(bool)  # what a hidden query gives is read by nobody
    np.testing.assert_allclose(found[seen], wanted[seen], rtol=0, atol=2e-6)
    assert fuse_written_attention(model) == 0, "a second call rewrites nothing"


def test_scores_of_another_kind_stay_as_they_are() -> None:
    assert fuse_written_attention(graph_of(Written(capped))) == 0


def test_weights_that_something_else_reads_stay_as_they_are() -> None:
    assert fuse_written_attention(graph_of(Written(scaled_after, twice=True))) == 0
