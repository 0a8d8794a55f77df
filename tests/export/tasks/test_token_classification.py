"""Token classifiers: every graph gives torch's answer to each token, and nothing that is no such model is exported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from transformers import (
    AutoModelForTokenClassification,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    GPT2Config,
    LlamaConfig,
    ModernBertConfig,
    MPNetConfig,
    PretrainedConfig,
)

from onnxpress import ConfigError
from onnxpress.artifacts.manifest import read_manifest
from onnxpress_export import ExportReport, export
from onnxpress_export.capture import capture
from onnxpress_export.passes import CPU, EVERY_TOKEN, PACKED, PORTABLE, apply_passes
from onnxpress_export.passes._graph import add_initializer, add_node
from onnxpress_export.passes.pack_tokens import _Packing
from onnxpress_export.tasks import TASKS, all_of_each
from onnxpress_export.verify import ParityError
from tests.conftest import make_tokenizer, randomize
from tests.export.sabotage import drop_masks, sabotage
from tests.export.tasks.conftest import LABELS
from tests.export.test_passes import ATOL, random_inputs, run

NAMES = ("input_ids", "attention_mask")
LAYERS = 2
SMALL: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 66,
    "pad_token_id": 0,
    "num_labels": 5,
}
ARCHITECTURES: dict[str, Callable[[], PretrainedConfig]] = {
    "bert": lambda: BertConfig(**SMALL),
    "deberta-v2": lambda: DebertaV2Config(
        relative_attention=True, pos_att_type=["c2p", "p2c"], type_vocab_size=0, conv_kernel_size=3, **SMALL
    ),
    "distilbert": lambda: DistilBertConfig(
        vocab_size=50, dim=32, n_layers=LAYERS, n_heads=4, hidden_dim=64, max_position_embeddings=66, num_labels=5
    ),
    "gpt2": lambda: GPT2Config(
        vocab_size=50, n_embd=32, n_layer=LAYERS, n_head=4, n_positions=66, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, num_labels=5,
    ),
    "llama": lambda: LlamaConfig(num_key_value_heads=2, **SMALL),
    "modernbert": lambda: ModernBertConfig(
        bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2, local_attention=8, **SMALL
    ),
    "mpnet": lambda: MPNetConfig(**{**SMALL, "pad_token_id": 1}),
}  # fmt: skip
TEXTS = ["good film", "you", "the worst of all that was ever made by so many", "a sad story in two acts"]


def session(path: Path) -> ort.InferenceSession:
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"])


def asked(graph: ort.InferenceSession, rows: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = graph.run(["logits"], {value.name: rows[value.name] for value in graph.get_inputs()})[
        0
    ]
    return found


def test_the_manifest_says_what_it_is(token_report: ExportReport, token_artifact: Path) -> None:
    manifest = token_report.manifest
    assert manifest.task == "token-classification" and read_manifest(token_artifact) == manifest
    assert manifest.labels == LABELS  # as they are, in the order of the logits
    assert (manifest.problem_type, manifest.activation) == ("single_label_classification", "softmax")
    (variant,) = manifest.variants
    assert "prune_to_classified_token" not in {name for graph in variant.graphs for name in graph.rewrites}
    assert variant.packed is not None and variant.packed.rewrites["pack_tokens"] == LAYERS
    assert token_report.session_operators["Attention"] == LAYERS
    assert variant.parity.equal_labels == variant.parity.rows and variant.parity.text_rows > 0


@pytest.mark.parametrize("side", ["right", "left"])
def test_each_graph_gives_the_shape_that_it_promises(
    side: str, token_artifact: Path, torch_token_logits: Callable[[Sequence[str]], list[NDArray[np.float32]]]
) -> None:
    tokenizer = make_tokenizer()
    tokenizer.padding_side = side
    rows = dict(tokenizer(TEXTS, padding=True, return_tensors="np"))
    if side == "left":  # BERT counts positions from the padding on: only rows without any have its answer
        rows = dict(tokenizer(TEXTS[:1] * 3, padding=True, return_tensors="np"))
    texts = TEXTS if side == "right" else TEXTS[:1] * 3
    wanted, mask = torch_token_logits(texts), rows["attention_mask"].astype(bool)
    portable = asked(session(token_artifact / "model.onnx"), rows)
    assert portable.shape == (*mask.shape, len(LABELS))
    packed = asked(session(token_artifact / "model_packed.onnx"), rows)
    assert packed.shape == (mask.sum(), len(LABELS))  # row after row, without padding
    # fp32 sums in another order: some 1e-6 of logits that reach 5
    np.testing.assert_allclose(packed, np.concatenate(wanted), rtol=0, atol=5e-5)
    np.testing.assert_allclose(portable[mask], packed, rtol=0, atol=5e-5)
    cpu = session(token_artifact / "model_cpu.onnx")
    for text, logits in zip(texts, wanted, strict=True):
        alone = asked(cpu, dict(tokenizer([text], return_tensors="np")))
        assert alone.shape == (1, len(logits), len(LABELS))
        np.testing.assert_allclose(alone[0], logits, rtol=0, atol=5e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_pass_keeps_each_token(name: str) -> None:
    torch.manual_seed(7)
    model = randomize(AutoModelForTokenClassification.from_config(ARCHITECTURES[name]())).eval()
    plain = capture(model, NAMES)
    assert set(EVERY_TOKEN) < {"prune_to_classified_token", *EVERY_TOKEN}
    apply_passes(plain, EVERY_TOKEN)
    portable, cpu, packed = plain.clone(), plain.clone(), plain.clone()
    apply_passes(portable, PORTABLE)
    apply_passes(cpu, CPU)
    assert apply_passes(packed, PACKED)["pack_tokens"] == LAYERS
    assert len(packed.graph.outputs) == 1 and packed.graph.outputs[0].name == "logits"
    for padded in (True, False):
        for batch, length in ((1, 1), (1, 7), (5, 33), (3, 64)):
            inputs = random_inputs(batch, length, padded=padded)
            mask = inputs["attention_mask"].astype(bool)
            with torch.no_grad():
                wanted = model(**{name: torch.from_numpy(inputs[name]) for name in NAMES}).logits.numpy()[mask]
            # fp32 sums in another order, of logits that reach some 10: 2e-6 of them a layer and more
            band = {"rtol": 1e-5, "atol": 20 * ATOL}
            np.testing.assert_allclose(run(portable, inputs)[mask], wanted, **band)
            np.testing.assert_allclose(run(packed, inputs), wanted, **band)
            if not padded:
                np.testing.assert_allclose(run(cpu, inputs)[mask], wanted, **band)


def _replace_output(model: ir.Model, change: Callable[[ir.Value], ir.Value]) -> None:
    output = model.graph.outputs[0]
    output.name = "true_logits"
    wrong = change(output)
    wrong.name, wrong.type, wrong.shape = "logits", output.type, output.shape
    model.graph.outputs[0] = wrong
    model.graph.sort()


def _integers(model: ir.Model, name: str, content: list[int]) -> ir.Value:
    return add_initializer(model.graph, name, np.array(content, dtype=np.int64))


def cut_a_row(model: ir.Model) -> None:
    """Every token but the last of each row."""
    bounds = [_integers(model, f"cut_{name}", [value]) for name, value in (("start", 0), ("stop", -1), ("axis", 1))]
    _replace_output(model, lambda output: add_node("Slice", [output, *bounds], "cut"))


def answer_the_first(model: ir.Model) -> None:
    """Each token as the first one: what pruning to it would do."""
    first = _integers(model, "first_token", [0])
    shape = add_node("Shape", [model.graph.outputs[0]], "first_shape")
    _replace_output(
        model,
        lambda output: add_node("Expand", [add_node("Gather", [output, first], "first", axis=1), shape], "spread"),
    )


@pytest.mark.parametrize("change", [drop_masks, cut_a_row, answer_the_first])
def test_a_wrong_graph_is_refused_and_leaves_nothing(
    change: Callable[[ir.Model], None], token_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch, change)
    with pytest.raises(ParityError, match="differs from torch by"):
        export(token_checkpoint, tmp_path / "artifact")
    assert list(tmp_path.iterdir()) == []


def test_packed_rows_in_another_order_are_refused(
    token_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def backwards(packing: _Packing, output: ir.Value) -> None:
        bounds = [packing._integers(f"back_{key}", [n]) for key, n in (("from", -1), ("to", -(2**60)), ("axis", 0))]
        steps = packing._integers("back_steps", [-1])
        kept(packing, output)
        flat = packing._graph.outputs[0]
        flat.name = "forwards"
        wrong = add_node("Slice", [flat, *bounds, steps], "backwards")
        wrong.name, wrong.type, wrong.shape = "logits", flat.type, flat.shape
        packing._graph.outputs[0] = wrong

    kept = _Packing.give_flat
    monkeypatch.setattr(_Packing, "give_flat", backwards)
    with pytest.raises(ParityError, match=r"model_packed.onnx differs from torch by"):
        export(token_checkpoint, tmp_path / "artifact")
    assert list(tmp_path.iterdir()) == []


def test_what_is_said_of_padding_is_nobodys_answer() -> None:
    (tokens,) = (task for task in TASKS if task.name == "token-classification")
    logits = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    logits[1, 2] = np.nan
    found = tokens.vectors(logits, np.array([[1, 1, 1], [1, 1, 0]]))
    assert found.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    cut = logits[:, :2]  # of other tokens: never taken for these
    assert tokens.vectors(cut, np.array([[1, 1, 1], [1, 1, 0]])) is cut


def test_a_row_is_equal_where_all_its_tokens_are() -> None:
    holds = np.array([True, True, True, False, True, True])
    assert all_of_each(holds, np.array([0, 2, 5, 6])).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"thresholds": {"place": 0.7}}, "thresholds are for labels of a whole text"),
        ({"first_stage": True}, "a first stage answers labels of a whole text"),
        ({"problem_type": "multi_label_classification"}, "problem_type must be single_label_classification"),
        ({"problem_type": "regression"}, "problem_type must be single_label_classification"),
        ({"activation": "sigmoid"}, "activation must be softmax"),
    ],
)
def test_a_setting_that_means_nothing_for_tokens_is_refused(
    settings: dict[str, Any], says: str, token_checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        export(token_checkpoint, tmp_path / "artifact", **settings)
    assert list(tmp_path.iterdir()) == [] and "\n" not in str(caught.value)


def test_triton_is_told_that_each_token_has_logits(token_report: ExportReport, token_artifact: Path) -> None:
    model = token_artifact.with_name("token-artifact-triton") / "token-artifact"
    config = (model / "config.pbtxt").read_text()
    assert f'name: "logits" data_type: TYPE_FP32 dims: [ -1, {len(LABELS)} ] }}' in config
    assert "label_filename" not in config  # it numbers all of a response's logits together
    assert (model / "labels.txt").read_text().split() == list(token_report.manifest.labels)
