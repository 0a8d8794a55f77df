"""Graphs that are changed behind the passes' back, as no export may let pass."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir
import pytest

from onnxpress_export import classifier_graph

__all__ = ["drop_masks", "sabotage"]


def sabotage(monkeypatch: pytest.MonkeyPatch, change: Callable[[ir.Model], None]) -> None:
    """Let every export change its graph behind the passes' back."""
    capture = classifier_graph.capture

    def captured(*arguments: object) -> ir.Model:
        model = capture(*arguments)  # type: ignore[arg-type]
        change(model)
        return model

    monkeypatch.setattr(classifier_graph, "capture", captured)


def drop_masks(model: ir.Model) -> None:
    for node in model.graph:
        if node.op_type == "MultiHeadAttention":
            node.replace_input_with(4, None)
