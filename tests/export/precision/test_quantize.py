"""Quantized graphs give what their arithmetic says, and run what they should."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

import onnxpress
from onnxpress.inputs.encoder import TokenRows
from onnxpress_export.precision.activations import Activations, record_activations
from onnxpress_export.precision.drift import measure_drift
from onnxpress_export.precision.products import Source, families, find_sources, weighted_nodes
from onnxpress_export.precision.quantize import halve_weights, quantize_embeddings, quantize_products
from onnxpress_export.precision.recipe import Recipe, choose_recipes, outside
from onnxpress_export.precision.trial import Trial, node_times
from tests.export.precision.test_rounding import choose_recipe, finer_recipe


@pytest.fixture(scope="module")
def model(artifact: Path) -> ir.Model:
    return ir.load(artifact / "model_cpu.onnx")


@pytest.fixture(scope="module")
def sources(model: ir.Model) -> dict[str, Source]:
    return {source.name: source for source in find_sources(model.graph)}


@pytest.fixture(scope="module")
def trial(artifact: Path, texts: list[str]) -> Trial:
    with onnxpress.load(artifact) as classifier:
        rows: TokenRows = classifier._encoder.encode(texts)
    return Trial(rows, artifact.resolve())


@pytest.fixture(scope="module")
def seen(model: ir.Model, sources: dict[str, Source], trial: Trial) -> dict[str, Activations]:
    return record_activations(model, trial.folder, trial.rows, list(sources), threads=1, kept=1_000, seed=0)


def quantized(model: ir.Model, sources: dict[str, Source], recipes: dict[str, Recipe]) -> ir.Model:
    clone = model.clone()
    assert quantize_products(clone, sources, recipes) == sum(len(sources[name].products) for name in recipes)
    return clone


def spread(logits: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """Root mean square difference, in standard deviations of what is wanted."""
    return float(np.sqrt(np.square(logits - wanted).mean()) / wanted.std())


def test_every_product_is_found_once(sources: dict[str, Source], model: ir.Model) -> None:
    products = [product.name for source in sources.values() for product in source.products]
    nodes = [node.outputs[0].name for node in model.graph if node.op_type in ("MatMul", "Gemm")]
    # six a layer, and the pooler's Gemm; the other Gemm makes the logits
    assert sorted([*products, "logits"]) == sorted(name for name in nodes if name) and len(products) == 13
    assert len(weighted_nodes(model.graph)) == 13
    assert [len(source.products) for source in sources.values()][:4] == [3, 1, 1, 1]
    carriers = [source.carrier for source in sources.values() if source.carrier]
    assert len(carriers) == 2 and set(carriers) <= set(products)


def test_activations_are_those_of_the_texts(seen: dict[str, Activations], trial: Trial) -> None:
    for activations in seen.values():
        assert (activations.low <= activations.mean).all() and (activations.mean <= activations.high).all()
        assert (activations.tokens >= activations.low).all() and (activations.tokens <= activations.high).all()
    assert 800 < len(next(iter(seen.values())).tokens) < 1_200


@pytest.mark.parametrize("limit", [127, 64])
def test_all_products_in_int8_stay_close(
    model: ir.Model, sources: dict[str, Source], seen: dict[str, Activations], trial: Trial, limit: int
) -> None:
    wanted = trial.logits(model)
    coarse = {name: choose_recipe(source, seen[name], weight_limit=limit) for name, source in sources.items()}
    fine = {name: finer_recipe(source, seen[name], weight_limit=limit) for name, source in sources.items()}
    errors = [spread(trial.logits(quantized(model, sources, recipes)), wanted) for recipes in (coarse, fine)]
    # 8 bits of noise through two layers of random weights; the second term leaves that of the weights alone
    assert errors[0] < 0.12 and 0 < errors[1] < errors[0]


def test_the_operators_are_the_ones_for_int8(
    model: ir.Model, sources: dict[str, Source], seen: dict[str, Activations]
) -> None:
    recipes = {name: finer_recipe(source, seen[name], weight_limit=127) for name, source in sources.items()}
    operators = Counter(node.op_type for node in quantized(model, sources, recipes).graph)
    assert (operators["MatMulIntegerToFloat"], operators["MatMul"]) == (26, 0)
    assert operators["QuantizeLinear"] == 2 * len(sources) and operators["Attention"] == 2


def test_a_divisor_in_a_carrier_changes_nothing_else(
    model: ir.Model, sources: dict[str, Source], seen: dict[str, Activations], trial: Trial
) -> None:
    """The carrier's product is fp32 here: its weight and bias are divided, and the value's weight undoes it."""
    name, source = next((name, source) for name, source in sources.items() if source.carrier)
    recipe = choose_recipe(source, seen[name], weight_limit=127)
    assert recipe.divisor is not None
    candidate = quantized(model, sources, {name: recipe})
    assert not any(node.op_type == "Mul" for node in candidate.graph)
    assert (
        spread(trial.logits(candidate), trial.logits(model)) < 0.05
    )  # int8 noise; a divisor lost would be off by its size


@pytest.mark.parametrize("choose", [choose_recipe, finer_recipe])
def test_outliers_go_through_a_product_of_their_own(
    choose: Callable[..., Recipe],
    model: ir.Model,
    sources: dict[str, Source],
    seen: dict[str, Activations],
    trial: Trial,
) -> None:
    """A value's widest channels, here made wider than all others by far, whatever carries its divisor."""
    wide = {name: widened(activations) for name, activations in seen.items()}
    apart = {name: choose(source, wide[name], weight_limit=127, outliers=2) for name, source in sources.items()}
    assert all(recipe.outliers.tolist() == [1, 5] for recipe in apart.values())
    candidate = quantized(model, sources, apart)
    operators = Counter(node.op_type for node in candidate.graph)
    assert operators["MatMul"] == 13 and operators["MatMulIntegerToFloat"] == 13 * next(iter(apart.values())).terms
    # as close as without outliers; a row that is lost, or not divided with its carrier, is off by its size
    assert spread(trial.logits(candidate), trial.logits(model)) < 0.12
    halved = candidate.clone()
    assert halve_weights(halved) == 0, "the outliers' rows stay whole"
    for node in candidate.graph:
        if node.op_type == "MatMul":
            node.replace_input_with(1, candidate.graph.initializers[f"{node.outputs[0].name}_weight"])
            lost = np.zeros(node.inputs[1].shape.numpy(), dtype=np.float32)  # type: ignore[union-attr]
            node.inputs[1].const_value = ir.tensor(lost)  # type: ignore[union-attr]
    assert spread(trial.logits(candidate), trial.logits(model)) > 0.12


