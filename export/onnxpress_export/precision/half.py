"""The fp16 variant, for CUDA: half the bytes, fp32 where half precision would overflow or lose."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onnxpress.hardware.cpu import available_cpus
from onnxpress.inputs.encoder import TokenRows
from onnxpress_export.passes._graph import add_initializer, add_node, constant
from onnxpress_export.precision.activations import watch_values

__all__ = ["convert_to_half", "nodes_kept_single"]

_LARGEST: Final = 65_504.0 / 4
"""A quarter of the largest half: texts that were not seen may go further."""
_SMALLEST: Final = 2.0**-14
"""Below it a half has fewer than its 11 bits."""
_FLOATS: Final = (ir.DataType.FLOAT, ir.DataType.FLOAT16)
_MAX_TOKENS: Final = 128  # every value of the graph is held for a batch


def nodes_kept_single(model: ir.Model, folder: Path, rows: TokenRows) -> set[str]:
    """The nodes, by the name of their first output, that must stay fp32: found by running `rows`.

    They read or write a value that comes near the largest half on some text, or whose largest is too small on every
    text; or they read a weight that is too large. `folder` holds the weights.
    """
    values = [v for node in model.graph for v in node.outputs if v.dtype == ir.DataType.FLOAT and v.uses()]
    largest = _largest(model, folder, rows, [v.name for v in values if v.name is not None])
    unfit = {value for value in values if not _fits(largest[value.name or ""])}
    kept = set()
    for node in model.graph:
        weights = [constant(value) for value in node.inputs if value is not None and value.dtype == ir.DataType.FLOAT]
        spans = [float(np.abs(weight).max(initial=0)) for weight in weights if weight is not None]
        if unfit.intersection((*node.inputs, *node.outputs)) or max(spans, default=0) > _LARGEST:
            kept.add(node.outputs[0].name or "")
    return kept


def convert_to_half(model: ir.Model, kept: Collection[str]) -> int:
    """Compute in fp16, in place, but for the nodes whose first output `kept` names. Returns the nodes converted.

    Inputs and outputs of the graph stay as they are; casts stand where the two precisions meet.
    """
    graph, converted = model.graph, 0
    versions: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def version(value: ir.Value, dtype: ir.DataType) -> ir.Value:
        if value.dtype == dtype:
            return value
        if (value, dtype) not in versions:
            suffix = "half" if dtype == ir.DataType.FLOAT16 else "single"
            held = constant(value) if value.name in graph.initializers else None
            if held is not None:
                made = add_initializer(graph, f"{value.name}_{suffix}", held.astype(np.float16))
            else:
                made = add_node("Cast", [value], f"{value.name}_{suffix}", to=int(dtype))
                made.type, made.shape = ir.TensorType(dtype), value.shape
            versions[value, dtype] = made
        return versions[value, dtype]

    for node in list(graph):
        floats = [value for value in (*node.inputs, *node.outputs) if value is not None and value.dtype in _FLOATS]
        if not floats:
            continue
        half = node.outputs[0].name not in kept and node.op_type != "Constant"
        dtype = ir.DataType.FLOAT16 if half else ir.DataType.FLOAT
        for index, value in enumerate(node.inputs):
            if value is not None and value.dtype in _FLOATS:
                node.replace_input_with(index, version(value, dtype))
        if half:
            converted += 1
            if node.op_type == "Cast" and node.attributes["to"].as_int() == ir.DataType.FLOAT:
                node.attributes["to"] = ir.AttrInt64("to", int(ir.DataType.FLOAT16))
            for value in node.outputs:
                if value.dtype == ir.DataType.FLOAT:
                    value.type = ir.TensorType(ir.DataType.FLOAT16)
    for index, output in enumerate(graph.outputs):
        if output.dtype == ir.DataType.FLOAT16:
            name = output.name
            output.name = f"{name}_half"
            single = version(output, ir.DataType.FLOAT)
            single.name = name
            graph.outputs[index] = single
    RemoveUnusedNodesPass()(model)
    graph.sort()
    return converted


def _largest(model: ir.Model, folder: Path, rows: TokenRows, names: list[str]) -> dict[str, float]:
    """The largest magnitude of each value over `rows`."""
    largest = dict.fromkeys(names, 0.0)
    for _, found in watch_values(model, folder, rows, names, threads=available_cpus(), max_tokens=_MAX_TOKENS):
        for name, content in found.items():
            largest[name] = max(largest[name], float(np.abs(content).max(initial=0)))
    return largest


def _fits(largest: float) -> bool:
    return largest == 0 or _SMALLEST <= largest <= _LARGEST
