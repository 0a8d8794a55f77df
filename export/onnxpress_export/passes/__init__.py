"""The graph passes, one a module, and the order in which they run.

Each is a function over a model that says what it matches, why that is exact, and how many sites it rewrote.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxscript.rewriter.ort_fusions.bias_gelu import fuse_bias_gelu
from onnxscript.rewriter.ort_fusions.skip_normalization import fuse_skip_layer_normalization

from onnxpress_export.passes.drop_padding_mask import drop_padding_mask
from onnxpress_export.passes.drop_reshape_round_trips import drop_reshape_round_trips
from onnxpress_export.passes.fuse_attention_bias import fuse_attention_bias
from onnxpress_export.passes.prune_to_classified_token import prune_to_classified_token

__all__ = ["PASSES", "apply_passes", "drop_padding_mask"]

PASSES: Final[Mapping[str, Callable[[ir.Model], int]]] = MappingProxyType(
    {
        "drop_reshape_round_trips": drop_reshape_round_trips,
        "prune_to_classified_token": prune_to_classified_token,
        "fuse_attention_bias": fuse_attention_bias,
        "fuse_skip_layer_normalization": fuse_skip_layer_normalization,
        "fuse_bias_gelu": fuse_bias_gelu,
    }
)


def apply_passes(model: ir.Model) -> dict[str, int]:
    """Run every pass on `model` in place, in order. Returns the sites each rewrote."""
    counts = {}
    for name, rewrite in PASSES.items():
        counts[name] = rewrite(model)
        RemoveUnusedNodesPass()(model)
    return counts