def widened(activations: Activations) -> Activations:
    """The same tokens, as if calibration had also seen far larger numbers in two channels."""
    low, high = activations.low.copy(), activations.high.copy()
    low[1], high[5] = -1e6, 1e6
    return Activations(low, high, activations.mean, activations.tokens)


def test_an_embedding_table_keeps_its_rows() -> None:
    table = np.random.default_rng(1).normal(size=(2_000, 48)).astype(np.float32)
    ids = ir.Value(name="ids", shape=ir.Shape(["n"]), type=ir.TensorType(ir.DataType.INT64))
    held = ir.Value(name="table", const_value=ir.tensor(table, name="table"), shape=ir.Shape(table.shape))
    held.type = ir.TensorType(ir.DataType.FLOAT)
    node = ir.node("Gather", [held, ids])
    last = ir.node("Identity", node.outputs)
    last.outputs[0].name, last.outputs[0].type = "rows", ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph([ids], last.outputs, nodes=[node, last], initializers=[held], opset_imports={"": 20}, name="g")
    model = ir.Model(graph, ir_version=10)
    assert quantize_embeddings(model) == 1
    import onnxruntime

    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    (rows,) = session.run(None, {"ids": np.array([0, 7, 1_999, 7])})
    largest = np.abs(table).max()
    np.testing.assert_allclose(rows, table[[0, 7, 1_999, 7]], atol=largest / 127 / 2 * 1.001)  # half a step
    assert len(ir.to_proto(model).SerializeToString()) < table.nbytes / 3


def test_weights_of_fp32_products_are_stored_in_half_and_run_as_before(model: ir.Model, trial: Trial) -> None:
    wanted, halved = trial.logits(model), model.clone()
    assert halve_weights(halved) == 13
    # 11 bits of each weight
    assert 0 < spread(trial.logits(halved), wanted) < 0.005
    times = node_times(halved, trial)
    assert not any("_cast" in name for name in times)  # folded at load: no run casts


def test_node_times_name_the_products(model: ir.Model, trial: Trial) -> None:
    times = node_times(model, trial)
    assert all(duration >= 0 for duration in times.values())
    assert sum(node.op_type == "MatMul" and node.name in times for node in model.graph) == 12


def test_what_lies_outside_the_range_is_a_share_of_it() -> None:
    recipe = Recipe(np.array([1, 2], np.float32), np.float32(0.1), np.uint8(100), {}, terms=1)  # -10 … 15.5
    tokens = np.array([[15.5, 31.0], [15.54, -20.0], [18.05, -25.1]], np.float32)
    np.testing.assert_allclose(outside(tokens, recipe), [[0, 0], [0, 0], [25.5 / 255, 25.5 / 255]], rtol=0.03)


