"""One trace by torch for all exports of one checkpoint, in tests of what an export does afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import onnx_ir as ir
import pytest
from transformers import PreTrainedModel

from onnxpress_export import classifier_graph
from onnxpress_export.capture import capture

__all__ = ["traced_once"]

_traced: dict[str, ir.Model] = {}


@contextmanager
def traced_once() -> Iterator[None]:
    """Within the block, an export takes the graph of a model that was traced before: same weights, same configuration.

    Each export gets a copy of its own, and compares it with torch as always.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier_graph, "capture", _capture)
        yield


def _capture(model: PreTrainedModel, input_names: Sequence[str]) -> ir.Model:
    key = _identity(model, input_names)
    if key not in _traced:
        _traced[key] = capture(model, input_names)
    return _traced[key].clone()


def _identity(model: PreTrainedModel, input_names: Sequence[str]) -> str:
    digest = hashlib.sha256(repr((type(model), model.config.to_json_string(), *input_names)).encode())
    for name, weight in model.state_dict().items():
        digest.update(name.encode())
        digest.update(weight.numpy().tobytes())
    return digest.hexdigest()
