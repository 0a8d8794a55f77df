"""One operator for each attention that an architecture computes itself, step by step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from onnxpress_export.attention.operator import MASKED
from onnxpress_export.passes._graph import add_initializer, add_node, constant, is_op

__all__ = ["fuse_written_attention"]

_HEADS_FIRST = [
    0,
    2,
    1,
    3,
]  # [batch, sequence, heads, head size] to [batch, heads, sequence, head size]; its own inverse


def fuse_written_attention(model: ir.Model) -> int:
    """Make one MultiHeadAttention of each softmax(scale · query · keyᵀ + …) · value, in place. Returns their number.

    Exact: the same sums. Whatever is added to the scores becomes the attention's bias; what replaces a score by a
    number of at most MASKED adds MASKED to it. An attention stays whose scores are made in any other way.
    """
    graph = model.graph
    fused = sum(_fuse(node) for node in list(graph) if is_op(node, "Softmax"))
    if fused:
        graph.opset_imports.setdefault("com.microsoft", 1)
        graph.sort()
    return fused


@dataclass(frozen=True, slots=True)
class _Scores:
    """scale · query · keyᵀ + the biases, each with what it is multiplied by."""

    query: ir.Value
    turned_key: ir.Value
    scale: float = 1.0
    biases: tuple[tuple[ir.Value, float], ...] = field(default=())


def _fuse(softmax: ir.Node) -> bool:
    scores, weights = softmax.inputs[0], softmax.outputs[0]
    uses = list(weights.uses())
    if scores is None or scores.shape is None or len(scores.shape) != 4 or len(uses) != 1 or uses[0].idx != 0:
        return False
    product, heads = uses[0].node, scores.shape[1]
    axis = softmax.attributes.get_int("axis", -1)
    if not is_op(product, "MatMul") or axis not in (-1, 3) or not isinstance(heads, int):
        return False
    found, value = _read(scores), product.inputs[1]
    if found is None or value is None or value.shape is None or not isinstance(value.shape[-1], int):
        return False
    if any(bias.shape is None or len(bias.shape) > 4 for bias, _ in found.biases):
        return False
    rows = [_rows(found.query), _key_rows(found.turned_key), _rows(value)]
    known = [row for row in rows if row is not None]
    if len(known) < len(rows):
        return False
    bias = _bias(found.biases, scores)
    name = product.outputs[0].name or "attention"
    inputs = [*known, None, None, bias] if bias is not None else known
    attention = ir.node(
        "MultiHeadAttention",
        inputs,
        domain="com.microsoft",
        attributes={"num_heads": heads, "scale": found.scale},
        name=f"{name}_attention",
    )
    assert softmax.graph is not None and known[0].shape is not None
    softmax.graph.append(attention)
    end = attention.outputs[0]
    end.name, end.type = f"{name}_attended", value.type
    end.shape = ir.Shape([*known[0].shape[:2], heads * value.shape[-1]])
    _give_back(end, product.outputs[0], heads, value.shape[-1])
    return True


def _read(value: ir.Value | None) -> _Scores | None:
    """What `value`, [batch, heads, queries, keys], is made of; None where it is anything else."""
    node = None if value is None else value.producer()
    if node is None or node.domain != "":
        return None
    if node.op_type == "MatMul":
        return _products(node)
    if node.op_type in ("Mul", "Div") and (factor := _factor(node)) is not None:
        inner = _read(node.inputs[0] if constant(node.inputs[0]) is None else node.inputs[1])
        return None if inner is None else _scaled(inner, factor)
    if node.op_type == "Add":
        for product, added in (node.inputs, node.inputs[::-1]):
            if added is not None and (inner := _read(product)) is not None:
                return replace(inner, biases=(*inner.biases, (added, 1.0)))
    if node.op_type == "Where":
        return _read_where(node)
    return None


def _read_where(node: ir.Node) -> _Scores | None:
    """Scores of which some are replaced by a number so small that they are hidden."""
    condition = node.inputs[0]
    for index in (1, 2):
        number = constant(node.inputs[index])
        if number is None or number.size != 1 or not float(number.item()) <= MASKED or condition is None:
            continue
        inner = _read(node.inputs[3 - index])
        if inner is None or condition.graph is None or condition.shape is None:
            return None
        numbers = [_number(condition, "hidden", MASKED), _number(condition, "shown", 0.0)]
        hidden = add_node("Where", [condition, *(numbers if index == 1 else numbers[::-1])], f"{condition.name}_added")
        hidden.type, hidden.shape = ir.TensorType(ir.DataType.FLOAT), condition.shape
        return replace(inner, biases=(*inner.biases, (hidden, 1.0)))
    return None


def _products(node: ir.Node) -> _Scores | None:
    """The product of query and keyᵀ, with numbers that either is multiplied by taken out."""
    query, turned = node.inputs
    scale = 1.0
    while (source := None if query is None else query.producer()) is not None and source.op_type in ("Mul", "Div"):
        factor = _factor(source)
        if factor is None:
            break
        scale *= factor
        query = source.inputs[0] if constant(source.inputs[0]) is None else source.inputs[1]
    turn = None if turned is None else turned.producer()
    while turn is not None and turn.op_type in ("Mul", "Div") and (factor := _factor(turn)) is not None:
        scale *= factor
        turned = turn.inputs[0] if constant(turn.inputs[0]) is None else turn.inputs[1]
        turn = None if turned is None else turned.producer()
    if query is None or turned is None:
        return None
    return _Scores(query, turned, scale)


def _factor(node: ir.Node) -> float | None:
    """The number that a Mul or Div multiplies by; None where it is no single one."""
    for index, value in enumerate(node.inputs):
        number = constant(value)
        if number is not None and number.size == 1 and (index == 1 or node.op_type == "Mul"):
            return float(number.item()) if node.op_type == "Mul" else 1.0 / float(number.item())
    return None


def _scaled(scores: _Scores, factor: float) -> _Scores:
    biases = tuple((bias, held * factor) for bias, held in scores.biases)
    return replace(scores, scale=scores.scale * factor, biases=biases)


def _perm(node: ir.Node) -> list[int]:
    return list(node.attributes.get_ints("perm", []))


def _rows(value: ir.Value) -> ir.Value | None:
    """[batch, heads, sequence, head size] as the operator takes it: [batch, sequence, heads · head size]."""
    node = value.producer()
    if node is not None and is_op(node, "Transpose") and _perm(node) == _HEADS_FIRST:
        return _merged(node.inputs[0])
    return _merged(_transposed(value, _HEADS_FIRST))


def _key_rows(turned: ir.Value) -> ir.Value | None:
    """[batch, heads, head size, keys] as the operator takes it."""
    node = turned.producer()
    if node is not None and is_op(node, "Transpose") and node.inputs[0] is not None:
        if _perm(node) == [0, 1, 3, 2]:
            return _rows(node.inputs[0])
        if _perm(node) == [0, 2, 3, 1]:
            return _merged(node.inputs[0])
    return _merged(_transposed(turned, [0, 3, 1, 2]))


def _transposed(value: ir.Value, perm: list[int]) -> ir.Value:
    apart = add_node("Transpose", [value], f"{value.name}_tokens", perm=perm)
    shape = None if value.shape is None else ir.Shape([value.shape[axis] for axis in perm])
    apart.type, apart.shape = value.type, shape
    return apart


def _merged(apart: ir.Value | None) -> ir.Value | None:
    """[batch, sequence, heads, head size] with the last two as one."""
    if apart is None or apart.shape is None or len(apart.shape) != 4:
        return None
    sizes = [size for size in apart.shape[2:] if isinstance(size, int)]
    if len(sizes) != 2:
        return None
    features = sizes[0] * sizes[1]
    rows = _reshaped(apart, [features], f"{apart.name}_merged")
    rows.type, rows.shape = apart.type, ir.Shape([*apart.shape[:2], features])
    return rows


def _reshaped(value: ir.Value, sizes: list[int], name: str) -> ir.Value:
    """`value` with its first two dimensions, and `sizes` behind them."""
    first = add_node("Shape", [value], f"{name}_first", start=0, end=2)
    shape = add_node("Concat", [first, _integers(value, sizes)], f"{name}_shape", axis=0)
    return add_node("Reshape", [value, shape], name)


def _bias(biases: tuple[tuple[ir.Value, float], ...], scores: ir.Value) -> ir.Value | None:
    """All of them together, with a row for each query and a column for each key, as the operator takes it."""
    if not biases:
        return None
    assert scores.shape is not None
    parts = []
    for bias, factor in biases:
        scaled = (
            bias
            if factor == 1.0
            else add_node("Mul", [bias, _number(bias, f"by_{factor!r}", factor)], f"{bias.name}_scaled")
        )
        parts.append(scaled)
    total, *others = parts
    for other in others:
        total = add_node("Add", [total, other], f"{total.name}_and_more")
    sizes = [_together([_size(bias, axis) for bias, _ in biases]) for axis in range(-4, 0)]
    if (
        len(biases) == 1
        and biases[0][1] == 1.0
        and sizes[2:] == list(scores.shape[2:])
        and len(biases[0][0].shape or ()) == 4
    ):
        return total
    ends = add_node("Shape", [scores], f"{scores.name}_ends", start=2, end=4)
    target = add_node("Concat", [_integers(scores, [1, 1]), ends], f"{scores.name}_bias_shape", axis=0)
    whole = add_node("Expand", [total, target], f"{scores.name}_bias")
    whole.type, whole.shape = scores.type, ir.Shape([*sizes[:2], *scores.shape[2:]])
    return whole


def _size(value: ir.Value, axis: int) -> int | ir.SymbolicDim:
    assert value.shape is not None
    return value.shape[axis] if len(value.shape) >= -axis else 1


def _together(sizes: list[int | ir.SymbolicDim]) -> int | ir.SymbolicDim:
    """The size of what is broadcast together."""
    return next((size for size in sizes if size != 1), 1)


def _give_back(end: ir.Value, product: ir.Value, heads: int, head_size: int) -> None:
    """Let the readers of `product`, [batch, heads, sequence, head size], read the attention's `end`."""
    assert end.shape is not None
    apart = _reshaped(end, [heads, head_size], f"{end.name}_heads")
    apart.type, apart.shape = end.type, ir.Shape([*end.shape[:2], heads, head_size])
    readers = [use.node for use in product.uses()]
    if readers and all(is_op(node, "Transpose") and _perm(node) == _HEADS_FIRST for node in readers):
        for node in readers:
            node.outputs[0].replace_all_uses_with(apart)
        return
    turned = add_node("Transpose", [apart], f"{end.name}_by_heads", perm=_HEADS_FIRST)
    turned.type, turned.shape = product.type, product.shape
    product.replace_all_uses_with(turned)


def _number(near: ir.Value, name: str, content: float) -> ir.Value:
    return add_initializer(_graph(near), f"written_attention_{name}", np.array(content, dtype=np.float32))


def _integers(near: ir.Value, content: list[int]) -> ir.Value:
    name = "_".join(str(number) for number in content)
    return add_initializer(_graph(near), f"written_attention_{name}", np.array(content, dtype=np.int64))


def _graph(value: ir.Value) -> ir.Graph:
    graph = value.graph
    assert isinstance(graph, ir.Graph)
    return graph
