"""Each pass by itself: what it matches, what it leaves, and that only it changes the answers by nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
)

from onnxpress_export.capture import capture
from onnxpress_export.graph_census import operator_counts
from onnxpress_export.passes import COMMON, CPU, PACKED, PORTABLE, apply_passes
from onnxpress_export.passes.drop_padding_mask import drop_padding_mask
from onnxpress_export.passes.drop_reshape_round_trips import drop_reshape_round_trips
from onnxpress_export.passes.prune_to_classified_token import prune_to_classified_token
from onnxpress_export.precision.activations import Activations
from onnxpress_export.precision.products import find_sources
from onnxpress_export.precision.quantize import quantize_products
from onnxpress_export.precision.recipe import Recipe, choose_recipes, finer_recipes
from tests.conftest import randomize

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
LAYERS = 3
ATOL = 2e-6  # the same sums; only their blocking may change with a matrix's height


@pytest.fixture(scope="module")
def captured() -> ir.Model:
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    return capture(randomize(BertForSequenceClassification(config)).eval(), INPUTS)


def random_inputs(batch: int, length: int, *, padded: bool) -> dict[str, NDArray[np.int64]]:
    generator = np.random.default_rng(batch * 100 + length)
    lengths = generator.integers(1, length + 1, batch) if padded else np.full(batch, length)
    mask = (np.arange(length) < lengths[:, None]).astype(np.int64)
    return {
        "input_ids": generator.integers(5, 50, (batch, length)) * mask,
        "attention_mask": mask,
        "token_type_ids": generator.integers(0, 2, (batch, length)) * mask,
    }


def run(model: ir.Model, inputs: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
    """The answers of `model` with ONNX Runtime's own rewrites off, so that only ours differ."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"])
    logits: NDArray[np.float32] = session.run(None, {i.name: inputs[i.name] for i in session.get_inputs()})[0]
    return logits


@pytest.mark.parametrize("name", [name for name in (*COMMON, *PORTABLE, *PACKED) if name != "fuse_written_attention"])
@pytest.mark.parametrize(("batch", "length"), [(1, 1), (1, 7), (5, 33), (3, 64)])
def test_a_pass_changes_no_answer(captured: ir.Model, name: str, batch: int, length: int) -> None:
    rewritten = captured.clone()
    if name in (
        "prune_to_classified_token",
        "pack_tokens",
    ):  # neither looks through the reshapes around it
        drop_reshape_round_trips(rewritten)
    assert apply_passes(rewritten, {name: {**COMMON, **PORTABLE, **PACKED}[name]})[name] > 0
    inputs = random_inputs(batch, length, padded=True)
    np.testing.assert_allclose(run(rewritten, inputs), run(captured, inputs), rtol=0, atol=ATOL)


@pytest.mark.parametrize("name", [*COMMON, *PORTABLE, *CPU, *PACKED])
def test_a_second_run_rewrites_nothing(captured: ir.Model, name: str) -> None:
    rewrite = {**COMMON, **PORTABLE, **CPU, **PACKED}[name]
    model = captured.clone()
    apply_passes(model, {name: rewrite})
    before = operator_counts(model.graph)
    assert apply_passes(model, {name: rewrite}) == {name: 0}
    assert operator_counts(model.graph) == before


def test_counts_are_those_of_the_architecture(captured: ir.Model) -> None:
    model = captured.clone()
    assert apply_passes(model, {**COMMON, **PORTABLE}) == {
        "fuse_written_attention": 0,  # all are captured
        "drop_reshape_round_trips": 8 * LAYERS,  # four around each attention, in twos
        "prune_to_classified_token": 1,
        "fuse_bias_gelu": LAYERS,
        "fuse_skip_layer_normalization": 2 * LAYERS,
    }
    operators = operator_counts(model.graph)
    assert operators["MultiHeadAttention"] == LAYERS and "Reshape" not in operators


def test_pruning_shortens_the_last_layer_alone(captured: ir.Model) -> None:
    model = captured.clone()
    drop_reshape_round_trips(model)
    assert prune_to_classified_token(model) == 1
    one_token = [n for n in model.graph if n.outputs[0].shape is not None and list(n.outputs[0].shape)[1:2] == [1]]
    kinds = operator_counts(one_token)
    assert kinds["MultiHeadAttention"] == 1 and kinds["LayerNormalization"] == 2 and kinds["Gelu"] == 1
    assert kinds["MatMul"] == 4, "query, attention output and the two of the feed-forward; never key and value"


