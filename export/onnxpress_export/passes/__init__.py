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
from onnxpress_export.passes.fuse_written_attention import fuse_written_attention
from onnxpress_export.passes.pack_tokens import pack_tokens
from onnxpress_export.passes.prune_to_classified_token import prune_to_classified_token
from onnxpress_export.passes.use_onnx_attention import use_onnx_attention

__all__ = ["COMMON", "CPU", "EVERY_TOKEN", "PACKED", "PORTABLE", "Passes", "apply_passes"]

Passes = Mapping[str, Callable[[ir.Model], int]]

COMMON: Final[Passes] = MappingProxyType(
    {
        "fuse_written_attention": fuse_written_attention,
        "drop_reshape_round_trips": drop_reshape_round_trips,
        "prune_to_classified_token": prune_to_classified_token,
    }
)
"""For every graph of a classifier of texts."""

EVERY_TOKEN: Final[Passes] = MappingProxyType(
    {name: rewrite for name, rewrite in COMMON.items() if name != "prune_to_classified_token"}
)
"""For every graph that answers each of its tokens."""

PORTABLE: Final[Passes] = MappingProxyType(
    {
        "fuse_bias_gelu": fuse_bias_gelu,
        "fuse_skip_layer_normalization": fuse_skip_layer_normalization,
    }
)
"""For the graph that runs anywhere."""

CPU: Final[Passes] = MappingProxyType(
    {"drop_padding_mask": drop_padding_mask, "use_onnx_attention": use_onnx_attention}
)
"""For the CPU's graph, which has no other fusion: the fused kernels are slower there."""

PACKED: Final[Passes] = MappingProxyType({"pack_tokens": pack_tokens, "use_onnx_attention": use_onnx_attention})
"""For the CPU's graph that takes texts of different lengths at once."""


def apply_passes(model: ir.Model, passes: Passes) -> dict[str, int]:
    """Run `passes` on `model` in place, in order. Returns the sites that each rewrote."""
    rewrites = {}
    for name, rewrite in passes.items():
        rewrites[name] = rewrite(model)
        RemoveUnusedNodesPass()(model)
    return rewrites
