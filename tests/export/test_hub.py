"""The Hub's folder: its graphs answer as the artifact's, its files are what other readers ask for, its card is true."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime as ort
import pytest
import yaml

import onnxpress
from onnxpress.artifacts.artifact import record_of
from onnxpress.artifacts.cascade_record import Cascade, CascadeChanged
from onnxpress.artifacts.manifest import Fidelity, Manifest, read_manifest
from onnxpress_export import ExportReport, export
from onnxpress_export.hub import write_hub
from onnxpress_export.meaning import store_activation
from tests.conftest import MAX_LENGTH, edit_json, make_tokenizer

FIDELITY = Fidelity(
    sample="sample.jsonl",
    texts=2_000,
    changed=3,
    changed_low=0.0005,
    changed_high=0.0044,
    budget=0.01,
    accuracy=None,
    f1=None,
    reference_accuracy=None,
    reference_f1=None,
    torch_texts=0,
    torch_changed=0,
    largest_difference=0.1,
    mean_difference=0.01,
    speed=2.0,
    examples=(),
)


@pytest.fixture(scope="module")
def folder(artifact: Path, report: ExportReport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("hub") / "reviews-hub"
    found.mkdir()
    write_hub(artifact, "reviews", report.manifest, found)
    return found


def with_precisions(manifest: Manifest, *names: str, **changes: Any) -> Manifest:
    """`manifest`, as if the fp32 graph were those of `names` too, with a fidelity."""
    fp32 = manifest.variants[0]
    lower = [msgspec.structs.replace(fp32, precision=name, parity=None, fidelity=FIDELITY) for name in names]
    return msgspec.structs.replace(manifest, variants=(fp32, *lower), **changes)


def card_of(folder: Path) -> tuple[dict[str, Any], str]:
    """Its front matter, and its text."""
    _, front, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), text


def logits(path: Path) -> Any:
    rows = make_tokenizer()(["good film", "bad plot and a dull end"], padding=True, return_tensors="np")
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {name: rows[name] for name in rows})[0]


def test_weights_are_inside_and_answers_are_the_artifacts(folder: Path, artifact: Path) -> None:
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    tokenizer = ["sentence_bert_config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]
    assert files == ["README.md", "config.json", "onnx/model.onnx", "onnx/onnxpress_files.json", *tokenizer]
    np.testing.assert_array_equal(logits(folder / "onnx/model.onnx"), logits(artifact / "model.onnx"))
    assert "transformers.js_config" not in json.loads((folder / "config.json").read_text())


def test_weights_that_are_too_large_lie_beside(artifact: Path, report: ExportReport, tmp_path: Path) -> None:
    write_hub(artifact, "reviews", with_precisions(report.manifest, "fp16"), tmp_path, inside_below=1)
    assert sorted(path.name for path in (tmp_path / "onnx").glob("*_data")) == [
        "model.onnx_data",
        "model_fp16.onnx_data",
    ]
    told = json.loads((tmp_path / "config.json").read_text())["transformers.js_config"]
    assert told == {"use_external_data_format": {"model.onnx": True, "model_fp16.onnx": True}}
    np.testing.assert_array_equal(logits(tmp_path / "onnx/model_fp16.onnx"), logits(artifact / "model.onnx"))
    assert "beside it, in `model.onnx_data`" in card_of(tmp_path)[1]


def test_precisions_have_the_names_that_transformers_js_asks_for(
    artifact: Path, report: ExportReport, tmp_path: Path
) -> None:
    write_hub(artifact, "reviews", with_precisions(report.manifest, "int8", "fp16"), tmp_path)
    graphs = sorted(path.name for path in (tmp_path / "onnx").glob("*.onnx"))
    assert graphs == ["model.onnx", "model_fp16.onnx", "model_quantized.onnx"]
    text = card_of(tmp_path)[1]
    assert "| `onnx/model_quantized.onnx` | `q8` |" in text and "| `onnx/model_fp16.onnx` | `fp16` |" in text
    assert "`model_fp16.onnx`: 3 of 2,000 answers" in text


def test_every_file_is_listed_with_its_hash(folder: Path) -> None:
    listed = json.loads((folder / "onnx/onnxpress_files.json").read_text())
    assert listed.keys() >= {"onnx/model.onnx", "README.md", "tokenizer.json"}
    for name, record in listed.items():
        found = record_of(folder / name)
        assert record == {"sha256": found.sha256, "bytes": found.bytes}


def test_readers_cut_texts_where_the_artifact_does(artifact: Path, report: ExportReport, tmp_path: Path) -> None:
    manifest = msgspec.structs.replace(report.manifest, max_length=17, truncation_side="left")
    write_hub(artifact, "reviews", manifest, tmp_path)
    told = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert told["model_max_length"] == 17 and told["truncation_side"] == "left"
    assert json.loads((tmp_path / "sentence_bert_config.json").read_text())["max_seq_length"] == 17


def test_what_text_embeddings_inference_reads_is_there(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"][0].endswith("Classification") and config["model_type"] == "bert"
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    assert config["label2id"] == {"negative": 0, "positive": 1}
    assert config["max_position_embeddings"] == MAX_LENGTH
    assert config["hidden_size"] == 32 and config["num_hidden_layers"] == 2 and config["pad_token_id"] == 0
    session = ort.InferenceSession(folder / "onnx/model.onnx", providers=["CPUExecutionProvider"])
    inputs = {value.name for value in session.get_inputs()}
    assert {"input_ids", "attention_mask"} <= inputs <= {"input_ids", "attention_mask", "token_type_ids"}
    assert [value.name for value in session.get_outputs()] == ["logits"]


def test_sizes_by_other_names_are_said_by_the_common_ones(artifact: Path, report: ExportReport, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for path in artifact.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    config = json.loads((artifact / "config.json").read_text())
    renamed = {"hidden_size": "dim", "num_hidden_layers": "n_layers"}  # as DistilBERT has them
    kept = {renamed.get(name, name): value for name, value in config.items() if name != "max_position_embeddings"}
    kept["architectures"] = ["BertForMaskedLM"]  # an adapter's base
    (source / "config.json").write_text(json.dumps(kept))
    (tmp_path / "hub").mkdir()
    write_hub(source, "reviews", report.manifest, tmp_path / "hub")
    told = json.loads((tmp_path / "hub/config.json").read_text())
    assert (told["hidden_size"], told["num_hidden_layers"]) == (32, 2) == (told["dim"], told["n_layers"])
    assert told["max_position_embeddings"] == MAX_LENGTH
    assert told["architectures"] == ["BertForSequenceClassification"]


def test_what_hugot_reads_is_there(folder: Path) -> None:
    assert [path.name for path in folder.rglob("*.onnx")].count("model.onnx") == 1
    (output,) = ort.InferenceSession(folder / "onnx/model.onnx", providers=["CPUExecutionProvider"]).get_outputs()
    batch, labels = output.shape
    assert isinstance(batch, str) and labels == 2  # one dimension is dynamic, the other is that of id2label
    assert json.loads((folder / "special_tokens_map.json").read_text())["sep_token"] == "[SEP]"


@pytest.mark.parametrize(
    ("architecture", "body", "wanted"),
    [
        ("SentenceClassifier", ["BertModel"], "BertForSequenceClassification"),
        ("SentenceClassifier", ["MPNetForMaskedLM"], "MPNetForSequenceClassification"),
        ("SentenceClassifier", ["GPT2LMHeadModel"], "GPT2ForSequenceClassification"),
        ("SentenceClassifier", None, "AutoForSequenceClassification"),
        ("RobertaForSequenceClassification", ["RobertaModel"], "RobertaForSequenceClassification"),
    ],
)
def test_it_is_a_classifier_by_its_name(
    artifact: Path, report: ExportReport, tmp_path: Path, architecture: str, body: list[str] | None, wanted: str
) -> None:
    shutil.copytree(artifact, tmp_path / "source")
    edit_json(tmp_path / "source/config.json", lambda config: config.update(architectures=body))
    origin = msgspec.structs.replace(report.manifest.provenance, architecture=architecture)
    (tmp_path / "hub").mkdir()
    write_hub(tmp_path / "source", "x", msgspec.structs.replace(report.manifest, provenance=origin), tmp_path / "hub")
    assert json.loads((tmp_path / "hub/config.json").read_text())["architectures"] == [wanted]


def test_a_token_classifier(token_artifact: Path, tmp_path: Path) -> None:
    manifest = read_manifest(token_artifact)
    write_hub(token_artifact, "tagger", manifest, tmp_path)
    assert logits(tmp_path / "onnx/model.onnx").shape == (2, 8, len(manifest.labels))
    np.testing.assert_array_equal(logits(tmp_path / "onnx/model.onnx"), logits(token_artifact / "model.onnx"))
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["BertForTokenClassification"] and "sentence_transformers" not in config
    assert list(config["id2label"].values()) == list(manifest.labels)
    front, text = card_of(tmp_path)
    assert front["pipeline_tag"] == "token-classification" and 'pipeline("token-classification"' in text
    assert "ORTModelForTokenClassification" in text and "CrossEncoder" not in text and "hugot" in text
    assert "text-embeddings-inference" not in text


@pytest.mark.parametrize(
    ("stored", "activation", "labels", "wanted"),
    [
        ({}, "softmax", 2, None),  # CrossEncoder gives logits, as of the checkpoint
        ({}, "sigmoid", 1, None),  # what CrossEncoder takes by itself
        ({}, "identity", 1, "torch.nn.modules.linear.Identity"),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}, "identity", 1, "same"),
        (
            {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity", "version": "6"}},
            "sigmoid",
            1,
            "torch.nn.modules.activation.Sigmoid",
        ),
        (
            {"sbert_ce_default_activation_function": "torch.nn.modules.activation.Sigmoid"},
            "softmax",
            3,
            "torch.nn.modules.activation.Softmax",
        ),
    ],
)
def test_sentence_transformers_is_told_an_activation_that_it_would_not_take(
    stored: dict[str, Any], activation: Any, labels: int, wanted: str | None
) -> None:
    config = json.loads(json.dumps(stored))
    store_activation(config, activation, labels)
    if wanted in (None, "same"):
        assert config == stored
    else:
        assert config["sentence_transformers"].pop("activation_fn") == wanted
        before = stored.get("sentence_transformers", {})
        assert config == {"sentence_transformers": {k: v for k, v in before.items() if k != "activation_fn"}}


def test_the_card_says_what_runs_it_and_what_was_proved(folder: Path, report: ExportReport) -> None:
    front, text = card_of(folder)
    assert front["pipeline_tag"] == "text-classification" and "onnx" in front["tags"] and "base_model" not in front
    parity = report.manifest.variants[0].parity
    assert parity is not None
    assert f"{parity.max_difference:.1e} of torch's" in text and f"on {parity.rows} rows" in text
    assert "ONNX opset 20" in text and "`com.microsoft`'s BiasGelu, MultiHeadAttention, " in text
    assert report.manifest.tokens is not None
    assert f"ids of {report.manifest.tokens.texts:,} texts" in text
    assert "\n\n\n" not in text and text.endswith(".\n")


def test_the_card_of_a_cascade_says_that_others_have_int8_alone(
    artifact: Path, report: ExportReport, tmp_path: Path
) -> None:
    cascade = Cascade(
        stages=("int8", "fp32"),
        thresholds={"int8": 0.4},
        answered={"int8": 0.98, "fp32": 0.02},
        changed=CascadeChanged(texts=2_000, changed=3, upper_95=0.004, alone=11),
    )
    write_hub(artifact, "reviews", with_precisions(report.manifest, "int8", cascade=cascade), tmp_path)
    text = card_of(tmp_path)[1]
    assert "`model_quantized.onnx`: alone, as other runtimes run it, it changes 11 of 2,000 answers" in text
    assert "leaves 3 changed" in text


def test_the_card_survives_what_labels_hold(artifact: Path, report: ExportReport, tmp_path: Path) -> None:
    labels = ("<script>alert(1)</script>", "a|b\n# c")
    origin = msgspec.structs.replace(report.manifest.provenance, source="some-one/film_reviews")
    write_hub(artifact, "*x*", msgspec.structs.replace(report.manifest, labels=labels, provenance=origin), tmp_path)
    front, text = card_of(tmp_path)
    assert front["base_model"] == "some-one/film_reviews"
    assert not re.search(r"(?<!\\)<", text) and r"\<script\>" in text and r"a\|b \# c" in text and r"# \*x\*" in text
    assert re.findall(r"^#+ .*$", text, re.MULTILINE) == [
        r"# \*x\*",
        "## What runs it",
        "## What was proved",
        "## What was not",
    ]


def test_the_card_shows_no_text_of_the_sample(artifact: Path, report: ExportReport, tmp_path: Path) -> None:
    from onnxpress.artifacts.manifest import ChangedText

    secret = ChangedText(text="the patient's name", reference="negative", found="positive")
    fidelity = msgspec.structs.replace(FIDELITY, examples=(secret,))
    manifest = with_precisions(report.manifest, "int8")
    int8 = msgspec.structs.replace(manifest.variants[1], fidelity=fidelity)
    write_hub(artifact, "x", msgspec.structs.replace(manifest, variants=(manifest.variants[0], int8)), tmp_path)
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"the patient" not in path.read_bytes(), path


def test_an_export_writes_it_beside_the_artifact(checkpoint: Path, tmp_path: Path) -> None:
    export(checkpoint, tmp_path / "film.reviews", layout="hub")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.reviews", "film.reviews-hub"]
    assert (tmp_path / "film.reviews-hub/onnx/model.onnx").is_file()
    with onnxpress.load(tmp_path / "film.reviews") as classifier:
        assert classifier("good film").label in classifier.labels


def test_a_foreign_directory_beside_it_is_left_alone(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "a-hub/onnx").mkdir(parents=True)
    (tmp_path / "a-hub/onnx/model.onnx").write_text("mine")
    with pytest.raises(onnxpress.OutputExistsError, match="a-hub"):
        export(checkpoint, tmp_path / "a", layout="hub", force=True)
    assert (tmp_path / "a-hub/onnx/model.onnx").read_text() == "mine" and not (tmp_path / "a").exists()


def test_a_layout_that_there_is_not(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(onnxpress.ConfigError, match="layout must be artifact or triton or hub, got 'tensorrt'"):
        export(checkpoint, tmp_path / "a", layout="tensorrt")  # type: ignore[arg-type]