def test_pruning_to_the_wrong_token_is_seen(captured: ir.Model) -> None:
    """The tolerance bites: the same rewrite with the second token fails it."""
    model = captured.clone()
    drop_reshape_round_trips(model)
    prune_to_classified_token(model)
    start, stop = (model.graph.initializers[f"classified_token_{name}"] for name in ("start", "stop"))
    start.const_value, stop.const_value = ir.tensor(np.array([1])), ir.tensor(np.array([2]))
    inputs = random_inputs(4, 20, padded=False)
    assert np.abs(run(model, inputs) - run(captured, inputs)).max() > 1_000 * ATOL


DECODER_PAD = 1


@pytest.fixture(scope="module")
def decoder() -> ir.Model:
    """Grouped-query, causal attention, and the last token that is not padding is read."""
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        pad_token_id=DECODER_PAD,
        use_cache=False,
    )
    return capture(randomize(LlamaForSequenceClassification(config)).eval(), INPUTS[:2])


@pytest.mark.parametrize("padding", ["right", "left", "none"])
def test_pruning_keeps_what_a_causal_attention_hides(decoder: ir.Model, padding: str) -> None:
    model = decoder.clone()
    drop_reshape_round_trips(model)
    assert prune_to_classified_token(model) == 1
    assert prune_to_classified_token(model) == 0
    inputs = random_inputs(6, 20, padded=padding != "none")
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    ids[mask == 0] = DECODER_PAD
    if padding == "left":
        ids, mask = np.flip(ids, 1).copy(), np.flip(mask, 1).copy()
    # A text that ends in the padding token itself: torch reads the token before it, which must not see it.
    ids[0] = np.where(np.arange(20) < 17, 9, DECODER_PAD)
    mask[0] = 1
    inputs = {"input_ids": ids, "attention_mask": mask}
    np.testing.assert_allclose(run(model, inputs), run(decoder, inputs), rtol=0, atol=ATOL)


def test_a_decoder_that_sees_behind_its_token_is_seen(decoder: ir.Model) -> None:
    """The tolerance bites: without the causal bias, the text that ends in padding tokens of its own differs."""
    model = decoder.clone()
    drop_reshape_round_trips(model)
    prune_to_classified_token(model)
    model.graph.initializers["causal_masked"].const_value = ir.tensor(np.array(0, dtype=np.float32))
    ids = np.full((1, 20), 9)
    ids[0, 17:] = DECODER_PAD
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    assert np.abs(run(model, inputs) - run(decoder, inputs)).max() > 1_000 * ATOL


def test_pruning_keeps_the_query_row_of_a_bias() -> None:
    torch.manual_seed(7)
    config = ModernBertConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        global_attn_every_n_layers=2,  # so that the last layer is the one with the window
        local_attention=8,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        cls_token_id=1,
        sep_token_id=2,
    )
    whole = capture(randomize(ModernBertForSequenceClassification(config)).eval(), INPUTS[:2])
    model = whole.clone()
    drop_reshape_round_trips(model)
    assert prune_to_classified_token(model) == 1
    inputs = random_inputs(4, 30, padded=True)
    np.testing.assert_allclose(run(model, inputs), run(whole, inputs), rtol=0, atol=ATOL)


def classifier_graph(build: Callable[[ir.tape.Tape, ir.Value], ir.Value]) -> ir.Model:
    """A graph over hidden states `x`, float [batch, sequence, 8], that ends in what `build` makes of them."""
    tape = ir.tape.Tape()
    x = ir.val("x", ir.DataType.FLOAT, ["batch", "sequence", 8])
    attention = tape.op("MultiHeadAttention", [x, x, x], {"num_heads": 2}, domain="com.microsoft")
    attention.shape, attention.dtype = x.shape, ir.DataType.FLOAT
    output = build(tape, attention)
    graph = ir.Graph(
        [x], [output], nodes=tape.nodes, initializers=tape.initializers, opset_imports={"": 20, "com.microsoft": 1}
    )
    return ir.Model(graph, ir_version=10)


def gather(tape: ir.tape.Tape, value: ir.Value, index: object, axis: int = 1) -> ir.Value:
    return tape.op(
        "Gather", [value, tape.initializer(ir.tensor(np.array(index)), name=f"index_{axis}")], {"axis": axis}
    )


def test_pruning_takes_the_first_token_only() -> None:
    def pruned(build: Callable[[ir.tape.Tape, ir.Value], ir.Value]) -> int:
        return prune_to_classified_token(classifier_graph(build))

    assert pruned(lambda tape, hidden: gather(tape, hidden, 0)) == 1
    assert pruned(lambda tape, hidden: gather(tape, hidden, 1)) == 0
    assert pruned(lambda tape, hidden: gather(tape, hidden, 0, axis=2)) == 0
    assert pruned(lambda tape, hidden: gather(tape, hidden, [0])) == 0
    assert pruned(lambda tape, hidden: tape.op("ReduceMean", [hidden])) == 0  # mean pooling reads every token