def test_texts_that_calibration_saw_stay_in_range_and_others_are_told(
    model: ir.Model, sources: dict[str, Source], seen: dict[str, Activations], trial: Trial
) -> None:
    recipes = {name: choose_recipe(source, seen[name], weight_limit=127) for name, source in sources.items()}
    kept = measure_drift(model, trial.folder, trial.rows, recipes)
    assert (kept.values, kept.drifted, kept.clipped, kept.worst) == (len(sources), 0, 0.0, "")
    name = next(iter(recipes))
    recipes[name] = Recipe(recipes[name].divisor, recipes[name].scale / 2, recipes[name].zero_point, {}, terms=1)
    told = measure_drift(model, trial.folder, trial.rows, recipes)
    assert (told.drifted, told.worst) == (1, name) and told.clipped > 0
    assert told.overshoot == pytest.approx(0.5, abs=0.35)  # up to half of twice the range, where zero is in the middle


def graph_of(nodes: list[ir.Node], held: dict[str, NDArray[np.float32]], values: dict[str, ir.Value]) -> ir.Model:
    """A graph of `nodes` from `x` [n, 48] to `y`, whose constants `held` are the values of the same names."""
    for name, content in held.items():
        values[name].const_value = ir.tensor(content, name=name)
        values[name].shape, values[name].type = ir.Shape(content.shape), ir.TensorType(ir.DataType.FLOAT)
    nodes[-1].outputs[0].name, nodes[-1].outputs[0].type = "y", ir.TensorType(ir.DataType.FLOAT)
    for index, node in enumerate(nodes):
        node.name = node.name or f"node_{index}"
        node.outputs[0].name = node.outputs[0].name or f"value_{index}"
    initializers = [values[name] for name in held]
    graph = ir.Graph(
        [values["x"]], nodes[-1].outputs, nodes=nodes, initializers=initializers, opset_imports={"": 20}, name="g"
    )
    return ir.Model(graph, ir_version=10)


def named(*names: str) -> dict[str, ir.Value]:
    found = {name: ir.Value(name=name) for name in names}
    found["x"].shape, found["x"].type = ir.Shape(["n", 48]), ir.TensorType(ir.DataType.FLOAT)
    return found


def outputs(model: ir.Model, tokens: NDArray[np.float32]) -> NDArray[np.float32]:
    import onnxruntime

    graph = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(None, {"x": tokens})[0]
    return found


FORMS: dict[str, Callable[[NDArray[np.float32], NDArray[np.float32]], ir.Model]] = {}


def form(build: Callable[..., ir.Model]) -> Callable[..., ir.Model]:
    FORMS[build.__name__] = build
    return build


@form
def gemm(weight: NDArray[np.float32], bias: NDArray[np.float32]) -> ir.Model:
    values = named("x", "w", "b")
    node = ir.node("Gemm", [values["x"], values["w"], values["b"]])
    return graph_of([node, ir.node("Identity", node.outputs)], {"w": weight, "b": bias}, values)


@form
def gemm_of_a_transposed_weight(weight: NDArray[np.float32], bias: NDArray[np.float32]) -> ir.Model:
    values = named("x", "w", "b")
    node = ir.node("Gemm", [values["x"], values["w"], values["b"]], attributes={"transB": 1})
    return graph_of([node, ir.node("Identity", node.outputs)], {"w": weight.T.copy(), "b": bias[None]}, values)


@form
def gemm_with_factors(weight: NDArray[np.float32], bias: NDArray[np.float32]) -> ir.Model:
    values = named("x", "w", "b")
    factors = {"alpha": 0.5, "beta": 4.0, "transB": 1}
    node = ir.node("Gemm", [values["x"], values["w"], values["b"]], attributes=factors)
    held = {"w": 2 * weight.T.copy(), "b": bias / 4}
    return graph_of([node, ir.node("Identity", node.outputs)], held, values)


@form
def gemm_without_a_bias(weight: NDArray[np.float32], bias: NDArray[np.float32]) -> ir.Model:
    values = named("x", "w", "b")
    node = ir.node("Gemm", [values["x"], values["w"]])
    add = ir.node("Add", [node.outputs[0], values["b"]])
    return graph_of([node, add, ir.node("Identity", add.outputs)], {"w": weight, "b": bias}, values)