def test_pruning_stops_where_another_reader_needs_every_token() -> None:
    def build(tape: ir.tape.Tape, hidden: ir.Value) -> ir.Value:
        return tape.op("Add", [gather(tape, hidden, 0), tape.op("ReduceMean", [hidden])])

    assert prune_to_classified_token(classifier_graph(build)) == 0


def test_pruning_stops_at_operators_that_mix_tokens() -> None:
    def build(tape: ir.tape.Tape, hidden: ir.Value) -> ir.Value:
        mixed = tape.op("Softmax", [hidden], {"axis": 1})
        mixed.shape, mixed.dtype = hidden.shape, ir.DataType.FLOAT
        return gather(tape, mixed, 0)

    assert prune_to_classified_token(classifier_graph(build)) == 0


def test_reshapes_that_keep_a_dimension_or_change_the_shape_stay() -> None:
    def build(tape: ir.tape.Tape, hidden: ir.Value) -> ir.Value:
        split = tape.op("Reshape", [hidden, tape.initializer(ir.tensor(np.array([-1, 2, 4])), name="split")])
        split.shape, split.dtype = ir.Shape([None, 2, 4]), ir.DataType.FLOAT
        kept = tape.op("Reshape", [split, tape.initializer(ir.tensor(np.array([0, 8])), name="kept")])
        kept.shape, kept.dtype = ir.Shape([None, 8]), ir.DataType.FLOAT
        return tape.op("Identity", [kept])

    model = classifier_graph(build)
    assert drop_reshape_round_trips(model) == 0
    assert operator_counts(model.graph)["Reshape"] == 2


def test_dropping_the_mask_is_exact_without_padding_and_not_with_it(captured: ir.Model) -> None:
    model = captured.clone()
    assert drop_padding_mask(model) == LAYERS
    assert [value.name for value in model.graph.inputs] == ["input_ids", "token_type_ids"]
    equal = random_inputs(5, 33, padded=False)
    np.testing.assert_allclose(run(model, equal), run(captured, equal), rtol=0, atol=ATOL)
    padded = random_inputs(5, 33, padded=True)
    assert np.abs(run(model, padded) - run(captured, padded)).max() > 1_000 * ATOL


def test_packed_tokens_are_those_that_are_no_padding(captured: ir.Model) -> None:
    """Every product outside the attentions works on as many rows as there are tokens; the last layer on one a text."""
    model = captured.clone()
    apply_passes(model, {**COMMON, **PACKED})
    products = [node.outputs[0] for node in model.graph if node.op_type == "MatMul"]
    model.graph.outputs.extend(products)
    inputs = random_inputs(5, 33, padded=True)
    tokens = int(inputs["attention_mask"].sum())
    assert tokens < 5 * 33
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {i.name: inputs[i.name] for i in session.get_inputs()})[1:]
    shapes = [output.shape[:2] for output in found]
    assert set(shapes) == {(1, tokens), (5, 1)} and shapes.count((1, tokens)) == 6 * (LAYERS - 1) + 2


@pytest.mark.parametrize("choose", [choose_recipes, finer_recipes])
def test_quantized_products_with_outliers_are_packed_too(
    captured: ir.Model, choose: Callable[..., dict[str, Recipe]]
) -> None:
    plain = captured.clone()
    apply_passes(plain, COMMON)
    sources = {source.name: source for source in find_sources(plain.graph)}
    recipes = {}
    for name, source in sources.items():
        tokens = np.random.default_rng(1).normal(size=(200, len(source.products[0].weight))).astype(np.float32)
        tokens[:, 3] *= 20
        seen = Activations(tokens.min(axis=0), tokens.max(axis=0), tokens.mean(axis=0), tokens)
        recipes |= choose([source], {name: seen}, weight_limit=127, outliers=1)
    quantize_products(plain, sources, recipes)
    model = plain.clone()
    assert apply_passes(model, PACKED) == {"pack_tokens": LAYERS - 1, "use_onnx_attention": LAYERS}
    inputs = random_inputs(5, 33, padded=True)
    # the same integers; a number that lies on the edge of two steps may fall to the other side of it
    np.testing.assert_allclose(run(model, inputs), run(plain, inputs), rtol=0, atol=2e-3)


def test_packing_takes_any_padding(captured: ir.Model) -> None:
    """In the middle, at a row's end, and a row of padding alone."""
    model = captured.clone()
    apply_passes(model, {**COMMON, **PACKED})
    plain = captured.clone()
    apply_passes(plain, COMMON)
    inputs = random_inputs(4, 20, padded=True)
    inputs["attention_mask"][0, 1] = inputs["attention_mask"][3, 2:4] = inputs["attention_mask"][2] = 0
    kept = [0, 1, 3]
    np.testing.assert_allclose(run(model, inputs)[kept], run(plain, inputs)[kept], rtol=0, atol=ATOL)