@form
def matmul_of_a_transposed_weight(weight: NDArray[np.float32], bias: NDArray[np.float32]) -> ir.Model:
    values = named("x", "w", "b")
    turned = ir.node("Transpose", [values["w"]], attributes={"perm": [1, 0]})
    node = ir.node("MatMul", [values["x"], turned.outputs[0]])
    add = ir.node("Add", [values["b"], node.outputs[0]])
    held = {"w": weight.T.copy(), "b": bias}
    return graph_of([turned, node, add, ir.node("Identity", add.outputs)], held, values)


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_a_product_is_quantized_and_halved(name: str) -> None:
    generator = np.random.default_rng(4)
    weight, bias = (generator.normal(size=size).astype(np.float32) for size in ((48, 320), (320,)))
    tokens = generator.normal(size=(400, 48)).astype(np.float32)
    model = FORMS[name](weight, bias)
    wanted = outputs(model, tokens)
    np.testing.assert_allclose(wanted, tokens @ weight + bias, atol=1e-4)
    (source,) = find_sources(model.graph)
    assert len(weighted_nodes(model.graph)) == 1
    np.testing.assert_allclose(source.products[0].weight, weight, rtol=1e-6)
    activations = Activations(tokens.min(0), tokens.max(0), tokens.mean(0), tokens)
    quantized_model = model.clone()
    recipe = choose_recipe(source, activations, weight_limit=127)
    assert quantize_products(quantized_model, {source.name: source}, {source.name: recipe}) == 1
    operators = Counter(node.op_type for node in quantized_model.graph)
    assert (
        operators["MatMulIntegerToFloat"] == 1 and not operators["Gemm"] + operators["MatMul"] + operators["Transpose"]
    )
    assert 0 < spread(outputs(quantized_model, tokens), wanted) < 0.02
    halved = model.clone()
    assert halve_weights(halved) == 1
    assert 0 < spread(outputs(halved, tokens), wanted) < 1e-3
    assert len(ir.to_proto(halved).SerializeToString()) < 0.6 * weight.nbytes


def test_a_gemm_that_is_no_product_of_tokens_is_left_alone() -> None:
    values = named("x", "w", "b")
    weight = np.ones((48, 48), dtype=np.float32)
    turned = ir.node("Gemm", [values["x"], values["w"]], attributes={"transA": 1})
    model = graph_of([turned, ir.node("Identity", turned.outputs)], {"w": weight}, {k: values[k] for k in ("x", "w")})
    assert find_sources(model.graph) == [] and len(weighted_nodes(model.graph)) == 1


def test_shared_weights_are_one_family_and_stored_once() -> None:
    """Two layers of one weight, under two names; their inputs have different ranges, and keep scales of their own."""
    generator = np.random.default_rng(6)
    weight = (generator.normal(size=(48, 48)) * 0.3).astype(np.float32)
    tokens = generator.normal(size=(600, 48)).astype(np.float32)
    values = named("x", "first", "second", "other", "b")
    nodes, value = [], values["x"]
    for name in ("first", "second", "other"):
        product = ir.node("MatMul", [value, values[name]])
        nodes += [product, ir.node("Tanh", product.outputs)]
        value = nodes[-1].outputs[0]
    other = generator.normal(size=(48, 48)).astype(np.float32)
    held = {"first": weight, "second": weight.copy(), "other": other}
    model = graph_of(nodes, held, {name: values[name] for name in ("x", *held)})
    sources = {source.name: source for source in find_sources(model.graph)}
    first, second, third = sources
    assert families(sources) == [[first, second], [third]]
    seen, reached = {}, tokens
    for name, content in zip(sources, (weight, weight, other), strict=True):
        seen[name] = Activations(reached.min(0), reached.max(0), reached.mean(0), reached)
        reached = np.tanh(reached @ content)
    recipes = choose_recipes([sources[first], sources[second]], seen, weight_limit=127)
    assert recipes[first].scale > 1.5 * recipes[second].scale
    stored = [next(iter(recipes[name].weights.values())) for name in (first, second)]
    assert stored[0].values is stored[1].values and not np.array_equal(stored[0].bias, stored[1].bias)
    small = model.clone()
    assert quantize_products(small, sources, recipes) == 2
    integers = [held for held in small.graph.initializers.values() if held.dtype == ir.DataType.INT8]
    assert len(integers) == 1
    assert spread(outputs(small, tokens), outputs(model, tokens)) < 0.1
    halved = model.clone()
    assert halve_weights(halved) == 3
    assert sum(held.dtype == ir.DataType.FLOAT16 for held in halved.graph.initializers.values()) == 2


def test_weights_in_memory_are_handed_over_beside_the_graph(model: ir.Model, trial: Trial) -> None:
    """A protocol buffer ends at 2 GiB: what a trial serializes does not grow with the weights."""
    wanted, held = trial.logits(model), model.clone()
    moved = 0
    for value in held.graph.initializers.values():
        if isinstance(value.const_value, ir.ExternalTensor):
            value.const_value = ir.tensor(value.const_value.numpy(), name=value.name)
            moved += 1
    assert moved > 10
    sizes = []

    serialize = ir.to_proto

    def counted(described: ir.Model) -> object:
        proto = serialize(described)
        sizes.append(proto.ByteSize())
        return proto

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("onnxpress_export.precision.trial.ir.to_proto", counted)
        assert np.array_equal(trial.logits(held), wanted)
    assert sizes == [pytest.approx(serialize(model).ByteSize(), rel=0.1)]
    assert not any(isinstance(value.const_value, ir.ExternalTensor) for value in held.graph.initializers.values())
